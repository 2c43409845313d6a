"""Blur kernels: Gaussian, random camera shake, and measured ones from files."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dip_lightning.array_files import read_array
from dip_lightning.errors import ConfigurationError, MeasurementError, check_positive
from dip_lightning.paths import expand_path


class BlurKernel(ABC):
    """Makes a kernel ``[h, w]`` that is not negative and sums to one; its centre is at ``(h // 2, w // 2)``."""

    @abstractmethod
    def values(self) -> NDArray[np.float64]:
        """Make the kernel, ``[h, w]``; its scale does not matter."""

    def __call__(self) -> Tensor:
        """Make the kernel.

        Returns:
            ``[h, w]``, float32, not negative, of sum 1.
        """
        values = self.values()
        return torch.from_numpy(values / values.sum()).float()

    def settings(self) -> dict[str, Any]:
        """What the record keeps."""
        return {"kernel": type(self).__name__, **{name: str(value) for name, value in vars(self).items()}}


class GaussianKernel(BlurKernel):
    r"""Gaussian of standard deviation ``sigma`` around the kernel's centre, sampled at pixel centres.

    Args:
        sigma: Standard deviation, pixels.
        size: Rows and columns; ``None`` takes the odd number that holds 4 standard deviations to either side.

    Raises:
        ConfigurationError: If a number is not positive.
    """

    def __init__(self, sigma: float = 2.0, size: int | None = None) -> None:
        self.sigma = check_positive("sigma", sigma)
        self.size = size if size is not None else 2 * math.ceil(4 * sigma) + 1
        check_positive("size", self.size)

    def values(self) -> NDArray[np.float64]:
        """See the base class."""
        distance = np.arange(self.size) - self.size // 2
        profile = np.exp(-0.5 * (distance / self.sigma) ** 2)
        return np.outer(profile, profile)


class MotionKernel(BlurKernel):
    r"""Camera shake: the time that a random, smooth path of the camera spends in each pixel.

    The path has a heading that wanders, a speed that varies, and now and then a jerk; its centre of mass is in the
    kernel's centre, so that images are not shifted. The aSeqDIP authors blur with one fixed kernel of this sort, of
    64x64 pixels; theirs is not reproduced bit by bit.

    Args:
        size: Rows and columns.
        extent: How far the path reaches from its centre of mass, as a fraction of the way to the kernel's nearer edge.
        shake: Typical turn along the path, radians; 0 is a straight line.
        seed: Seed of the path.

    Raises:
        ConfigurationError: If a number is out of range.
    """

    def __init__(self, size: int = 31, extent: float = 0.9, shake: float = 2.0, seed: int = 0) -> None:
        if size < 3 or not 0 < extent <= 1 or not shake >= 0 or seed < 0:
            raise ConfigurationError(
                f"size={size} must be at least 3, extent={extent} in (0, 1], shake={shake}, seed={seed} not negative."
            )
        self.size = size
        self.extent = extent
        self.shake = shake
        self.seed = seed

    def values(self) -> NDArray[np.float64]:
        """See the base class."""
        path = self._path()
        path -= path.mean(0)
        room = (self.size - 1) // 2  # to the last row; an even size has one more before the centre
        position = self.size // 2 + path * self.extent * room / np.abs(path).max()
        position = np.clip(position, 0, self.size - 1 - 1e-9)
        corner = np.floor(position).astype(int)
        share = position - corner
        kernel = np.zeros((self.size, self.size))
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            weight = np.abs(1 - row - share[:, 0]) * np.abs(1 - column - share[:, 1])
            np.add.at(kernel, (corner[:, 0] + row, corner[:, 1] + column), weight)
        return kernel

    def _path(self, points: int = 4000) -> NDArray[np.float64]:
        """Positions at equal steps of time, ``[points, 2]``."""
        generator = np.random.default_rng(self.seed)
        wander = generator.normal(size=points).cumsum() * self.shake / math.sqrt(points)
        jerks = (generator.random(points) < 3 / points) * generator.uniform(-1, 1, points) * self.shake
        heading = generator.uniform(0, 2 * math.pi) + wander + jerks.cumsum()
        speed = np.exp(0.5 * generator.normal(size=points).cumsum() / math.sqrt(points))
        return np.cumsum(speed[:, None] * np.stack([np.sin(heading), np.cos(heading)], 1), axis=0)


class KernelFile(BlurKernel):
    """A kernel from a file: ``Levin09.mat`` and ``kernels_12.mat`` of the usual test sets, npy, npz, mat, png.

    Args:
        path: The file. Environment variables are replaced.
        index: Which kernel, where the file holds a list of them.
        key: Which variable, where the file holds several.

    Raises:
        MeasurementError: If the file cannot be read or holds no such kernel, or if that is not two-dimensional, has
            negative or no positive values.
    """

    def __init__(self, path: str, index: int = 0, key: str | None = None) -> None:
        self.path = expand_path(path)
        self.index = index
        self.key = key
        self.values()

    def values(self) -> NDArray[np.float64]:
        """See the base class."""
        values = np.squeeze(read_array(self.path, self.key, self.index)).astype(np.float64)
        if values.ndim == 3 and values.shape[-1] <= 4:
            values = values[..., 0]  # a kernel saved as a colour picture
        if values.ndim != 2:
            raise MeasurementError(f"{self.path}: the kernel has shape {list(values.shape)}, not [rows, columns].")
        if not np.isfinite(values).all() or values.min() < 0 or not values.max() > 0:
            raise MeasurementError(f"{self.path}: a blur kernel has finite values, none negative, some positive.")
        return values
