"""Which points of Cartesian k-space are sampled: lines, and masks from files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dip_lightning.array_files import read_array
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.paths import expand_path

Mask = NDArray[np.bool_]


class SamplingMask(ABC):
    """Says which points of k-space are sampled; the zero frequency is at ``(H // 2, W // 2)``."""

    @abstractmethod
    def draw(self, shape: tuple[int, int]) -> Mask:
        """Make the mask.

        Args:
            shape: ``(H, W)`` of k-space.

        Returns:
            ``[H, W]``, true where sampled.
        """

    def __call__(self, shape: tuple[int, int]) -> Tensor:
        """Make the mask and check it.

        Args:
            shape: ``(H, W)`` of k-space.

        Returns:
            ``[H, W]``, bool.

        Raises:
            ConfigurationError: If it samples nothing or everything, or does not fit the shape.
        """
        mask = self.draw(shape)
        count = int(mask.sum())
        if count in (0, mask.size):
            what = "nothing" if count == 0 else "everything, so that there is nothing to reconstruct"
            raise ConfigurationError(f"The sampling mask {self.describe()} samples {what} of {list(shape)} k-space.")
        return torch.from_numpy(mask.copy())

    def describe(self) -> dict[str, Any]:
        """Class and settings, for the record."""
        return {"class": type(self).__name__, **{k: v for k, v in vars(self).items() if not k.startswith("_")}}


class _Lines(SamplingMask):
    def __init__(self, acceleration: float, center_fraction: float, axis: int, seed: int) -> None:
        check_acceleration(acceleration, seed)
        if not 0 <= center_fraction < 1:
            raise ConfigurationError(f"center_fraction={center_fraction} must be in [0, 1).")
        if axis not in (-1, -2):
            raise ConfigurationError(f"axis={axis} must be -1 (lines are columns) or -2 (lines are rows).")
        self.acceleration = acceleration
        self.center_fraction = center_fraction
        self.axis = axis
        self.seed = seed

    @abstractmethod
    def choose(self, outside: NDArray[np.intp], count: int) -> NDArray[np.intp]:
        """Choose ``count`` of the lines ``outside`` the centre."""

    def draw(self, shape: tuple[int, int]) -> Mask:
        """Sample the centre and the chosen lines; see the base class."""
        lines = shape[self.axis]
        # As in the released code both numbers are cut, not rounded; the small term is for 96 * 0.25 = 23.999...
        total, width = int(lines / self.acceleration + 1e-9), int(lines * self.center_fraction + 1e-9)
        if total < width:
            raise ConfigurationError(
                f"center_fraction={self.center_fraction} samples {width} of {lines} lines, more than the {total} that "
                f"acceleration={self.acceleration} leaves; lower one of them."
            )
        start = lines // 2 - width // 2
        sampled = np.zeros(lines, dtype=bool)
        sampled[start : start + width] = True
        sampled[self.choose(np.flatnonzero(~sampled), total - width)] = True
        return np.broadcast_to(sampled if self.axis == -1 else sampled[:, None], shape)


class RandomLines(_Lines):
    r"""Variable density by a fully sampled centre and lines uniformly at random outside it.

    The aSeqDIP authors' protocol: of :math:`n` lines :math:`\lfloor n/R\rfloor` are sampled, among them the central
    :math:`\lfloor c\,n\rfloor`; :math:`R = 4, c = 0.08` and :math:`R = 8, c = 0.04`. Source: released code of Alkhouri,
    Liang et al., NeurIPS 2024 (OpenReview K1EG2ABzNE).

    Args:
        acceleration: Lines there are by lines sampled, R.
        center_fraction: Fraction of the lines that the fully sampled centre has, c.
        axis: ``-1`` if each line is a column of k-space (phase encoding along the last axis), ``-2`` if a row.
        seed: Seed of the draw.

    Raises:
        ConfigurationError: If a number is out of range.
    """

    def __init__(self, acceleration: float = 4.0, center_fraction: float = 0.08, axis: int = -1, seed: int = 0) -> None:
        super().__init__(acceleration, center_fraction, axis, seed)

    def choose(self, outside: NDArray[np.intp], count: int) -> NDArray[np.intp]:
        """Draw lines without replacement; see the base class."""
        return np.random.default_rng(self.seed).choice(outside, count, replace=False)


class EquispacedLines(_Lines):
    """A fully sampled centre and evenly spaced lines outside it, so many that the total is exact.

    Args:
        acceleration: Lines there are by lines sampled.
        center_fraction: Fraction of the lines that the fully sampled centre has.
        axis: ``-1`` if each line is a column of k-space, ``-2`` if a row.
        seed: Seed of the position of the first line.

    Raises:
        ConfigurationError: If a number is out of range.
    """

    def __init__(self, acceleration: float = 4.0, center_fraction: float = 0.08, axis: int = -1, seed: int = 0) -> None:
        super().__init__(acceleration, center_fraction, axis, seed)

    def choose(self, outside: NDArray[np.intp], count: int) -> NDArray[np.intp]:
        """Step evenly through the lines from a random start; see the base class."""
        offset = np.random.default_rng(self.seed).random()
        return outside[((np.arange(count) + offset) * len(outside) / max(count, 1)).astype(np.intp)]


class SamplingMaskFile(SamplingMask):
    """A mask from a file: an array ``[H, W]``, or one number for each line.

    Args:
        path: ``.npy``, ``.npz``, ``.mat``, ``.h5``, ...; environment variables are replaced.
        key: Name of the array, where the file holds several.
        axis: For one number a line: ``-1`` if each line is a column of k-space, ``-2`` if a row.

    Raises:
        ConfigurationError: If the axis is unknown.
    """

    def __init__(self, path: str, key: str | None = None, axis: int = -1) -> None:
        if axis not in (-1, -2):
            raise ConfigurationError(f"axis={axis} must be -1 (lines are columns) or -2 (lines are rows).")
        self.path = path
        self.key = key
        self.axis = axis

    def draw(self, shape: tuple[int, int]) -> Mask:
        """Read the mask; see the base class.

        Raises:
            MeasurementError: If the file cannot be read, holds other values than 0 and 1, or has another shape.
        """
        path = expand_path(self.path)
        values = np.squeeze(read_array(path, self.key))
        if not np.isin(values, (0, 1)).all():
            raise MeasurementError(f"The mask {path} holds other values than 0 and 1.")
        if values.ndim == 1 and len(values) == shape[self.axis]:
            values = np.broadcast_to(values if self.axis == -1 else values[:, None], shape)
        if values.shape != shape:
            raise MeasurementError(f"The mask {path} has shape {list(values.shape)}, but k-space is {list(shape)}.")
        return values.astype(bool)


def check_acceleration(acceleration: float, seed: int) -> None:
    """Refuse accelerations below 1 and negative seeds.

    Raises:
        ConfigurationError: If one is out of range.
    """
    if not acceleration >= 1 or seed < 0:
        raise ConfigurationError(f"acceleration={acceleration} must be at least 1 and seed={seed} not negative.")
