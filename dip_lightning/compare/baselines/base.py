"""What a baseline is: a measurement in, an image out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from deepinv.physics import LinearPhysics
from torch import Tensor

from dip_lightning.errors import ConfigurationError
from dip_lightning.measurement import Measurement

#: Called with the number of iterations and the image after each; what a baseline reports goes to ``metrics.csv``.
Watch = Callable[[int, Tensor], None]


class Baseline(ABC):
    """A reconstruction of one measurement.

    Attributes:
        settings: What it chose by itself, for the record (a weight found by a rule).
    """

    settings: dict[str, Any]

    @abstractmethod
    def reconstruct(self, measurement: Measurement, seed: int, watch: Watch) -> Tensor:
        """Reconstruct.

        Args:
            measurement: What to reconstruct; ``measurement.target`` must not be read.
            seed: Seed of whatever is drawn.
            watch: To be called after each iteration.

        Returns:
            ``[B, C, H, W]``.

        Raises:
            DIPError: If it does not apply to this measurement.
        """


def linear(measurement: Measurement, baseline: Baseline) -> LinearPhysics:
    """The measurement's physics, if it is linear.

    Raises:
        ConfigurationError: If it is not.
    """
    if not isinstance(measurement.physics, LinearPhysics):
        name = type(measurement.physics).__name__
        raise ConfigurationError(f"{type(baseline).__name__} needs linear physics, and {name} is not.")
    return measurement.physics
