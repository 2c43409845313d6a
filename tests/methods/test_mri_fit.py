"""Fits of MRI: what no coil sees stays zero, and aSeqDIP's input is that of the released code."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from deepinv.physics import MRI, MultiCoilMRI

from dip_lightning.callbacks import DataConsistentInputUpdate, HeldOutStopping, InputUpdate
from dip_lightning.inputs import InitialEstimate
from dip_lightning.measurement import Measurement
from dip_lightning.methods import DIP, OESDIP, ASeqDIP
from dip_lightning.physics import CartesianMRI, RandomLines, SimulatedCoils
from dip_lightning.physics.mri import fourier_physics
from tests.support import TinyNetwork, fit


class Last(pl.Callback):
    """Input and output after the last outer step."""

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.stored, self.output = pl_module.stored_input.clone(), pl_module.last_output.clone()


def run(measurement: Measurement, kind: Any, *callbacks: pl.Callback, last: Last | None = None) -> Last:
    last = last or Last()
    method = kind(
        network=TinyNetwork(2, 2),
        optimizer=partial(torch.optim.Adam, lr=1e-2),
        initial_input=InitialEstimate(),
        outer_steps=3,
        inner_steps=2,
        seed=0,
    )
    fit(method, measurement, [*callbacks, last])
    return last


def complex_image() -> torch.Tensor:
    return torch.randn(1, 2, 16, 24, generator=torch.Generator().manual_seed(0))


def half_seen() -> Measurement:
    maps = SimulatedCoils(4).simulated((16, 24))[None].clone()
    maps[..., :5] = 0
    physics = fourier_physics(RandomLines(center_fraction=0.1)((16, 24))[None], maps)
    return CartesianMRI().scaled(physics.A(complex_image()), physics, ["a"])


@pytest.mark.parametrize(
    ("kind", "update"),
    [
        (DIP, DataConsistentInputUpdate()),
        (ASeqDIP, DataConsistentInputUpdate()),
        (ASeqDIP, InputUpdate(output="recomputed")),
    ],
)
@pytest.mark.parametrize("rules", [[], [HeldOutStopping(action="record")]], ids=["", "held-out data"])
def test_pixels_that_no_coil_sees_are_zero(kind, update, rules) -> None:
    last = run(half_seen(), kind, update, *rules)
    assert last.output[..., :5].abs().max() == 0
    assert last.stored[..., :5].abs().max() == 0
    assert last.output[..., 5:].abs().min() > 0


def test_pixels_that_no_coil_sees_are_zero_while_a_mask_is_learned() -> None:
    class FirstPhase(Last):
        def on_train_batch_end(self, trainer, pl_module, *_):
            if pl_module.outer_step <= pl_module.mask_steps:
                super().on_train_batch_end(trainer, pl_module)

    last = run(half_seen(), partial(OESDIP, keep=0.5, mask_steps=2), last=FirstPhase())
    assert last.output[..., :5].abs().max() == 0
    assert last.output[..., 5:].abs().min() > 0


@pytest.mark.parametrize("coils", [None, SimulatedCoils(4)])
def test_sampled_points_are_measured_and_the_others_the_networks(coils) -> None:
    r"""The released code's :math:`z = A^H((1 - M) A f + y)` over all of k-space."""
    measurement = CartesianMRI(RandomLines(center_fraction=0.1), coils).simulate(complex_image(), ["a"], [0])
    last = run(measurement, ASeqDIP, DataConsistentInputUpdate())
    mask = measurement.physics.mask if coils is None else measurement.physics.mask[:, :, None]
    ones = torch.ones(16, 24)
    whole = MRI(mask=ones) if coils is None else MultiCoilMRI(mask=ones, coil_maps=measurement.physics.coil_maps)
    expected = whole.A_adjoint((1 - mask) * whole.A(last.output) + measurement.y)
    torch.testing.assert_close(last.stored, expected)
