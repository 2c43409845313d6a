r"""Where the rays of a two-dimensional CT scan run, in millimetres.

Conventions, which are ASTRA's: an image ``[H, W]`` has row 0 on top, :math:`x` grows with the column, :math:`y`
against the row, and the origin is the image's centre. Detector bin ``k`` of ``D`` is centred at
``offset + (k - (D - 1) / 2) * spacing``. View angles :math:`\beta` are in degrees and turn counter-clockwise.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dip_lightning.errors import ConfigurationError, check_positive

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Geometry(ABC):
    """What parallel and fan beam have in common.

    Attributes:
        image_shape: Rows and columns of the image, ``(H, W)``.
        angles: View angles in degrees, in the order of the sinogram's rows.
        detectors: Number of detector bins.
        pixel_size: Edge of a square image pixel, mm.
        detector_spacing: Distance between the centres of neighbouring bins, mm.
        detector_offset: Position of the detector's centre on the detector, mm.
    """

    image_shape: tuple[int, int]
    angles: tuple[float, ...]
    detectors: int
    pixel_size: float = 1.0
    detector_spacing: float = 1.0
    detector_offset: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no geometry.

        Raises:
            ConfigurationError: If a size, count or distance is not positive or an angle is not finite.
        """
        if not self.angles:
            raise ConfigurationError("The scan has zero views: set views (or angles) to at least one.")
        if not np.all(np.isfinite(self.angles)):
            raise ConfigurationError("The view angles hold NaN or infinite values; give them in degrees.")
        if min(self.image_shape) < 1:
            raise ConfigurationError(f"The image shape {self.image_shape} must have at least one row and column.")
        for name in ("detectors", "pixel_size", "detector_spacing"):
            check_positive(name, getattr(self, name))
        if not math.isfinite(self.detector_offset):
            raise ConfigurationError(f"detector_offset={self.detector_offset} must be a finite number of mm.")

    @property
    def sinogram_shape(self) -> tuple[int, int]:
        """Shape ``(views, detectors)`` of the data of one image."""
        return len(self.angles), self.detectors

    @property
    def bins(self) -> Array:
        """Positions of the bin centres on the detector, mm, ``[detectors]``."""
        centred = np.arange(self.detectors) - (self.detectors - 1) / 2
        return np.asarray(self.detector_offset + centred * self.detector_spacing)

    def describe(self) -> dict[str, Any]:
        """Every number that fixes the geometry, by name; JSON-able."""
        return {"geometry": type(self).__name__, **asdict(self)}

    @abstractmethod
    def rays(self) -> tuple[Array, Array]:
        """Lines along which the image is integrated.

        Returns:
            A point and a direction of each ray, ``[views * detectors, 2]`` each, as (x, y) in mm.
        """

    @property
    @abstractmethod
    def reach(self) -> float:
        """How far from the central ray, on the detector, rays through the image's corners land, mm."""

    @abstractmethod
    def fan_angles(self) -> Array:
        """Angle of each bin's ray against the central ray, radians, ``[detectors]``; zero in parallel beam."""

    @property
    def _radius(self) -> float:
        """Distance of the image's corners from its centre, mm."""
        return 0.5 * self.pixel_size * math.hypot(*self.image_shape)

    def _frames(self) -> tuple[Array, Array]:
        """Unit vectors along the detector and along the central ray, ``[views, 1, 2]`` each."""
        beta = np.deg2rad(np.asarray(self.angles, dtype=np.float64))[:, None]
        cos, sin = np.cos(beta), np.sin(beta)
        return np.stack([cos, sin], -1), np.stack([-sin, cos], -1)


@dataclass(frozen=True)
class ParallelGeometry(Geometry):
    r"""Parallel beam: the ray at :math:`s` of view :math:`\theta` is :math:`x\cos\theta + y\sin\theta = s`."""

    def rays(self) -> tuple[Array, Array]:
        """See the base class."""
        along_detector, along_beam = self._frames()
        points = along_detector * self.bins[None, :, None]
        directions = np.broadcast_to(along_beam, points.shape)
        return points.reshape(-1, 2), directions.reshape(-1, 2)

    @property
    def reach(self) -> float:
        """See the base class."""
        return self._radius

    def fan_angles(self) -> Array:
        """Zero: see the base class."""
        return np.zeros(self.detectors)


@dataclass(frozen=True)
class FanGeometry(Geometry):
    r"""Fan beam on a flat detector.

    The source of view :math:`\beta` stands at :math:`R(\sin\beta, -\cos\beta)` with :math:`R` = ``source_origin``;
    the detector's positions grow along :math:`(\cos\beta, \sin\beta)` on a line at ``source_detector`` from the source.

    Attributes:
        source_origin: Distance from source to rotation centre (SOD), mm.
        source_detector: Distance from source to detector (SDD), mm; SOD for a virtual detector through the centre.
    """

    source_origin: float = 500.0
    source_detector: float = 1000.0

    def __post_init__(self) -> None:
        """Refuse what is no geometry.

        Raises:
            ConfigurationError: As in the base class, or if the source is inside the image or behind the detector.
        """
        super().__post_init__()
        check_positive("source_origin", self.source_origin)
        check_positive("source_detector", self.source_detector)
        if self.source_origin <= self._radius:
            raise ConfigurationError(
                f"source_origin={self.source_origin} mm puts the source inside the image, whose corners are "
                f"{self._radius:.4g} mm from its centre: check the units (mm), or set a smaller pixel_size."
            )
        if self.source_detector < self.source_origin:
            raise ConfigurationError(
                f"source_detector={self.source_detector} mm is less than source_origin={self.source_origin} mm: it is "
                "the distance from the source, not from the rotation centre, to the detector."
            )

    @property
    def magnification(self) -> float:
        """How much larger than at the rotation centre things are on the detector, SDD / SOD."""
        return self.source_detector / self.source_origin

    def rays(self) -> tuple[Array, Array]:
        """See the base class."""
        along_detector, along_beam = self._frames()
        directions = along_beam * self.source_detector + along_detector * self.bins[None, :, None]
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        points = np.broadcast_to(-self.source_origin * along_beam, directions.shape)
        return points.reshape(-1, 2), directions.reshape(-1, 2)

    @property
    def reach(self) -> float:
        """See the base class."""
        return self.source_detector * math.tan(math.asin(self._radius / self.source_origin))

    def fan_angles(self) -> Array:
        """See the base class."""
        return np.asarray(np.arctan2(self.bins, self.source_detector))
