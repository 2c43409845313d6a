"""Noise of photographs in [0, 1]: Gaussian, Poisson and impulse noise."""

from __future__ import annotations

import torch
from torch import Tensor

from dip_lightning.errors import ConfigurationError, check_positive
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.physics.noise import MeasurementNoise


class AdditiveGaussian(MeasurementNoise):
    r"""Normal noise of standard deviation ``sigma / 255`` on data of an image in [0, 1].

    Args:
        sigma: Standard deviation on the scale of 8-bit values; 15, 25, 30 and 50 are usual.
        clip: Clip the noisy data to [0, 1], as the code of the first DIP paper and of aSeqDIP do. The stated noise
            level is that before clipping.

    Raises:
        ConfigurationError: If ``sigma`` is negative.
    """

    def __init__(self, sigma: float = 25.0, clip: bool = False) -> None:
        if not sigma >= 0:
            raise ConfigurationError(f"sigma={sigma} must not be negative; it is on the scale of 0 to 255.")
        self.sigma = sigma
        self.clip = clip

    def __call__(
        self, clean: Tensor, generators: MemberGenerators, length_unit: float = 1.0, attenuation: float | None = None
    ) -> tuple[Tensor, float | None]:
        """See the base class."""
        level = self.sigma / 255
        noisy = clean + level * generators.normal(clean.shape[1:], clean.dtype).to(clean.device)
        return (noisy.clamp(0, 1) if self.clip else noisy), level


class PoissonImage(MeasurementNoise):
    r"""Shot noise, :math:`y = \mathrm{Poisson}(c\,x) / c` for an image in [0, 1].

    Args:
        peak: Mean count of a pixel of value 1, :math:`c`. Smaller is noisier.
        clip: Clip the noisy data to [0, 1].

    Raises:
        ConfigurationError: If ``peak`` is not positive.
    """

    def __init__(self, peak: float = 60.0, clip: bool = False) -> None:
        self.peak = check_positive("peak", peak)
        self.clip = clip

    def __call__(
        self, clean: Tensor, generators: MemberGenerators, length_unit: float = 1.0, attenuation: float | None = None
    ) -> tuple[Tensor, float | None]:
        """See the base class. The noise grows with the signal, so that no single level is returned."""
        mean = (self.peak * clean.to(generators.device, torch.float64)).clamp(min=0)
        pairs = zip(mean, generators.generators, strict=True)
        counts = torch.stack([torch.poisson(member, generator=generator) for member, generator in pairs])
        noisy = (counts / self.peak).to(clean)
        return (noisy.clamp(0, 1) if self.clip else noisy), None


class ImpulseNoise(MeasurementNoise):
    """Salt and pepper: each value becomes 0 or 1, equally often, with a probability.

    Args:
        fraction: Probability that a value is replaced. Channels of a pixel are replaced independently.

    Raises:
        ConfigurationError: If ``fraction`` is not in [0, 1].
    """

    def __init__(self, fraction: float = 0.1) -> None:
        if not 0 <= fraction <= 1:
            raise ConfigurationError(f"fraction={fraction} must be between 0 and 1.")
        self.fraction = fraction

    def __call__(
        self, clean: Tensor, generators: MemberGenerators, length_unit: float = 1.0, attenuation: float | None = None
    ) -> tuple[Tensor, float | None]:
        """See the base class. There is no standard deviation that says what this noise does."""
        draw = generators.uniform(clean.shape[1:]).to(clean.device)
        noisy = torch.where(draw < self.fraction / 2, torch.zeros_like(clean), clean)
        return torch.where(draw >= 1 - self.fraction / 2, torch.ones_like(clean), noisy), None
