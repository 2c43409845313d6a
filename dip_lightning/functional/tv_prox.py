"""Denoising by total variation: its proximal map."""

from __future__ import annotations

import torch
from torch import Tensor


def tv_prox(image: Tensor, strength: float | Tensor, isotropic: bool = True, iterations: int = 100) -> Tensor:
    r"""Proximal map of total variation, :math:`\arg\min_w \tfrac12\|w - x\|^2 + \gamma\,\mathrm{TV}(w)`.

    Channels are denoised one by one, as :func:`~dip_lightning.functional.total_variation.total_variation` counts them.
    The dual problem, :math:`\min_{|p| \le \gamma} \tfrac12\|x - \nabla^T p\|^2`, is solved by accelerated projected
    gradients of step 1/8 (Beck and Teboulle, IEEE TIP 18(11), 2009). There is no stopping test, so that nothing waits
    for the device and every call costs the same.

    Args:
        image: ``[B, C, H, W]``.
        strength: :math:`\gamma`, at least 0, in image units; a number, or ``[B]``.
        isotropic: Whether TV is of the Euclidean length of the gradient or of its parts' absolute values.
        iterations: Gradient steps.

    Returns:
        ``[B, C, H, W]``, without gradient.
    """
    with torch.no_grad():
        x = image.detach()
        gamma = torch.as_tensor(strength, dtype=x.dtype, device=x.device).reshape(1, -1, 1, 1, 1)
        dual = point = torch.zeros(2, *x.shape, dtype=x.dtype, device=x.device)
        momentum = 1.0
        for _ in range(iterations):
            previous = dual
            dual = _project(point + gradient(x - divergence_adjoint(point)) / 8, gamma, isotropic)
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            point = dual + ((momentum - 1) / following) * (dual - previous)
            momentum = following
        return x - divergence_adjoint(dual)


def gradient(image: Tensor) -> Tensor:
    """Forward differences, zero across the border.

    Args:
        image: ``[B, C, H, W]``.

    Returns:
        Differences down and to the right, ``[2, B, C, H, W]``.
    """
    down = torch.nn.functional.pad(image.diff(dim=-2), (0, 0, 0, 1))
    right = torch.nn.functional.pad(image.diff(dim=-1), (0, 1))
    return torch.stack([down, right])


def divergence_adjoint(field: Tensor) -> Tensor:
    r"""Transpose of :func:`gradient`, :math:`\nabla^T p` (minus the divergence).

    Args:
        field: ``[2, B, C, H, W]``.

    Returns:
        ``[B, C, H, W]``.
    """
    pad = torch.nn.functional.pad
    down, right = field[0, ..., :-1, :], field[1, ..., :, :-1]
    return pad(down, (0, 0, 1, 0)) - pad(down, (0, 0, 0, 1)) + pad(right, (1, 0)) - pad(right, (0, 1))


def _project(field: Tensor, radius: Tensor, isotropic: bool) -> Tensor:
    if not isotropic:
        return torch.minimum(torch.maximum(field, -radius), radius)
    length = torch.linalg.vector_norm(field, dim=0, keepdim=True)
    # Where the length is at most the radius the factor is 1, also for a radius of zero.
    return torch.where(length > radius, field * (radius / length), field)
