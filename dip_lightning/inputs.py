"""What the network is given at the start: noise, the measurement's first image, or a reference image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, get_args

import torch
from torch import Tensor

from dip_lightning.errors import MeasurementError, check_option
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.measurement import Measurement

Normalisation = Literal["none", "minmax"]


class NetworkInput(ABC):
    """Makes the first network input ``z_0`` of a fit."""

    @abstractmethod
    def __call__(self, measurement: Measurement, generators: MemberGenerators) -> Tensor:
        """Make the input.

        Args:
            measurement: What is being reconstructed; its target is not read.
            generators: Randomness of each member.

        Returns:
            ``[B, C_in, H, W]``.
        """


class UniformNoise(NetworkInput):
    """Noise uniform on ``[0, scale)``, as in the first DIP paper (arXiv 1711.10925): 32 channels, scale 0.1.

    Args:
        channels: Number of channels.
        scale: Upper end of the range.
    """

    def __init__(self, channels: int = 32, scale: float = 0.1) -> None:
        self.channels = channels
        self.scale = scale

    def __call__(self, measurement: Measurement, generators: MemberGenerators) -> Tensor:
        """Draw the noise; see the base class."""
        shape = (self.channels, *measurement.image_shape[1:])
        return self.scale * generators.uniform(shape)


class GaussianNoise(NetworkInput):
    """Normal noise of standard deviation ``scale``.

    Args:
        channels: Number of channels.
        scale: Standard deviation.
    """

    def __init__(self, channels: int = 32, scale: float = 0.1) -> None:
        self.channels = channels
        self.scale = scale

    def __call__(self, measurement: Measurement, generators: MemberGenerators) -> Tensor:
        """Draw the noise; see the base class."""
        shape = (self.channels, *measurement.image_shape[1:])
        return self.scale * generators.normal(shape)


class InitialEstimate(NetworkInput):
    """The measurement's first image: FBP, zero-filled image, noisy image.

    Args:
        normalise: ``minmax`` maps each member to [0, 1], as the aSeqDIP authors do for CT; ``none`` leaves it.
    """

    def __init__(self, normalise: Normalisation = "none") -> None:
        self.normalise = check_option("normalise", normalise, get_args(Normalisation))

    def __call__(self, measurement: Measurement, generators: MemberGenerators) -> Tensor:
        """Copy the initial image; see the base class."""
        return minmax(measurement.initial) if self.normalise == "minmax" else measurement.initial.clone()


class ReferenceImage(NetworkInput):
    """An image of a similar object, as reference-guided DIP takes it (Zhao et al., Sensors 20(1):308, 2020)."""

    def __call__(self, measurement: Measurement, generators: MemberGenerators) -> Tensor:
        """Copy the reference; see the base class.

        Raises:
            MeasurementError: If the DataModule gave no reference.
        """
        if measurement.reference is None:
            raise MeasurementError(
                "The input ReferenceImage needs a reference image; set data.reference to a file or an index."
            )
        return measurement.reference.clone()


def minmax(image: Tensor) -> Tensor:
    """Map each member of ``[B, C, H, W]`` to [0, 1]; a constant member becomes 0."""
    low = image.amin(dim=(1, 2, 3), keepdim=True)
    span = image.amax(dim=(1, 2, 3), keepdim=True) - low
    return (image - low) / torch.where(span > 0, span, torch.ones_like(span))
