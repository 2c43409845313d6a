"""Least-squares images by deepinv's conjugate gradients, whatever the units of the data."""

from __future__ import annotations

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

#: For ``eps`` of deepinv's ``conjugate_gradient``, which is added to the denominators of its steps. Its own 1e-8
#: shortens the steps for data in small units, until there are none; this only keeps 0 / 0 from being NaN.
CG_EPS = torch.finfo(torch.float32).tiny


def least_squares_image(
    physics: LinearPhysics, y: Tensor, iterations: int | None = None, tolerance: float | None = None
) -> Tensor:
    r"""Solve :math:`\min_x \|A x - y\|^2` by conjugate gradients from zero.

    This is ``LinearPhysics.A_dagger``, with two differences. The image scales with the data (as long as their squares
    are numbers of their precision: down to values of 1e-12 in float32). The limits hold for this call alone, where
    ``A_dagger`` leaves them in the physics.

    Args:
        physics: :math:`A`. A closed form that its class may have for ``A_dagger`` is not used.
        y: Data, ``[B, ...]``.
        iterations: Iterations at most; ``None`` is the physics' own number, deepinv's 50.
        tolerance: Relative residual at which to stop earlier; ``None`` is the physics' own.

    Returns:
        ``[B, C, H, W]``.
    """
    kept = physics.max_iter, physics.tol, physics.solver
    try:
        image: Tensor = LinearPhysics.A_dagger(physics, y, solver="CG", max_iter=iterations, tol=tolerance, eps=CG_EPS)
    finally:
        physics.max_iter, physics.tol, physics.solver = kept
    return image
