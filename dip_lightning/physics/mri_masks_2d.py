"""Masks that undersample both axes of k-space, as three-dimensional scans with two phase-encoding axes allow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dip_lightning.errors import ConfigurationError
from dip_lightning.physics.mri_masks import Mask, SamplingMask, check_acceleration

Values = NDArray[np.float64]


class _Points(SamplingMask):
    def __init__(self, acceleration: float, center: int, seed: int) -> None:
        check_acceleration(acceleration, seed)
        if center < 0:
            raise ConfigurationError(f"center={center} must not be negative.")
        self.acceleration = acceleration
        self.center = center
        self.seed = seed

    def _start(self, shape: tuple[int, int]) -> tuple[Mask, int]:
        """The fully sampled centre, and how many points are to come."""
        mask = np.zeros(shape, dtype=bool)
        rows, columns = (slice(n // 2 - self.center // 2, n // 2 - self.center // 2 + self.center) for n in shape)
        if min(shape) < self.center:
            raise ConfigurationError(f"center={self.center} is larger than k-space, {list(shape)}.")
        mask[rows, columns] = True
        rest = int(mask.size / self.acceleration + 1e-9) - int(mask.sum())
        if rest < 0:
            raise ConfigurationError(
                f"The fully sampled centre of {self.center}x{self.center} is more than acceleration="
                f"{self.acceleration} leaves of {list(shape)} k-space; lower one of them."
            )
        return mask, rest


class VariableDensity2D(_Points):
    r"""Points at random with a density that falls with the distance from the centre, and a fully sampled centre.

    The density is :math:`(1 - r)^p` with :math:`r` the distance, 1 in the corners; :math:`\lfloor HW/R\rfloor` points.

    Args:
        acceleration: Points there are by points sampled, R.
        center: Edge of the fully sampled square.
        power: Exponent p; 0 is uniform.
        seed: Seed of the draw.

    Raises:
        ConfigurationError: If a number is out of range.
    """

    def __init__(self, acceleration: float = 4.0, center: int = 24, power: float = 3.0, seed: int = 0) -> None:
        super().__init__(acceleration, center, seed)
        if power < 0:
            raise ConfigurationError(f"power={power} must not be negative.")
        self.power = power

    def draw(self, shape: tuple[int, int]) -> Mask:
        """Draw points without replacement; see the base class."""
        mask, rest = self._start(shape)
        outside = np.flatnonzero(~mask)
        density = np.maximum(1 - radius(shape).ravel()[outside], 1e-6) ** self.power
        chosen = np.random.default_rng(self.seed).choice(outside, rest, replace=False, p=density / density.sum())
        mask.ravel()[chosen] = True
        return mask


class PoissonDisc(_Points):
    r"""Points at random that keep a distance from each other which grows with the distance from the centre.

    The distance is :math:`d\,(1 + s\,r)` with :math:`r` as in :class:`VariableDensity2D`; :math:`d` is the largest for
    which :math:`\lfloor HW/R\rfloor` points find room, and the few too many are dropped at random.

    Args:
        acceleration: Points there are by points sampled, R.
        center: Edge of the fully sampled square.
        slope: Growth s; 0 is uniform.
        seed: Seed of the draw.

    Raises:
        ConfigurationError: If a number is out of range.
    """

    def __init__(self, acceleration: float = 4.0, center: int = 24, slope: float = 3.0, seed: int = 0) -> None:
        super().__init__(acceleration, center, seed)
        if slope < 0:
            raise ConfigurationError(f"slope={slope} must not be negative.")
        self.slope = slope

    def draw(self, shape: tuple[int, int]) -> Mask:
        """Throw darts, and bisect the distance; see the base class."""
        mask, rest = self._start(shape)
        order = np.random.default_rng(self.seed).permutation(np.flatnonzero(~mask))
        growth = 1 + self.slope * radius(shape)
        low, high, best = 0.0, float(max(shape)), order
        for _ in range(18):
            distance = (low + high) / 2
            found = _throw(order, growth * distance, shape)
            if len(found) >= rest:
                low, best = distance, found
            else:
                high = distance
            if len(best) - rest <= 0.005 * rest:
                break
        mask.ravel()[best[:rest]] = True  # darts are in random order, so that the last ones are random ones
        return mask


def radius(shape: tuple[int, int]) -> Values:
    """Distance from the zero frequency as a fraction of that of the farthest corner, ``[H, W]``."""
    rows, columns = ((np.arange(n) - n // 2) / (n / 2) for n in shape)
    distance: Values = np.hypot(rows[:, None], columns[None, :])
    return distance / distance.max() if distance.max() > 0 else distance


def _throw(order: NDArray[np.intp], distance: Values, shape: tuple[int, int]) -> NDArray[np.intp]:
    """Take points in turn unless one within its distance has been taken; ``[n]``, flat indices."""
    free = np.ones(shape, dtype=bool)
    kept = []
    for point in order.tolist():
        row, column = divmod(point, shape[1])
        if not free[row, column]:
            continue
        kept.append(point)
        reach = distance[row, column]
        size = int(reach)
        top, left = max(row - size, 0), max(column - size, 0)
        block = free[top : row + size + 1, left : column + size + 1]
        rows, columns = np.ogrid[top - row : top - row + block.shape[0], left - column : left - column + block.shape[1]]
        block[rows * rows + columns * columns <= reach * reach] = False
    return np.asarray(kept, dtype=np.intp)
