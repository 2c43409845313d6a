"""Least-squares images by deepinv's conjugate gradients, whatever the units of data and operator."""

from __future__ import annotations

from typing import Any

import torch
from deepinv.optim.linear import conjugate_gradient
from deepinv.physics import LinearPhysics, MultiCoilMRI, NonCartesianMRI, Physics, Tomography, TomographyWithAstra
from torch import Tensor

#: For ``eps`` of deepinv's ``conjugate_gradient``, which is added to the denominators of its steps. Its own 1e-8
#: shortens the steps for data in small units, until there are none; this only keeps 0 / 0 from being NaN.
CG_EPS = torch.finfo(torch.float32).tiny

# The A_dagger of deepinv that are LinearPhysics.A_dagger in the end, and no closed form.
_ITERATIVE = [kind.A_dagger for kind in (LinearPhysics, MultiCoilMRI, NonCartesianMRI, Tomography, TomographyWithAstra)]


def pseudo_inverse(physics: Physics, y: Tensor, **options: Any) -> Tensor:
    """Apply the physics' own ``A_dagger``, or :func:`least_squares_image` where that would be deepinv's solver.

    Args:
        physics: The operator; its class may have a closed form, or filtered back-projection.
        y: Data, ``[B, ...]``.
        **options: For ``A_dagger``, which is called where there are any.

    Returns:
        ``[B, C, H, W]``.
    """
    if isinstance(physics, LinearPhysics) and type(physics).A_dagger in _ITERATIVE and not options:
        return least_squares_image(physics, y)
    image: Tensor = physics.A_dagger(y, **options)
    return image


def least_squares_image(
    physics: LinearPhysics, y: Tensor, iterations: int | None = None, tolerance: float | None = None
) -> Tensor:
    r"""Solve :math:`\min_x \|A x - y\|^2` by conjugate gradients from zero, on :math:`A^H A x = A^H y`.

    ``LinearPhysics.A_dagger`` adds 1e-8 to :math:`A^H A` and to the denominators of its steps, so that operators and
    data in small units have an image near zero. Here the image scales with the data and against the operator (as long
    as the squares of :math:`A^H y` are numbers of its precision: down to values of 1e-12 in float32).

    Args:
        physics: :math:`A`. A closed form that its class may have for ``A_dagger`` is not used.
        y: Data, ``[B, ...]``.
        iterations: Iterations at most; ``None`` is the physics' own number, deepinv's 50.
        tolerance: Residual of the equation, relative to :math:`A^H y`, at which to stop earlier; ``None`` is the
            physics' own.

    Returns:
        ``[B, C, H, W]``.
    """
    image: Tensor = conjugate_gradient(
        physics.A_adjoint_A,
        physics.A_adjoint(y),
        max_iter=physics.max_iter if iterations is None else iterations,
        tol=physics.tol if tolerance is None else tolerance,
        eps=CG_EPS,
    )
    return image
