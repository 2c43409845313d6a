"""Small scans, and an image whose line integrals are known."""

from __future__ import annotations

import math

import numpy as np
import torch

from dip_lightning.physics import FanGeometry, ParallelGeometry
from dip_lightning.physics.geometry import Geometry


def parallel(shape=(48, 40), views=11, start=3.0, span=180.0, **options) -> ParallelGeometry:
    angles = tuple(start + span * view / views for view in range(views))
    settings = {"detectors": 75, "pixel_size": 0.8, "detector_spacing": 0.7, **options}
    return ParallelGeometry(image_shape=shape, angles=angles, **settings)


def fan(shape=(48, 40), views=13, start=3.0, span=360.0, **options) -> FanGeometry:
    angles = tuple(start + span * view / views for view in range(views))
    settings = {"detectors": 83, "pixel_size": 0.8, "detector_spacing": 1.1, "source_origin": 60.0,
                "source_detector": 95.0, **options}  # fmt: skip
    return FanGeometry(image_shape=shape, angles=angles, **settings)


class Blob:
    """A Gaussian: an image whose line integrals are known."""

    def __init__(self, centre=(3.0, -4.0), sigma=3.0) -> None:
        self.centre = np.asarray(centre)
        self.sigma = sigma

    def image(self, geometry: Geometry) -> torch.Tensor:
        height, width = geometry.image_shape
        x = (np.arange(width) - (width - 1) / 2) * geometry.pixel_size - self.centre[0]
        y = ((height - 1) / 2 - np.arange(height))[:, None] * geometry.pixel_size - self.centre[1]
        return torch.from_numpy(np.exp(-(x**2 + y**2) / (2 * self.sigma**2))).float()[None, None]

    def line_integrals(self, geometry: Geometry) -> torch.Tensor:
        points, directions = geometry.rays()
        relative = self.centre - points
        distance = relative[:, 0] * directions[:, 1] - relative[:, 1] * directions[:, 0]
        values = math.sqrt(2 * math.pi) * self.sigma * np.exp(-(distance**2) / (2 * self.sigma**2))
        return torch.from_numpy(values).float().view(1, 1, *geometry.sinogram_shape)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())
