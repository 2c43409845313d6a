"""The operator of which data are left out."""

from __future__ import annotations

import torch
from deepinv.physics import MRI, Denoising, Inpainting

from dip_lightning.physics.masked import MaskedPhysics, measured
from tests.support import matrix_measurement


def test_is_adjoint_and_leaves_the_masked_data_zero() -> None:
    measurement = matrix_measurement()
    mask = (torch.rand(1, 20, generator=torch.Generator().manual_seed(0)) > 0.3).double()
    physics = MaskedPhysics(measurement.physics, mask)
    x, y = torch.rand(1, 1, 6, 6).double(), torch.rand(1, 20).double()
    assert torch.allclose((physics.A(x) * y).sum(), (x * physics.A_adjoint(y)).sum())
    assert torch.equal(physics.A(x), mask * measurement.physics.A(x))
    assert not physics.A(x)[mask == 0].any()


def test_finds_what_is_measured() -> None:
    mask = (torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    image = torch.zeros(1, 1, 8, 8)
    assert torch.equal(measured(Inpainting((1, 8, 8), mask=mask), image), mask.bool())
    assert measured(Denoising(), image).all()
    lines = torch.zeros(1, 1, 8, 8)
    lines[..., ::3] = 1
    found = measured(MRI(mask=lines, img_size=(8, 8)), torch.zeros(1, 2, 8, 8))
    assert torch.equal(found, lines.bool().expand(1, 2, 8, 8))
