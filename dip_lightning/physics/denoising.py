"""Acquisition of noisy images."""

from __future__ import annotations

import deepinv
from deepinv.physics import Physics

from dip_lightning.physics.image_noise import AdditiveGaussian
from dip_lightning.physics.noise import MeasurementNoise
from dip_lightning.physics.restoration import RestorationAcquisition


class Denoising(RestorationAcquisition):
    """The image itself plus noise; the first estimate is the noisy image.

    Args:
        noise: ``AdditiveGaussian``, ``PoissonImage`` or ``ImpulseNoise``; Gaussian of 25/255 unless given.
    """

    task = "denoising"

    def __init__(self, noise: MeasurementNoise | None = None) -> None:
        super().__init__(noise or AdditiveGaussian())

    def physics(self, image_shape: tuple[int, int, int]) -> Physics:
        """Build the identity; see the base class."""
        return deepinv.physics.Denoising(deepinv.physics.ZeroNoise())
