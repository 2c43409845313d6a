"""Terms that any method can add to what it minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from itertools import count
from typing import Literal, get_args

from torch import Tensor

from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.functional.total_variation import total_variation


class Penalty(ABC):
    """A weighted term on the estimate.

    Args:
        weight: Its weight beside the method's own terms, whose reduction decides what a weight means.

    Raises:
        ConfigurationError: If the weight is negative.
    """

    #: Column of ``metrics.csv``; where another term has the name, ``_2`` and so on is appended.
    name: str = "penalty"

    def __init__(self, weight: float) -> None:
        if weight < 0:
            raise ConfigurationError(f"The weight of {type(self).__name__} is {weight}; it must not be negative.")
        self.weight = weight

    @abstractmethod
    def __call__(self, estimate: Tensor) -> Tensor:
        """Value of the weighted term.

        Args:
            estimate: ``[B, C, H, W]``.

        Returns:
            ``[B]``.
        """


class TotalVariation(Penalty):
    """Total variation of the estimate (TV-DIP: Liu et al., arXiv 1810.12864).

    Args:
        weight: Weight of the term.
        isotropic: Euclidean length of the gradient, or the sum of its parts' absolute values.
        reduction: ``sum`` over pixels (Baguer et al., arXiv 2003.04989) or their ``mean``.

    Raises:
        ConfigurationError: If the weight is negative or the reduction unknown.
    """

    name = "tv"

    def __init__(self, weight: float, isotropic: bool = True, reduction: Literal["sum", "mean"] = "sum") -> None:
        super().__init__(weight)
        self.isotropic = isotropic
        self.reduction = check_option("reduction", reduction, get_args(Literal["sum", "mean"]))

    def __call__(self, estimate: Tensor) -> Tensor:
        """Weighted total variation; see the base class."""
        value = total_variation(estimate, self.isotropic)
        return self.weight * (value / estimate[0].numel() if self.reduction == "mean" else value)


def own_name(name: str, taken: Collection[str]) -> str:
    """Number a term's name if another has it: terms are added by name, and none may replace another.

    Args:
        name: Name of the term.
        taken: Names of the other terms.

    Returns:
        ``name``, ``name_2``, ``name_3``, ...: the first that is free.
    """
    names = (name if number == 1 else f"{name}_{number}" for number in count(1))
    return next(free for free in names if free not in taken)
