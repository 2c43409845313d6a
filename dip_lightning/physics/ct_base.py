"""What acquisitions of two-dimensional computed tomography have in common."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, get_args

import torch
from deepinv.physics import Physics
from torch import Tensor

from dip_lightning.errors import ConfigurationError, check_option, check_positive
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.physics.acquisition import Acquisition
from dip_lightning.physics.fbp import FBPFilter, filtered_back_projection
from dip_lightning.physics.geometry import Geometry
from dip_lightning.physics.noise import MeasurementNoise, NoNoise
from dip_lightning.physics.ray_transform import RayTransform


class CTAcquisition(Acquisition):
    r"""Sparse-view, limited-angle or full CT; :mod:`dip_lightning.physics.ct` has parallel and fan beam.

    Data are :math:`y = s\int x\,\mathrm{d}\ell` with lengths in mm. In pixel units :math:`s` is one over the pixel
    size; otherwise it is ``attenuation``, so that ``y`` are physical line integrals, :math:`-\log(I/I_0)`.

    Args:
        views: Number of views, evenly over ``angular_range``; fewer views is sparse-view CT.
        angular_range: Degrees from the first view to one step after the last; less than 180 is limited-angle CT, and
            a negative range turns clockwise.
        start_angle: Angle of the first view, degrees.
        angles: View angles in degrees, in place of the three above.
        detectors: Detector bins; ``None`` takes as many as see the whole image at every angle.
        pixel_size: Edge of an image pixel, mm.
        detector_spacing: Distance between detector bins, mm; ``None`` takes that of one pixel at the rotation centre.
        detector_offset: Position of the detector's centre on the detector, mm.
        noise: Noise of simulated data; none unless given. Measured data are taken as they are.
        filter: Window on the ramp of the filtered back-projection: ``ram-lak``, ``shepp-logan``, ``cosine``, ``hann``.
        frequency_scaling: Cut-off of that filter as a fraction of the Nyquist frequency.
        scale_to_data: Scale the filtered back-projection by least squares to the data.
        nonnegative: Set its negative values to zero.
        pixel_units: Whether line integrals count lengths in pixels.
        attenuation: Attenuation per mm that an image value of 1 means; ``None`` where images are in 1/mm already, or
            where it does not matter.

    Raises:
        ConfigurationError: If a number is out of range or the filter is unknown.
    """

    task = "ct"

    def __init__(
        self,
        views: int = 30,
        angular_range: float = 180.0,
        start_angle: float = 0.0,
        angles: Sequence[float] | None = None,
        detectors: int | None = None,
        pixel_size: float = 1.0,
        detector_spacing: float | None = None,
        detector_offset: float = 0.0,
        noise: MeasurementNoise | None = None,
        filter: FBPFilter = "ram-lak",
        frequency_scaling: float = 1.0,
        scale_to_data: bool = True,
        nonnegative: bool = False,
        pixel_units: bool = True,
        attenuation: float | None = None,
    ) -> None:
        if angles is None:
            if views < 1:
                raise ConfigurationError(f"views={views}: a scan needs at least one view.")
            if not math.isfinite(angular_range) or angular_range == 0:
                raise ConfigurationError(f"angular_range={angular_range} must be degrees other than zero.")
            angles = [start_angle + angular_range * view / views for view in range(views)]
        for name, value in (("pixel_size", pixel_size), ("detectors", detectors), ("attenuation", attenuation),
                            ("detector_spacing", detector_spacing)):  # fmt: skip
            if value is not None:
                check_positive(name, value)
        if not math.isfinite(detector_offset):
            raise ConfigurationError(f"detector_offset={detector_offset} must be a finite number of mm.")
        if not 0 < frequency_scaling <= 1:
            raise ConfigurationError(f"frequency_scaling={frequency_scaling} must be in (0, 1].")
        self.angles = tuple(float(angle) for angle in angles)
        self.detectors = detectors
        self.pixel_size = pixel_size
        self.detector_spacing = detector_spacing
        self.detector_offset = detector_offset
        self.noise = noise or NoNoise()
        self.filter: FBPFilter = check_option("filter", filter, get_args(FBPFilter))
        self.frequency_scaling = frequency_scaling
        self.scale_to_data = scale_to_data
        self.nonnegative = nonnegative
        self.pixel_units = pixel_units
        self.attenuation = attenuation

    @abstractmethod
    def geometry(self, image_shape: tuple[int, int]) -> Geometry:
        """Rays and grid for images of ``(H, W)`` pixels.

        Raises:
            ConfigurationError: If the shape does not fit the geometry.
        """

    def _enough_detectors(self, shadow: float, spacing: float) -> int:
        """Bins that see a shadow of so many mm around the central ray, wherever the detector's centre is."""
        return math.ceil((shadow + 2 * abs(self.detector_offset)) / spacing)

    @property
    def scale(self) -> float:
        """Factor on line integrals in mm that gives the data."""
        return 1 / self.pixel_size if self.pixel_units else (self.attenuation or 1.0)

    def from_line_integrals(self, line_integrals: Tensor) -> Tensor:
        r"""Convert measured line integrals of the attenuation, :math:`-\log(I/I_0)`, to this acquisition's data."""
        return line_integrals * (self.scale / (self.attenuation or 1.0))

    def physics(self, image_shape: tuple[int, int, int]) -> RayTransform:
        """Build the ray transform; see the base class.

        Raises:
            ConfigurationError: If the image has more than one channel or does not fit the geometry.
        """
        channels, height, width = image_shape
        if channels != 1:
            raise ConfigurationError(
                f"CT takes images of one real channel, not {channels}: choose a channel, or convert to grey values."
            )
        return RayTransform(self.geometry((height, width)), self.scale)

    def initial(self, y: Tensor, physics: Physics) -> Tensor:
        """Filtered back-projection; see the base class."""
        with torch.no_grad():
            image = physics.A_dagger(y, filter=self.filter, frequency_scaling=self.frequency_scaling)
            if self.nonnegative:
                image = image.clamp(min=0)
            return image * least_squares_scale(physics.A(image), y) if self.scale_to_data else image

    def fbp(self, y: Tensor, image_shape: tuple[int, int]) -> Tensor:
        """Filtered back-projection without building the system matrix: for references from very many views.

        Args:
            y: Data in this acquisition's units, ``[B, 1, views, detectors]``.
            image_shape: ``(H, W)``.

        Returns:
            ``[B, 1, H, W]``; neither scaled nor clipped.
        """
        geometry = self.geometry(image_shape)
        return filtered_back_projection(y / self.scale, geometry, self.filter, self.frequency_scaling)

    def add_noise(self, clean: Tensor, generators: MemberGenerators) -> tuple[Tensor, float | None]:
        """Add the configured noise; see the base class."""
        return self.noise(clean, generators, length_unit=1 / self.scale, attenuation=self.attenuation)

    def describe(self) -> dict[str, Any]:
        """Geometry for the record, and the units where they are known; see the base class."""
        metadata = {
            "acquisition": type(self).__name__,
            "views": len(self.angles),
            "angles": list(self.angles),
            "pixel_size_mm": self.pixel_size,
            "data_per_mm": self.scale,
            "noise": type(self.noise).__name__,
        }
        units = {} if self.attenuation is None else {"units": f"{self.attenuation:g} per mm"}
        return {"metadata": metadata, **units}


def least_squares_scale(predicted: Tensor, y: Tensor) -> Tensor:
    r"""Factor on each member that brings predicted data closest to the data, :math:`\langle p, y\rangle/\|p\|^2`.

    Args:
        predicted: ``[B, 1, views, detectors]``.
        y: Of the same shape.

    Returns:
        ``[B, 1, 1, 1]``; 1 where the prediction is zero.
    """
    product = (predicted * y).flatten(1).sum(1)
    energy = predicted.square().flatten(1).sum(1)
    scale = torch.where(energy > 0, product / energy.clamp(min=torch.finfo(energy.dtype).tiny), 1.0)
    return scale.view(-1, 1, 1, 1)
