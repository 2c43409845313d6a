"""Acquisition of images at low resolution."""

from __future__ import annotations

from typing import Any, get_args

from deepinv.physics import Physics
from torch import Tensor
from torch.nn.functional import interpolate

from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.physics.noise import MeasurementNoise
from dip_lightning.physics.resampling import Filter, SeparableDownsampling
from dip_lightning.physics.restoration import RestorationAcquisition


class SuperResolution(RestorationAcquisition):
    """Images made smaller with an antialiasing filter; the first estimate is their bicubic enlargement.

    Not deepinv's ``Downsampling``: with filters of even length it shifts the image by half a pixel, and it computes the
    filter's spectrum anew at every call (deepinv 0.5).

    Args:
        factor: 2, 4, 8, ...: how many times smaller.
        filter: ``lanczos2`` (the first DIP paper), ``bicubic`` (the usual test sets), ``gaussian`` or ``box``; see
            :func:`~dip_lightning.physics.resampling.filter_profile`.
        noise: Noise of simulated data; none unless given.

    Raises:
        ConfigurationError: If the factor is less than 2 or the filter unknown.
    """

    task = "superresolution"

    def __init__(self, factor: int = 4, filter: Filter = "lanczos2", noise: MeasurementNoise | None = None) -> None:
        super().__init__(noise)
        if factor < 2:
            raise ConfigurationError(f"factor={factor} must be at least 2.")
        self.factor = factor
        self.filter: Filter = check_option("filter", filter, get_args(Filter))

    def physics(self, image_shape: tuple[int, int, int]) -> Physics:
        """Build the downsampling; see the base class.

        Raises:
            ConfigurationError: If a side is no multiple of the factor.
        """
        return SeparableDownsampling(image_shape, self.factor, self.filter)

    def initial(self, y: Tensor, physics: Physics) -> Tensor:
        """Enlarge by bicubic interpolation; see the base class."""
        return interpolate(y, scale_factor=self.factor, mode="bicubic", align_corners=False)

    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {"factor": self.factor, "filter": self.filter}
