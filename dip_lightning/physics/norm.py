"""The size of a forward operator, to state step sizes and weights in units of the image."""

from __future__ import annotations

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor


def squared_norm(physics: LinearPhysics, like: Tensor, iterations: int = 30) -> Tensor:
    r"""Largest eigenvalue of :math:`A^\top A` by the power method, for each member of a batch.

    deepinv's ``compute_squared_norm`` gives one value for the whole batch; here a member gets what it gets alone.

    Args:
        physics: :math:`A`.
        like: An image, ``[B, C, H, W]``; its values are not read.
        iterations: Steps; 30 find it within a few per cent, and callers leave that much room.

    Returns:
        :math:`\|A\|^2`, ``[B]``.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(like.shape[1:], generator=generator, dtype=torch.float64).to(like).expand_as(like)
    norm = torch.ones_like(like[:, :1, :1, :1])
    with torch.no_grad():
        for _ in range(iterations):
            x = physics.A_adjoint(physics.A(x / norm))
            norm = torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True)
    return norm.flatten()
