"""Noise of simulated measurements."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from dip_lightning.errors import ConfigurationError, check_positive
from dip_lightning.functional.random import MemberGenerators

#: Attenuation that LoDoPaB-CT maps to 1, per mm: 81.35858 per metre (3071 HU).
LODOPAB_MU_MAX = 0.08135858


class MeasurementNoise(ABC):
    """Adds noise to clean data."""

    @abstractmethod
    def __call__(
        self, clean: Tensor, generators: MemberGenerators, length_unit: float = 1.0, attenuation: float | None = None
    ) -> tuple[Tensor, float | None]:
        """Add noise.

        Args:
            clean: Noiseless data, ``[B, ...]``.
            generators: Randomness of each member.
            length_unit: In CT, the mm that a line integral of 1 through an image of ones is long.
            attenuation: In CT, the attenuation per mm that an image value of 1 means, where the acquisition knows it.

        Returns:
            Noisy data, and the standard deviation of its noise where there is a single one.
        """


class NoNoise(MeasurementNoise):
    """Leaves the data as they are."""

    def __call__(
        self, clean: Tensor, generators: MemberGenerators, length_unit: float = 1.0, attenuation: float | None = None
    ) -> tuple[Tensor, float | None]:
        """See the base class."""
        return clean, 0.0


class RelativeGaussian(MeasurementNoise):
    r"""Normal noise of standard deviation ``relative`` times the mean of :math:`|y|`, for each member.

    Args:
        relative: Standard deviation as a fraction, 0.05 for 5 %.
    """

    def __init__(self, relative: float = 0.05) -> None:
        if not relative >= 0:
            raise ConfigurationError(f"relative={relative} must not be negative.")
        self.relative = relative

    def __call__(
        self, clean: Tensor, generators: MemberGenerators, length_unit: float = 1.0, attenuation: float | None = None
    ) -> tuple[Tensor, float | None]:
        """See the base class."""
        deviation = self.relative * clean.flatten(1).abs().mean(1)
        normal = generators.normal(clean.shape[1:], clean.dtype).to(clean.device)
        noisy = clean + deviation.view(-1, *[1] * (clean.ndim - 1)) * normal
        single = torch.allclose(deviation, deviation[:1], rtol=1e-6, atol=0.0)
        return noisy, float(deviation[0]) if single else None


class PoissonCounts(MeasurementNoise):
    r"""Photon counting by Beer and Lambert's law, as LoDoPaB-CT defines it (arXiv 1910.01113).

    With line integrals :math:`p = \mu\ell` of the attenuation, counts are :math:`N \sim \mathrm{Poisson}(N_0 e^{-p})`;
    no count at all is taken as 0.1 photons, and the data are :math:`-\log(N / N_0)`, back in the units of ``clean``.

    Args:
        photons: Mean photons per bin without an object, :math:`N_0`; 4096 in LoDoPaB-CT.
        mu_max: Attenuation per mm that an image value of 1 means. ``None`` takes the acquisition's, or LoDoPaB-CT's
            0.0814 per mm where it has none.
    """

    def __init__(self, photons: float = 4096, mu_max: float | None = None) -> None:
        self.photons = check_positive("photons", photons)
        self.mu_max = None if mu_max is None else check_positive("mu_max", mu_max)

    def __call__(
        self, clean: Tensor, generators: MemberGenerators, length_unit: float = 1.0, attenuation: float | None = None
    ) -> tuple[Tensor, float | None]:
        """See the base class. The noise grows with the line integral, so that no single level is returned."""
        factor = length_unit * (self.mu_max or attenuation or LODOPAB_MU_MAX)
        mean = self.photons * torch.exp(-factor * clean.to(generators.device, torch.float64))
        pairs = zip(mean, generators.generators, strict=True)
        counts = torch.stack([torch.poisson(member, generator=generator) for member, generator in pairs])
        counts = torch.where(counts == 0, torch.full_like(counts, 0.1), counts)
        return (-torch.log(counts / self.photons) / factor).to(clean), None
