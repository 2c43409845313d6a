"""Line integrals by Joseph's method without a stored matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dip_lightning.physics.geometry import Geometry
from dip_lightning.physics.joseph import NEGLIGIBLE, rays_in_pixels
from dip_lightning.physics.linear_map import LinearMap

#: Samples that are worked on at once.
CHUNK = 1_000_000


@dataclass
class _Bundle:
    """Rays that advance along the same axis: their numbers, and where they cross the pixels' lines.

    Attributes:
        rays: Number of each ray, ``[R]``.
        start: Coordinates of a point of each, along the axis and across, ``[2, R]``, float64.
        slope: How far each moves across from one line to the next, ``[R]``, float64.
        lines: Lines of pixels along the axis.
        size: Pixels in a line.
        stride: Distance in memory of neighbouring lines, and of neighbouring pixels in a line.
    """

    rays: Tensor
    start: Tensor
    slope: Tensor
    lines: int
    size: int
    stride: tuple[int, int]

    def to(self, device: torch.device) -> _Bundle:
        return replace(self, rays=self.rays.to(device), start=self.start.to(device), slope=self.slope.to(device))


class JosephRays(LinearMap):
    """The map of a system matrix, with pixels and weights of every ray worked out at each application.

    Slower than :class:`~dip_lightning.physics.sparse.SparseMap`, in memory that hardly grows with the number of views.

    Args:
        geometry: Rays and image grid.
        scale: Factor on the line integrals.
    """

    def __init__(self, geometry: Geometry, scale: float = 1.0) -> None:
        super().__init__()
        height, width = geometry.image_shape
        start, step, steep = rays_in_pixels(geometry)
        self.shape = (start.shape[1], height * width)
        self._bundles = []
        factors = np.empty(start.shape[1])
        for main, chosen in ((0, steep), (1, ~steep)):
            other, rays = 1 - main, np.flatnonzero(chosen)
            slope = step[other, rays] / step[main, rays]
            factors[rays] = scale * geometry.pixel_size * np.sqrt(1 + slope**2)
            sizes, strides = (height, width), (width, 1)
            self._bundles.append(
                _Bundle(
                    torch.from_numpy(rays),
                    torch.from_numpy(start[[main, other]][:, rays]),
                    torch.from_numpy(slope),
                    sizes[main],
                    sizes[other],
                    (strides[main], strides[other]),
                )
            )
        self.register_buffer("factors", torch.from_numpy(factors.astype(np.float32)), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of images and line integrals; positions are worked out in float64."""
        return self.get_buffer("factors").dtype

    def direct(self, x: Tensor) -> Tensor:
        """Integrate along the rays; see the base class."""
        y = x.new_empty(len(x), self.shape[0])
        for rays, pixels, weights in self._parts():
            y[:, rays] = (x[:, pixels] * weights).sum((-1, -2))
        return y * self.get_buffer("factors")

    def adjoint(self, y: Tensor) -> Tensor:
        """Spread along the rays; see the base class."""
        y = y * self.get_buffer("factors")
        x = y.new_zeros(len(y), self.shape[1])
        for rays, pixels, weights in self._parts():
            x.index_add_(1, pixels.flatten(), (y[:, rays, None, None] * weights).flatten(1))
        return x

    def _parts(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Numbers of some rays ``[R]``, their pixels and weights ``[R, lines, 2]``."""
        for bundle in self._bundles:
            lines = torch.arange(bundle.lines, device=bundle.rays.device)
            for part in torch.arange(len(bundle.rays), device=lines.device).split(max(1, CHUNK // bundle.lines)):
                along, across = bundle.start[:, part]
                position = across[:, None] + bundle.slope[part, None] * (lines - along[:, None])
                lower = position.floor()
                upper_weight = position - lower
                index = torch.stack([lower, lower + 1], -1)
                weights = torch.stack([1 - upper_weight, upper_weight], -1)
                inside = (index >= 0) & (index < bundle.size) & (weights > NEGLIGIBLE)
                index = index.clamp(0, bundle.size - 1).long()
                pixels = index * bundle.stride[1] + (lines * bundle.stride[0])[:, None]
                yield bundle.rays[part], pixels, torch.where(inside, weights, 0.0).to(self.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> JosephRays:
        moved: Any = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._bundles = [bundle.to(self.get_buffer("factors").device) for bundle in self._bundles]
        return moved
