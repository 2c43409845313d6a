"""Measured fan-beam scans: which views to use, and filtered back-projection where the detector ends in air."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from deepinv.physics import Physics
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from dip_lightning.errors import ConfigurationError
from dip_lightning.physics.ct import FanBeamCT, least_squares_scale
from dip_lightning.physics.fbp import filtered_back_projection


class AirPaddedFan(FanBeamCT):
    """A fan beam that sees the whole object, but not the corners of the image: beyond the detector there is air.

    The ramp filter leaves tails beyond the detector's ends. Back-projecting without them brightens the corners of the
    image and makes the data that it predicts 1.7 % too large; here the data are continued by zeros instead.
    Arguments are those of :class:`~dip_lightning.physics.ct.FanBeamCT`.
    """

    def fbp(self, y: Tensor, image_shape: tuple[int, int]) -> Tensor:
        """Filtered back-projection of the continued data; see the base class."""
        geometry = self.geometry(image_shape)
        radius = 0.5 * math.hypot(*image_shape) * self.pixel_size
        reach = self.source_detector * math.tan(math.asin(radius / self.source_origin))
        margin = max(0, math.ceil(reach / geometry.detector_spacing - geometry.detectors / 2))
        wide = replace(geometry, detectors=geometry.detectors + 2 * margin)
        data = pad(y / self.scale, (margin, margin))
        return filtered_back_projection(data, wide, self.filter, self.frequency_scaling)

    def initial(self, y: Tensor, physics: Physics) -> Tensor:
        """Filtered back-projection of the continued data; see the base class."""
        with torch.no_grad():
            image = self.fbp(y, physics.geometry.image_shape)
            if self.nonnegative:
                image = image.clamp(min=0)
            return image * least_squares_scale(physics.A(image), y) if self.scale_to_data else image


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
