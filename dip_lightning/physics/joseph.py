"""System matrices of ray transforms by Joseph's method.

P. M. Joseph, "An improved algorithm for reprojecting rays through pixel images", IEEE Trans. Med. Imaging 1(3), 1982:
a ray is sampled once in every pixel row that it crosses (column, where it runs closer to the horizontal), with linear
interpolation between the two nearest pixels, times the length of ray per row.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dip_lightning.errors import ConfigurationError
from dip_lightning.physics.geometry import Array, FanGeometry, Geometry

#: Interpolation weights below this are rounding errors of rays through pixel centres.
NEGLIGIBLE = 1e-6
#: Samples that are worked on at once, to bound memory at large geometries.
CHUNK = 2_000_000
#: A float32 value and an int32 index.
BYTES_PER_ENTRY = 8


def joseph_matrix(geometry: Geometry) -> Any:
    """Build the system matrix.

    Args:
        geometry: Rays and image grid.

    Returns:
        ``scipy.sparse.csr_matrix`` ``[views * detectors, H * W]`` in mm, float32, with sorted int32 indices (int64
        where they do not fit): the line integral of an image in 1/mm along every ray.

    Raises:
        ConfigurationError: If the matrix would not fit into this machine's memory.
    """
    check_memory(geometry)
    height, width = geometry.image_shape
    start, step, steep = rays_in_pixels(geometry)
    sizes, strides = (height, width), (width, 1)
    parts = []
    for main, chosen in ((0, steep), (1, ~steep)):
        rays = np.flatnonzero(chosen)
        per_chunk = max(1, CHUNK // sizes[main])
        for first in range(0, len(rays), per_chunk):
            part = rays[first : first + per_chunk]
            parts.append((part, _sample(start[:, part], step[:, part], main, sizes, strides)))
    order = np.argsort(np.concatenate([rays for rays, _ in parts]), kind="stable")
    stacked = sparse.vstack([_to_csr(sample, height * width) for _, sample in parts], format="csr")
    matrix = stacked[order]
    matrix.data *= np.float32(geometry.pixel_size)
    return matrix.T.tocsr().T.tocsr()  # sorts the indices of every row, in linear time


def rays_in_pixels(geometry: Geometry) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Describe the rays on the image grid.

    Args:
        geometry: Rays and image grid.

    Returns:
        A point of each ray and its direction, ``[2, rays]``, as (row, column) in units of pixels from the centre of
        pixel (0, 0); and whether it advances by rows rather than by columns.
    """
    height, width = geometry.image_shape
    points, directions = geometry.rays()
    start = np.stack([(height - 1) / 2 - points[:, 1] / geometry.pixel_size,
                      (width - 1) / 2 + points[:, 0] / geometry.pixel_size])  # fmt: skip
    step = np.stack([-directions[:, 1], directions[:, 0]])
    return start, step, np.abs(step[0]) >= np.abs(step[1])


def check_memory(geometry: Geometry) -> None:
    """Refuse a matrix that this machine cannot hold, rather than let the system kill the fit.

    Raises:
        ConfigurationError: If matrix and transpose, and what building them takes, exceed the machine's memory.
    """
    complaint = too_large(geometry)
    if complaint is not None:
        raise ConfigurationError(f"{complaint} Use fewer views, bins or pixels, or a physics that stores no matrix.")


def too_large(geometry: Geometry) -> str | None:
    """Say what the system matrix would take if this machine cannot hold it; ``None`` if it can.

    Args:
        geometry: Rays and image grid.
    """
    spacing = geometry.detector_spacing
    if isinstance(geometry, FanGeometry):
        spacing /= geometry.magnification
    views, detectors = geometry.sinogram_shape
    height, width = geometry.image_shape
    rays = min(detectors, max(height, width) * geometry.pixel_size / spacing)
    needed = 2 * BYTES_PER_ENTRY * 2 * views * rays * min(height, width)
    available = _memory()
    if available is None or needed <= available:
        return None
    return (
        f"The system matrix of {views} views of {detectors} detectors and {height}x{width} pixels takes about "
        f"{needed / 2**30:.0f} GiB while it is built; this machine has {available / 2**30:.0f}."
    )


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not every system tells
        return None


def _sample(
    start: Array, step: Array, main: int, sizes: tuple[int, int], strides: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Pixels and weights of rays that advance along axis ``main``: entries per ray, pixel indices, weights."""
    other = 1 - main
    slope = step[other] / step[main]
    lines = np.arange(sizes[main])
    position = start[other][:, None] + slope[:, None] * (lines - start[main][:, None])
    lower = np.floor(position)
    upper_weight = position - lower
    # Clipping keeps far-away rays within the integer range; what is clipped is outside the image anyway.
    index = np.clip(lower, -2, sizes[other]).astype(np.int64)[..., None] + np.arange(2)
    weight = np.stack([1 - upper_weight, upper_weight], -1)
    inside = (index >= 0) & (index < sizes[other]) & (weight > NEGLIGIBLE)
    pixel = index * strides[other] + (lines * strides[main])[:, None]
    length = np.sqrt(1 + slope**2)
    values = (weight * length[:, None, None])[inside].astype(np.float32)
    return inside.sum(axis=(1, 2)), pixel[inside], values


def _to_csr(sample: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]], columns: int) -> Any:
    counts, pixels, values = sample
    pointers = np.concatenate([[0], np.cumsum(counts)])
    return sparse.csr_matrix((values, pixels, pointers), shape=(len(counts), columns))
