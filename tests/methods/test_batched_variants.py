"""Methods with images or files of their own: together as alone, and started over as started anew."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from dip_lightning.callbacks import HeldOutStopping, LearnedInput
from dip_lightning.errors import ConfigurationError
from dip_lightning.members import select_members
from dip_lightning.methods import BaseDIP
from tests.methods.registry import METHODS
from tests.methods.test_batched_fits import StopMember, batch
from tests.methods.test_battery import problem
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


@pytest.mark.parametrize("name", ["edip", "subspacedip", "oesdip", "pnpdip"])
def test_started_over_is_a_new_fit(name: str) -> None:
    """After the held-out data have chosen a number of steps, all data are fitted from the same start."""
    again, rule = build(name), HeldOutStopping(fraction=0.2, patience=100, refit=True)
    fit(again, problem(), [rule])
    assert rule.summary()["refitted"]
    anew = build(name)

    class StopThere(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            if pl_module.iteration >= again.iteration:
                pl_module.stop("test")

    fit(anew, problem(), [StopThere()])
    assert anew.iteration == again.iteration
    assert torch.allclose(anew.last_output, again.last_output, rtol=0, atol=1e-12)
