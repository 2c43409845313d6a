"""Conjugate gradients: the image in the units of data and operator, the physics as it was."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from deepinv.physics import LinearPhysics, Physics

from dip_lightning.callbacks import DataConsistentInputUpdate
from dip_lightning.data import OwnMeasurement
from dip_lightning.inputs import LinearEstimate
from dip_lightning.physics import (
    CartesianMRI,
    CompressedSensing,
    Deblurring,
    GaussianKernel,
    ParallelBeamCT,
    SimulatedCoils,
)
from dip_lightning.physics.compressed_sensing import GaussianSensing
from dip_lightning.physics.least_squares import least_squares_image, pseudo_inverse
from dip_lightning.physics.masked import leave_out

IMAGE = torch.rand(2, 1, 24, 24, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("unit", [1e6, 1e-4, 1e-8, 1e-12])
@pytest.mark.parametrize(
    "acquisition",
    [CartesianMRI(coils=SimulatedCoils(3), initial="cg", normalise=False), CompressedSensing(initial="pseudo_inverse")],
)
def test_first_estimate_scales_with_the_data(acquisition, unit):
    measurement = acquisition.simulate(IMAGE, ["a", "b"], [0, 1])
    image = acquisition.initial(measurement.y * unit, measurement.physics) / unit
    torch.testing.assert_close(image, measurement.initial, rtol=1e-3, atol=1e-3)


def test_it_is_the_pseudo_inverse():
    physics = GaussianSensing((1, 6, 6), 12).double()
    y = physics.A(torch.rand(1, 1, 6, 6, dtype=torch.float64))
    expected = y @ torch.linalg.pinv(physics.matrix).T
    torch.testing.assert_close(least_squares_image(physics, y, 100, 1e-10).flatten(2), expected, rtol=0, atol=1e-5)


class Scaled(LinearPhysics):
    """Another operator in other units."""

    def __init__(self, physics: LinearPhysics, unit: float) -> None:
        super().__init__()
        self.physics, self.unit = physics, unit

    def A(self, x: torch.Tensor, **_: object) -> torch.Tensor:
        return self.unit * self.physics.A(x)

    def A_adjoint(self, y: torch.Tensor, **_: object) -> torch.Tensor:
        return self.unit * self.physics.A_adjoint(y)


@pytest.mark.parametrize("unit", [1e4, 1e-2, 1e-4, 1e-6])
def test_the_image_scales_against_the_operator(unit):
    physics = GaussianSensing((1, 6, 6), 12)
    y = physics.A(torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0)))
    image = unit * least_squares_image(Scaled(physics, unit), y)
    torch.testing.assert_close(image, least_squares_image(physics, y), rtol=1e-3, atol=1e-3)


def first_image(physics: Physics, y: torch.Tensor, folder: Path) -> torch.Tensor:
    np.save(folder / "y.npy", y.numpy())
    data = OwnMeasurement(str(folder / "y.npy"), physics, (1, 12, 12), initial="pseudo_inverse", value_range=None)
    return data.load([0]).initial


def corrected_input(physics: Physics, y: torch.Tensor, _: Path) -> torch.Tensor:
    method = SimpleNamespace(measurement=SimpleNamespace(physics=physics, y=y))
    return DataConsistentInputUpdate("pseudo_inverse").new_input(method, torch.zeros(1, 1, 12, 12))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "inverse",
    [
        first_image,
        corrected_input,
        lambda physics, y, _: LinearEstimate("pseudo_inverse").apply(physics, y),
        lambda physics, y, _: leave_out(physics, torch.ones_like(y)).A_dagger(y),
    ],
)
@pytest.mark.parametrize("unit", [1.0, 1e-4])
def test_every_pseudo_inverse_scales_with_the_data(tmp_path, inverse, unit):
    physics = Deblurring(GaussianKernel(0.6), "circular").physics((1, 12, 12))
    image = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    found = inverse(physics, physics.A(image) * unit, tmp_path) / unit
    torch.testing.assert_close(found, image, rtol=0, atol=1e-2)


def test_solvers_of_deepinv_are_replaced_and_closed_forms_are_not():
    image = torch.rand(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    coils = CartesianMRI(coils=SimulatedCoils(3)).physics((2, 16, 16))
    y = coils.A(image)
    torch.testing.assert_close(pseudo_inverse(coils, y), least_squares_image(coils, y), rtol=0, atol=0)
    rays = ParallelBeamCT(views=5).physics((1, 16, 16))
    y = rays.A(image[:, :1])
    torch.testing.assert_close(pseudo_inverse(rays, y), rays.A_dagger(y), rtol=0, atol=0)
    hann = rays.A_dagger(y, filter="hann")
    torch.testing.assert_close(leave_out(rays, torch.ones_like(y)).A_dagger(y, filter="hann"), hann, rtol=0, atol=0)


def test_limits_hold_for_one_call_alone():
    measurement = CartesianMRI(coils=SimulatedCoils(3), initial="cg", cg_iterations=3).simulate(IMAGE[:1], ["a"], [0])
    physics, y = measurement.physics, measurement.y
    fresh = CartesianMRI(coils=SimulatedCoils(3)).physics((2, 24, 24))
    assert (physics.max_iter, physics.tol, physics.solver) == (fresh.max_iter, fresh.tol, fresh.solver)
    torch.testing.assert_close(physics.A_dagger(y), fresh.A_dagger(y), rtol=0, atol=0)
    with pytest.raises(RuntimeError):
        least_squares_image(physics, y[..., :5], 2)
    assert physics.max_iter == fresh.max_iter


def test_nothing_is_the_image_of_no_data():
    physics = GaussianSensing((1, 6, 6), 12)
    assert not least_squares_image(physics, torch.zeros(1, 1, 12)).any()
