"""Which views of a measured scan to use."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dip_lightning.errors import ConfigurationError


def select_views(angles: NDArray[np.float64], views: int, start: float, angular_range: float) -> NDArray[np.intp]:
    """Choose views from a full turn.

    Args:
        angles: Angles of all views in degrees, evenly over a full turn.
        views: How many a full turn would have.
        start: Angle of the first, degrees.
        angular_range: Degrees from the first to the last at most, both included; 360 takes ``views`` of them.

    Returns:
        Indices into ``angles``, in the order in which they are scanned.

    Raises:
        ConfigurationError: If ``views`` does not divide the number of angles, or if there is no view at ``start``.
    """
    total = len(angles)
    if total % views:
        nearest = sorted((n for n in range(1, total + 1) if total % n == 0), key=lambda n: abs(n - views))[:3]
        raise ConfigurationError(
            f"data.views={views} does not divide the {total} views of a full turn; the nearest that do: "
            f"{', '.join(map(str, sorted(nearest)))}."
        )
    step = 360 / total
    first = (start - angles[0]) / step
    if abs(first - round(first)) > 1e-6:
        raise ConfigurationError(f"data.start={start} is between views; they are {step:g} degrees apart.")
    count = views if angular_range == 360 else math.floor(angular_range / 360 * views + 1e-9) + 1
    return (round(first) + np.arange(min(count, views)) * (total // views)) % total
