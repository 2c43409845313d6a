"""A forward operator of which some data are left out."""

from __future__ import annotations

from typing import Any

import torch
from deepinv.physics import LinearPhysics, Physics
from torch import Tensor

from dip_lightning.physics.least_squares import pseudo_inverse


class MaskedPhysics(Physics):
    r"""Keep some data of another operator, :math:`x \mapsto m \odot A(x)`; the others are zero.

    Of a linear operator make a :class:`MaskedLinearPhysics`; :func:`leave_out` chooses.

    Args:
        physics: The operator :math:`A`.
        mask: :math:`m`, ones and zeros of the data's shape.
    """

    mask: Tensor

    def __init__(self, physics: Physics, mask: Tensor) -> None:
        super().__init__()
        self.physics = physics
        self.register_buffer("mask", mask)

    @property
    def image_support(self) -> Tensor | None:
        """Pixels that can be other than zero, ``[B, 1, H, W]``, where the operator says so."""
        return getattr(self.physics, "image_support", None)

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Apply the operator and leave data out; see the class."""
        return self.mask * self.physics.A(x, **kwargs)

    def A_dagger(self, y: Tensor, **kwargs: Any) -> Tensor:
        """Apply the operator's own pseudo-inverse to the data that are kept: an approximate one of this operator."""
        return pseudo_inverse(self.physics, self.mask * y, **kwargs)


class MaskedLinearPhysics(MaskedPhysics, LinearPhysics):
    """Keep some data of a linear operator; see :class:`MaskedPhysics`."""

    def A_adjoint(self, y: Tensor, **kwargs: Any) -> Tensor:
        """Apply the adjoint to the data that are kept."""
        return self.physics.A_adjoint(self.mask * y, **kwargs)


def leave_out(physics: Physics, kept: Tensor) -> MaskedPhysics:
    """Make the operator of the data that are kept, linear if ``physics`` is.

    Args:
        physics: The operator of all data.
        kept: Ones and zeros of the data's shape.
    """
    kind = MaskedLinearPhysics if isinstance(physics, LinearPhysics) else MaskedPhysics
    return kind(physics, kept)


def measured(physics: Physics, image: Tensor) -> Tensor:
    """Say which data depend on the image at all: sampled points of k-space, known pixels, rays through the image.

    Args:
        physics: A linear operator.
        image: Any image ``[B, C, H, W]`` of the right shape, type and device; its values are not read.

    Returns:
        ``bool`` of the data's shape. The random image that it is found with is the same at every call.
    """
    with torch.no_grad():
        probe = torch.rand(image.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
        answer: Tensor = physics.A(probe.to(image)) != 0
    return answer
