"""Methods with several forward passes, noise or images of their own: each member is what it would be alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from dip_lightning.callbacks import DiscrepancyStopping, HeldOutStopping
from dip_lightning.inputs import UniformNoise
from dip_lightning.measurement import Measurement
from dip_lightning.members import select_members
from dip_lightning.methods import DIP, BaseDIP
from tests.methods.registry import METHODS
from tests.methods.test_batched_fits import StopMember, batch
from tests.support import TinyNetwork, fit

MEMBERS, OUTER = 3, 6
NAMES = [
    "tvdip",
    "tvdipsplitting",
    "sglddip",
    "selfguideddip",
    "refguideddip",
    "rethinkingdip",
    "rethinkingdip_difference",
]


def measurements() -> Measurement:
    whole = batch(MEMBERS)
    reference = torch.rand(whole.initial.shape, generator=torch.Generator().manual_seed(0), dtype=whole.initial.dtype)
    return replace(whole, reference=reference * whole.initial.abs().amax(), noise_level=0.05)


def one(member: int) -> Measurement:
    measurement = select_members(measurements(), [member])
    assert measurement is not None
    return measurement


def build(name: str, outer_steps: int = OUTER) -> BaseDIP:
    entry = METHODS[name]
    options: dict[str, Any] = {"outer_steps": outer_steps, "inner_steps": 2, "seed": 3, **entry.options}
    options["optimizer"] = partial(torch.optim.Adam, lr=1e-2)
    return entry.factory(network=TinyNetwork(), **options)


@pytest.mark.parametrize("name", NAMES)
def test_members_are_what_they_would_be_alone(name: str) -> None:
    together = build(name)
    fit(together, measurements(), [*METHODS[name].callbacks(), StopMember({1: 3})])
    for member in range(MEMBERS):
        alone = build(name, outer_steps=OUTER)
        # Alone, too, the member is stopped: what it is scheduled by is the number of steps that it may make.
        fit(alone, one(member), [*METHODS[name].callbacks(), *([StopMember({0: 3})] if member == 1 else [])])
        assert torch.allclose(together.last_output[member], alone.last_output[0], rtol=0, atol=1e-9), member
        assert torch.allclose(together.estimate[member], alone.estimate[0], rtol=0, atol=1e-9), member


def rules(name: str) -> pl.Callback:
    return HeldOutStopping(0.2, patience=3) if name == "held out" else DiscrepancyStopping(8.0)


@pytest.mark.parametrize("name", ["held out", "discrepancy"])
def test_rules_choose_for_each_member_what_they_would_alone(name: str) -> None:
    def dip() -> DIP:
        options = {"optimizer": partial(torch.optim.Adam, lr=3e-2), "outer_steps": 30, "seed": 3}
        return DIP(network=TinyNetwork(width=8), initial_input=UniformNoise(1, 1.0), **options)

    together, rule = dip(), rules(name)
    fit(together, measurements(), [rule])
    for member in range(MEMBERS):
        alone, own = dip(), rules(name)
        fit(alone, one(member), [own])
        ours, theirs = rule.summary(member), own.summary()
        assert ours.pop("statistic") == pytest.approx(theirs.pop("statistic"))
        assert ours == theirs
        assert torch.allclose(together.estimate[member], alone.estimate[0], rtol=0, atol=1e-9)
