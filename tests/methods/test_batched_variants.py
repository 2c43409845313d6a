"""Methods with images or files of their own: members that are fitted together are what they would be alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from dip_lightning.callbacks import LearnedInput
from dip_lightning.errors import ConfigurationError
from dip_lightning.members import select_members
from dip_lightning.methods import BaseDIP
from tests.methods.registry import METHODS
from tests.methods.test_batched_fits import StopMember, batch
from tests.support import TinyNetwork, fit

MEMBERS = 3


def build(name: str, outer_steps: int = 5) -> BaseDIP:
    entry = METHODS[name]
    options: dict[str, Any] = {"outer_steps": outer_steps, "inner_steps": 2, "seed": 3, **entry.options}
    return entry.factory(network=TinyNetwork(), optimizer=partial(torch.optim.Adam, lr=1e-2), **options)


def callbacks(name: str) -> list[pl.Callback]:
    return [LearnedInput(0.05)] if name == "drpdip" else []


@pytest.mark.parametrize("name", ["edip", "pnpdip", "drpdip"])
def test_members_are_what_they_would_be_alone(name: str) -> None:
    together = build(name)
    fit(together, batch(MEMBERS), [*callbacks(name), StopMember({1: 3})])
    for member in range(MEMBERS):
        alone = build(name, outer_steps=3 if member == 1 else 5)
        measurement = select_members(batch(MEMBERS), [member])
        assert measurement is not None
        fit(alone, measurement, callbacks(name))
        assert torch.allclose(together.last_output[member], alone.last_output[0], rtol=0, atol=1e-9), member


@pytest.mark.parametrize("name", ["oesdip", "subspacedip"])
def test_methods_for_one_measurement_say_so(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"data\.batch"):
        fit(build(name), batch(MEMBERS))
