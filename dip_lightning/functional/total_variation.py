"""Total variation of images."""

from __future__ import annotations

import torch
from torch import Tensor


def total_variation(image: Tensor, isotropic: bool = True, smoothing: float = 1e-4) -> Tensor:
    r"""Total variation of each member, summed over pixels and channels.

    Isotropic: :math:`\sum_i \sqrt{(\partial_h x)_i^2 + (\partial_w x)_i^2 + \epsilon^2} - \epsilon`; anisotropic:
    :math:`\sum_i |\partial_h x|_i + |\partial_w x|_i`. Differences are forward ones; the last row and column have none
    across the border.

    Args:
        image: ``[B, C, H, W]``.
        isotropic: Which of the two.
        smoothing: :math:`\epsilon`, in image units: keeps the gradient of flat regions finite.

    Returns:
        ``[B]``.
    """
    down = image[..., 1:, :] - image[..., :-1, :]
    right = image[..., :, 1:] - image[..., :, :-1]
    if not isotropic:
        return down.abs().flatten(1).sum(1) + right.abs().flatten(1).sum(1)
    down = torch.nn.functional.pad(down, (0, 0, 0, 1))
    right = torch.nn.functional.pad(right, (0, 1, 0, 0))
    magnitude = torch.sqrt(down.square() + right.square() + smoothing**2) - smoothing
    return magnitude.flatten(1).sum(1)
