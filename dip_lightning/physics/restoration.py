"""What the acquisitions of image restoration have in common."""

from __future__ import annotations

from typing import Any

from deepinv.physics import Physics
from torch import Tensor

from dip_lightning.functional.random import MemberGenerators
from dip_lightning.physics.acquisition import Acquisition
from dip_lightning.physics.noise import MeasurementNoise, NoNoise


class RestorationAcquisition(Acquisition):
    """Measurements of images ``[C, H, W]`` in [0, 1], gray or colour.

    Args:
        noise: Noise of simulated data; none unless given. Measured data are taken as they are.
    """

    def __init__(self, noise: MeasurementNoise | None = None) -> None:
        self.noise = noise or NoNoise()

    def initial(self, y: Tensor, physics: Physics) -> Tensor:
        """Take the data themselves; see the base class."""
        return y.clone()

    def add_noise(self, clean: Tensor, generators: MemberGenerators) -> tuple[Tensor, float | None]:
        """Add the configured noise; see the base class."""
        return self.noise(clean, generators)

    def settings(self) -> dict[str, Any]:
        """What the record keeps about the operator."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Range [0, 1], and the settings for the record; see the base class."""
        noise = {"noise": type(self.noise).__name__, "noise_settings": dict(vars(self.noise))}
        metadata = {"acquisition": type(self).__name__, **self.settings(), **noise}
        return {"value_range": (0.0, 1.0), "metadata": metadata}
