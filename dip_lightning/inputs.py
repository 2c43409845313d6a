"""What the network is given at the start: noise, the measurement's first image, or a reference image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from dip_lightning.errors import ConfigurationError, MeasurementError, check_option
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.measurement import Measurement
from dip_lightning.physics.least_squares import pseudo_inverse

Normalisation = Literal["none", "minmax"]
InputMap = Literal["adjoint", "pseudo_inverse"]


class NetworkInput(ABC):
    """Makes the first network input ``z_0`` of a fit."""

    @abstractmethod
    def __call__(self, measurement: Measurement, generators: MemberGenerators) -> Tensor:
        """Make the input.

        Args:
            measurement: What is being reconstructed; its target is not read.
            generators: Randomness of each member.

        Returns:
            ``[B, C_in, H, W]``, on a coarser grid where the network enlarges it.
        """


class _Noise(NetworkInput):
    """Noise on the image's grid or, for decoders, on a coarser one.

    Args:
        channels: Number of channels; ``None`` takes the image's.
        scale: Factor on the draw.
        size: Grid ``(h, w)``; the image's unless given.
        downscale: Divides the image's height and width, rounded up; not beside ``size``.

    Raises:
        ConfigurationError: If both are given or a number is not positive.
    """

    def __init__(
        self, channels: int | None = 32, scale: float = 0.1, size: tuple[int, int] | None = None, downscale: int = 1
    ) -> None:
        if min(1 if channels is None else channels, downscale, *(size or (1,))) < 1 or (
            size is not None and downscale != 1
        ):
            raise ConfigurationError(
                f"initial_input: channels={channels}, size={size} and downscale={downscale} must be at least 1, and "
                "only one of size and downscale can be set."
            )
        self.channels = channels
        self.scale = scale
        self.size = size
        self.downscale = downscale

    def shape(self, measurement: Measurement) -> tuple[int, int, int]:
        """Shape ``(C_in, h, w)`` of one member's input."""
        height, width = self.size or (-(-side // self.downscale) for side in measurement.image_shape[1:])
        return self.channels or measurement.image_shape[0], height, width


class UniformNoise(_Noise):
    """Noise uniform on ``[0, scale)``, as in the first DIP paper (arXiv 1711.10925): 32 channels, scale 0.1.

    Args:
        channels: Number of channels; ``None`` takes the image's.
        scale: Upper end of the range.
        size: Grid ``(h, w)``; the image's unless given.
        downscale: Divides the image's height and width, rounded up; not beside ``size``.

    Raises:
        ConfigurationError: If both are given or a number is not positive.
    """

    def __call__(self, measurement: Measurement, generators: MemberGenerators) -> Tensor:
        """Draw the noise; see the base class."""
        return self.scale * generators.uniform(self.shape(measurement))


class GaussianNoise(_Noise):
    """Normal noise of standard deviation ``scale``.

    Args:
        channels: Number of channels; ``None`` takes the image's.
        scale: Standard deviation.
        size: Grid ``(h, w)``; the image's unless given.
        downscale: Divides the image's height and width, rounded up; not beside ``size``.

    Raises:
        ConfigurationError: If both are given or a number is not positive.
    """

    def __call__(self, measurement: Measurement, generators: MemberGenerators) -> Tensor:
        """Draw the noise; see the base class."""
        return self.scale * generators.normal(self.shape(measurement))


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


class LinearEstimate(NetworkInput):
    """An image that is a linear function of the data: the adjoint or the pseudo-inverse of the forward operator.

    Args:
        input_map: ``adjoint``, or ``pseudo_inverse`` (the physics' ``A_dagger``; for CT, filtered back-projection).
    """

    def __init__(self, input_map: InputMap = "adjoint") -> None:
        self.input_map = check_option("input_map", input_map, get_args(InputMap))

    def __call__(self, measurement: Measurement, generators: MemberGenerators) -> Tensor:
        """Map the data; see the base class."""
        return self.apply(measurement.physics, measurement.y)

    def apply(self, physics: Any, y: Tensor) -> Tensor:
        """Map data to an image, without gradient.

        Args:
            physics: A linear operator.
            y: Data, ``[B, ...]``.

        Returns:
            ``[B, C, H, W]``.
        """
        with torch.no_grad():
            image: Tensor = physics.A_adjoint(y) if self.input_map == "adjoint" else pseudo_inverse(physics, y)
        return image


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
