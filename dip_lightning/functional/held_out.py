"""Which data are kept from a fit, and what stands in for them where an image is made of all data."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.random import MemberGenerators

Unit = Literal["element", "view", "line"]


def held_out_mask(
    measured: Tensor, fraction: float, unit: Unit, generators: MemberGenerators, keep_centre: float = 0.0
) -> Tensor:
    """Choose the data to hold out.

    Args:
        measured: Which data carry information, ``bool`` ``[B, ...]``.
        fraction: Part of the measured units that is held out; at least one unit is.
        unit: ``element`` is a position in the last two dimensions (a pixel, a detector bin in a view, a point of
            k-space) with all its channels and coils; ``view`` a row of the sinogram, ``line`` a column of k-space.
        generators: Randomness of each member.
        keep_centre: With ``line``, the middle part of all columns that is never held out.

    Returns:
        ``bool`` of ``measured``'s shape: true is held out. Only measured data are.

    Raises:
        ConfigurationError: If the data have no such units, or too few.
    """
    if unit != "element" and measured.ndim < 4:
        raise ConfigurationError(f"Data of shape {list(measured.shape)} have no unit={unit!r}: take 'element'.")
    last = 2 if measured.ndim >= 4 else measured.ndim - 1
    grid = measured.flatten(1, measured.ndim - last - 1).any(1) if measured.ndim - last > 1 else measured
    if unit == "view":
        grid = grid.any(-1, keepdim=True)
    elif unit == "line":
        grid = grid.any(-2, keepdim=True)
        width = grid.shape[-1]
        margin = round(width * (1 - keep_centre) / 2)
        if keep_centre > 0:
            grid[..., margin : width - margin] = False
    chosen = _choose(grid.flatten(1), fraction, generators).view_as(grid)
    for _ in range(measured.ndim - grid.ndim):
        chosen = chosen.unsqueeze(1)
    return chosen & measured


def _choose(eligible: Tensor, fraction: float, generators: MemberGenerators) -> Tensor:
    keys = generators.uniform(eligible.shape[1:], torch.float64).to(eligible.device)
    keys = keys.masked_fill(~eligible, torch.inf)
    chosen = torch.zeros_like(eligible)
    for member, count in enumerate(eligible.sum(1).tolist()):
        if count < 2:
            raise ConfigurationError(f"Nothing can be held out of {count} units: take another unit.")
        held = min(max(1, round(fraction * count)), count - 1)
        chosen[member, keys[member].argsort()[:held]] = True
    return chosen


def fill_from_neighbours(y: Tensor, held: Tensor, known: Tensor) -> Tensor:
    """Replace data by the mean of what is left in the 3x3 window around them, or of all that is left in the channel.

    Args:
        y: ``[B, C, H, W]``, real.
        held: What to replace, ``bool`` of the same shape.
        known: Which data carry information, ``bool`` of the same shape; the others stand in for nothing.

    Returns:
        ``[B, C, H, W]``; zero where nothing is left.
    """
    left = (known & ~held).to(y.dtype)
    near, nearby = F.avg_pool2d(y * left, 3, 1, 1), F.avg_pool2d(left, 3, 1, 1)
    everywhere = (y * left).sum((2, 3), keepdim=True) / left.sum((2, 3), keepdim=True).clamp_min(1)
    mean = torch.where(nearby > 0, near / nearby.clamp_min(torch.finfo(y.dtype).tiny), everywhere)
    return torch.where(held, mean, y)
