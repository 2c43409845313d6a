"""What a baseline is: a measurement in, an image out."""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
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
        settings: What it chose by itself, for the record (a weight found by a rule); nothing, unless it is set.
    """

    settings: Mapping[str, Any] = MappingProxyType({})

    @classmethod
    def draws(cls, arguments: Mapping[str, Any]) -> bool:
        """Whether the image depends on the seed: a comparison runs such a baseline with every seed, others with one.

        Asked of the class, since a baseline may hold a network that is not worth building for it.

        Args:
            arguments: What the configuration gives to ``__init__``.

        Returns:
            ``False``, unless a subclass says otherwise.
        """
        return False

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


def draws(tree: Mapping[str, Any]) -> bool:
    """Ask a baseline's class whether its image depends on the seed.

    Args:
        tree: ``class_path``, a name of this package or an import path, and ``init_args``.

    Returns:
        What :meth:`Baseline.draws` says; ``False`` where there is no such class, which its job will report.
    """
    path = str(tree.get("class_path"))
    try:
        found = pkgutil.resolve_name(path if "." in path else f"{__package__}.{path}")
    except Exception:  # whatever its module raises
        return False
    return isinstance(found, type) and issubclass(found, Baseline) and found.draws(tree.get("init_args") or {})
