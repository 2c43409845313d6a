"""Averages of iterates."""

from __future__ import annotations

import torch
from torch import Tensor

from dip_lightning.functional.statistics import RunningStatistic


def move_average(average: Tensor, value: Tensor, weight: float) -> Tensor:
    r"""Exponential average, in place: :math:`a \leftarrow w a + (1 - w) x`.

    Args:
        average: The average so far; changed.
        value: The next value, of the same shape.
        weight: Weight :math:`w` of the past, in [0, 1).

    Returns:
        ``average`` itself.
    """
    return average.lerp_(value, 1 - weight)


class RunningMean(RunningStatistic):
    r"""Plain mean :math:`\frac1t \sum_{i \le t} x_i` of iterates ``[B, ...]``, summed in float64."""

    def update(self, iterate: Tensor) -> None:
        """Add the iterate; see the base class."""
        if self.tensors:
            self.tensors["sum"].add_(iterate)
        else:
            self.tensors["sum"] = iterate.detach().to(torch.float64, copy=True)
        self.count += 1

    def compute(self) -> Tensor | None:
        """Give the mean, ``[B, ...]`` in float64; ``None`` before the first iterate."""
        return self.tensors["sum"] / self.count if self.tensors else None
