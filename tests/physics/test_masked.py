"""The operator of which data are left out."""

from __future__ import annotations

import torch
from deepinv.physics import MRI, Denoising, Inpainting, LinearPhysics, Physics

from dip_lightning.measurement import Measurement
from dip_lightning.physics.masked import leave_out, measured
from dip_lightning.physics.noise_level import present_data
from tests.support import matrix_measurement


def test_is_adjoint_and_leaves_the_masked_data_zero() -> None:
    measurement = matrix_measurement()
    mask = (torch.rand(1, 20, generator=torch.Generator().manual_seed(0)) > 0.3).double()
    physics = leave_out(measurement.physics, mask)
    x, y = torch.rand(1, 1, 6, 6).double(), torch.rand(1, 20).double()
    assert torch.allclose((physics.A(x) * y).sum(), (x * physics.A_adjoint(y)).sum())
    assert torch.equal(physics.A(x), mask * measurement.physics.A(x))
    assert not physics.A(x)[mask == 0].any()


class _Squares(Physics):
    def A(self, x: torch.Tensor, **kwargs: object) -> torch.Tensor:
        return x.square()


def test_is_linear_where_the_operator_is() -> None:
    x, mask = torch.rand(1, 1, 4, 4), torch.eye(4)[None, None]
    squares = leave_out(_Squares(), mask)
    assert not isinstance(squares, LinearPhysics)
    assert not hasattr(squares, "A_adjoint")
    assert torch.equal(squares.A(x), mask * x.square())
    assert isinstance(leave_out(Denoising(), mask), LinearPhysics)


def test_keeps_the_support_of_the_image() -> None:
    physics = Denoising()
    assert leave_out(physics, torch.ones(1)).image_support is None
    physics.register_buffer("image_support", torch.eye(4)[None, None])
    masked = leave_out(physics, torch.ones(1))
    assert torch.equal(masked.image_support, torch.eye(4)[None, None])
    assert masked.to(torch.float64).image_support.dtype == torch.float64


def test_finds_what_is_measured() -> None:
    mask = (torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    image = torch.zeros(1, 1, 8, 8)
    assert torch.equal(measured(Inpainting((1, 8, 8), mask=mask), image), mask.bool())
    assert measured(Denoising(), image).all()
    lines = torch.zeros(1, 1, 8, 8)
    lines[..., ::3] = 1
    found = measured(MRI(mask=lines, img_size=(8, 8)), torch.zeros(1, 2, 8, 8))
    assert torch.equal(found, lines.bool().expand(1, 2, 8, 8))


def test_data_that_no_pixel_reaches_count_where_they_hold_noise() -> None:
    mask, y = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    mask[..., 0, 0], y[..., 0, 1] = 1, 0.3
    measurement = Measurement(y, leave_out(Denoising(), mask), torch.zeros_like(y), ids=("a",), task="denoising")
    assert present_data(measurement).flatten().tolist() == [True, True, False, False]
