"""Weightings of the residual in the data term."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from dip_lightning.errors import ConfigurationError
from dip_lightning.measurement import Measurement


class DataWeighting(ABC):
    """A linear map of the residual, so that a method minimises the distance of ``W A x`` from ``W y``."""

    @abstractmethod
    def __call__(self, residual: Tensor) -> Tensor:
        """Weigh a residual.

        Args:
            residual: ``A x - y``, of the data's shape.

        Returns:
            The weighted residual, ``[B, ...]``. It may have more elements than the data; ``mse`` divides by the data's.
        """

    @abstractmethod
    def check(self, measurement: Measurement) -> None:
        """Refuse data that the weighting is not made for.

        Raises:
            ConfigurationError: If it does not suit them.
        """


class RampWeighting(DataWeighting):
    r"""Raise the high frequencies of a sinogram's residual, :math:`c\,|\omega|^{p/2}\,\hat r(\omega)`.

    Frequencies run along the detector, and :math:`c` leaves white noise its mean power. Projecting and back-projecting
    blurs by :math:`1/|\omega|`, so that fine detail is fitted last; with :math:`p = 1`, :math:`A^\top W^\top W A` is
    near the identity, as in filtered back-projection, and a network fits all scales at once: fewer steps, at the price
    of weighing noise in the fine detail as much as in the coarse. :math:`p = 1/2` is between the two. Ours; filtered
    data terms are old in iterative CT (Clinthorne et al., IEEE TMI 12(1), 1993, preconditioned gradients).

    Args:
        power: :math:`p`, in (0, 1].

    Raises:
        ConfigurationError: If the power is out of range.
    """

    def __init__(self, power: float = 0.5) -> None:
        if not 0 < power <= 1:
            raise ConfigurationError(f"RampWeighting: power={power} must be in (0, 1].")
        self.power = power

    def __call__(self, residual: Tensor) -> Tensor:
        """Filter along the last dimension, with as many zeros behind it; see the base class.

        Args:
            residual: ``[B, 1, views, detectors]``.

        Returns:
            ``[B, 1, views, 2 * detectors]``: with what the filter leaves beyond the detector's end.
        """
        detectors = residual.shape[-1]
        frequency = torch.arange(detectors + 1, device=residual.device, dtype=residual.dtype).clamp_min_(1) / detectors
        response = frequency.pow(self.power / 2)
        response = response / response.square().mean().sqrt()
        spectrum = torch.fft.rfft(residual, n=2 * detectors) * response
        return torch.fft.irfft(spectrum, n=2 * detectors)

    def check(self, measurement: Measurement) -> None:
        """Refuse what is no sinogram; see the base class."""
        y = measurement.y
        if y.is_complex() or y.ndim != 4 or measurement.task != "ct":
            raise ConfigurationError(
                f"RampWeighting is for sinograms [B, 1, views, detectors], not for {measurement.task} data of shape "
                f"{list(y.shape)}: leave data_weighting out (--model.data_weighting null)."
            )
