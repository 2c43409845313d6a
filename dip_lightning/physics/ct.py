"""Acquisitions of two-dimensional computed tomography: parallel beam and fan beam."""

from __future__ import annotations

import math
from typing import Any

from dip_lightning.errors import check_positive
from dip_lightning.physics.ct_base import CTAcquisition, least_squares_scale
from dip_lightning.physics.geometry import FanGeometry, ParallelGeometry

__all__ = ["CTAcquisition", "FanBeamCT", "ParallelBeamCT", "least_squares_scale"]


class ParallelBeamCT(CTAcquisition):
    """Parallel-beam CT: sparse-view as it stands, limited-angle by ``angular_range``.

    Arguments and errors are those of :class:`CTAcquisition`.
    """

    def geometry(self, image_shape: tuple[int, int]) -> ParallelGeometry:
        """See the base class."""
        spacing = self.detector_spacing or self.pixel_size
        shadow = math.sqrt(2) * max(image_shape) * self.pixel_size
        return ParallelGeometry(
            image_shape=image_shape,
            angles=self.angles,
            detectors=self.detectors or self._enough_detectors(shadow, spacing),
            pixel_size=self.pixel_size,
            detector_spacing=spacing,
            detector_offset=self.detector_offset,
        )


class FanBeamCT(CTAcquisition):
    """Fan-beam CT on a flat detector.

    Args:
        source_origin: Distance from source to rotation centre (SOD), mm.
        source_detector: Distance from source to detector (SDD), mm.
        views: Number of views, evenly over ``angular_range``.
        angular_range: Degrees from the first view to one step after the last; a full turn unless given.
        **options: As in :class:`CTAcquisition`.

    Raises:
        ConfigurationError: If a number is out of range or the filter is unknown.
    """

    def __init__(
        self,
        source_origin: float,
        source_detector: float,
        views: int = 30,
        angular_range: float = 360.0,
        **options: Any,
    ) -> None:
        super().__init__(views=views, angular_range=angular_range, **options)
        self.source_origin = check_positive("source_origin", source_origin)
        self.source_detector = check_positive("source_detector", source_detector)

    def geometry(self, image_shape: tuple[int, int]) -> FanGeometry:
        """See the base class."""
        magnification = self.source_detector / self.source_origin
        spacing = self.detector_spacing or self.pixel_size * magnification
        return FanGeometry(
            image_shape=image_shape,
            angles=self.angles,
            detectors=self.detectors or self._enough_detectors(self._shadow(image_shape), spacing),
            pixel_size=self.pixel_size,
            detector_spacing=spacing,
            detector_offset=self.detector_offset,
            source_origin=self.source_origin,
            source_detector=self.source_detector,
        )

    def _shadow(self, image_shape: tuple[int, int]) -> float:
        sine = min(0.5 * math.sqrt(2) * max(image_shape) * self.pixel_size / self.source_origin, 0.999)
        return 2 * self.source_detector * math.tan(math.asin(sine))
