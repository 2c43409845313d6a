"""Every method goes on with the members that are left when others stop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from dip_lightning.methods import BaseDIP
from tests.methods.registry import METHODS, Entry
from tests.support import TinyNetwork, fit, matrix_measurement


class StopMember(pl.Callback):
    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.outer_step == self.at:
            pl_module.stop_members([1], "test")


def run(entry: Entry, stop: int | None) -> BaseDIP:
    first = matrix_measurement()
    images = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    y = first.physics.A(images)
    initial = first.physics.A_adjoint(y)
    measurement = replace(
        first, y=y, initial=initial, target=images, reference=images.flip(0), ids=("a", "b", "c"), noise_level=0.1
    )
    network = (entry.network or TinyNetwork)()
    method = entry.factory(network=network, outer_steps=6, seed=3, **{"inner_steps": 2, **entry.options})
    fit(method, measurement, [*entry.callbacks(), *([StopMember(stop)] if stop else [])])
    return method


ONE_AT_A_TIME = {"subspacedip", "oesdip"}  # they say so when they are given several


@pytest.mark.parametrize("name", sorted(METHODS.keys() - ONE_AT_A_TIME))
def test_the_others_do_not_notice(name: str) -> None:
    entry = METHODS[name]
    stopped, through = run(entry, 3), run(entry, None)
    for member in (0, 2):
        torch.testing.assert_close(stopped.estimate[member], through.estimate[member], rtol=0, atol=1e-8)
    assert stopped.ending(1).reason == "test"
    assert not torch.equal(stopped.last_output[1], through.last_output[1])
