"""How noisy data are, and how many of them there are, for whatever weighs a residual against the noise."""

from __future__ import annotations

from torch import Tensor

from dip_lightning.errors import MeasurementError
from dip_lightning.measurement import Measurement
from dip_lightning.physics.masked import measured


def known_noise_level(measurement: Measurement, given: float | None, what: str) -> float:
    """Find the standard deviation of the noise on the data.

    Args:
        measurement: What is fitted.
        given: What the user says it is, or ``None``.
        what: Who asks, for the message.

    Raises:
        MeasurementError: If it is not known, or zero.
    """
    sigma = measurement.noise_level if given is None else given
    if not sigma:
        raise MeasurementError(
            f"{what} needs the noise level, and that of {', '.join(measurement.ids)} is "
            f"{'not known' if sigma is None else 'zero'}: set its noise_level, in units of the data, or take a method "
            "or a stopping rule that needs none (HeldOutStopping, EarlyStoppingWMV)."
        )
    return float(sigma)


def present_data(measurement: Measurement) -> Tensor:
    """Say which data carry information or noise: those that the image can change, and those that are not zero.

    Args:
        measurement: What is fitted.

    Returns:
        ``bool`` of the data's shape.
    """
    return measured(measurement.physics, measurement.initial) | (measurement.y != 0)
