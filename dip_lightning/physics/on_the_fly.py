"""Line integrals by Joseph's method without a stored matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dip_lightning.physics.geometry import Geometry
from dip_lightning.physics.joseph import rays_in_pixels
from dip_lightning.physics.linear_map import LinearMap

#: Samples that are worked on at once.
CHUNK = 500_000
#: Zeros on either side of a line of pixels: a ray outside the image falls between two of them.
FRAME = 2


@dataclass
class _Bundle:
    """Rays that advance along the same axis: their numbers, and where they cross the pixels' lines.

    Attributes:
        rays: Number of each ray, ``[R]``.
        start: Coordinates of a point of each, along the axis and across, ``[2, R]``, float64.
        slope: How far each moves across from one line to the next, ``[R]``, float64.
        shape: Rows and columns of the image.
        main: The axis: 0 by rows, 1 by columns.
    """

    rays: Tensor
    start: Tensor
    slope: Tensor
    shape: tuple[int, int]
    main: int

    def to(self, device: torch.device) -> _Bundle:
        return replace(self, rays=self.rays.to(device), start=self.start.to(device), slope=self.slope.to(device))

    def framed(self, x: Tensor) -> Tensor:
        """Put the lines of images ``[B, N]`` one after another, each between zeros."""
        images = x.view(-1, *self.shape)
        return F.pad(images if self.main == 0 else images.mT, (FRAME, FRAME)).flatten(1)

    def unframed(self, lines: Tensor) -> Tensor:
        """Undo :meth:`framed`."""
        images = lines.view(len(lines), self.shape[self.main], -1)[..., FRAME:-FRAME]
        return (images if self.main == 0 else images.mT).flatten(1)

    def parts(self, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Numbers of some rays ``[R]``; the lower pixel of each on every framed line, and the weight of the next."""
        count, size = self.shape[self.main], self.shape[1 - self.main]
        lines = torch.arange(count, device=self.rays.device)
        first = lines * (size + 2 * FRAME) + FRAME
        for part in torch.arange(len(self.rays), device=lines.device).split(max(1, CHUNK // count)):
            along, across = self.start[:, part, None]
            position = across + self.slope[part, None] * (lines - along)
            lower = position.floor()
            weights = (position - lower).to(dtype)
            yield self.rays[part], lower.clamp_(-FRAME, size).long() + first, weights  # outside are zeros


class JosephRays(LinearMap):
    """The map of a system matrix, with pixels and weights of every ray worked out at each application.

    Slower than :class:`~dip_lightning.physics.sparse.SparseMap`, in memory that hardly grows with the number of views.

    Args:
        geometry: Rays and image grid.
        scale: Factor on the line integrals.
    """

    def __init__(self, geometry: Geometry, scale: float = 1.0) -> None:
        super().__init__()
        start, step, steep = rays_in_pixels(geometry)
        height, width = geometry.image_shape
        self.shape = (start.shape[1], height * width)
        self._bundles = []
        factors = np.empty(start.shape[1])
        for main, chosen in ((0, steep), (1, ~steep)):
            rays = np.flatnonzero(chosen)
            slope = step[1 - main, rays] / step[main, rays]
            factors[rays] = scale * geometry.pixel_size * np.sqrt(1 + slope**2)
            points = torch.from_numpy(start[[main, 1 - main]][:, rays])
            self._bundles.append(
                _Bundle(torch.from_numpy(rays), points, torch.from_numpy(slope), (height, width), main)
            )
        self.register_buffer("factors", torch.from_numpy(factors.astype(np.float32)), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of images and line integrals; positions are worked out in float64."""
        return self.get_buffer("factors").dtype

    def direct(self, x: Tensor) -> Tensor:
        """Integrate along the rays; see the base class."""
        y = x.new_empty(len(x), self.shape[0])
        for bundle in self._bundles:
            lines = bundle.framed(x)
            for rays, pixels, weights in bundle.parts(self.dtype):
                pixels = pixels.flatten()
                lower, upper = lines.index_select(1, pixels), lines.index_select(1, pixels + 1)
                y[:, rays] = torch.lerp(lower, upper, weights.flatten()).view(len(x), *weights.shape).sum(-1)
        return y * self.get_buffer("factors")

    def adjoint(self, y: Tensor) -> Tensor:
        """Spread along the rays; see the base class."""
        y = y * self.get_buffer("factors")
        x = y.new_zeros(len(y), self.shape[1])
        for bundle in self._bundles:
            lines = torch.zeros_like(bundle.framed(x))
            for rays, pixels, weights in bundle.parts(self.dtype):
                upper = y[:, rays, None] * weights
                lower, pixels = (y[:, rays, None] - upper).flatten(1), pixels.flatten()
                lines.index_add_(1, pixels, lower).index_add_(1, pixels + 1, upper.flatten(1))
            x += bundle.unframed(lines)
        return x

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> JosephRays:
        moved: Any = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._bundles = [bundle.to(self.get_buffer("factors").device) for bundle in self._bundles]
        return moved
