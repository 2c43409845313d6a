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


class RunningMoments(RunningMean):
    r"""Mean and standard deviation of iterates ``[B, ...]``, by Welford's update in float64.

    With :math:`d = x_t - m_{t-1}`: :math:`m_t = m_{t-1} + d / t` and :math:`q_t = q_{t-1} + d (x_t - m_t)`.
    """

    def update(self, iterate: Tensor) -> None:
        """Take in the iterate; see the base class."""
        self.count += 1
        if not self.tensors:
            mean = iterate.detach().to(torch.float64, copy=True)
            self.tensors = {"mean": mean, "squares": torch.zeros_like(mean)}
            return
        difference = iterate - self.tensors["mean"]
        self.tensors["mean"].add_(difference, alpha=1 / self.count)
        self.tensors["squares"].add_(difference * (iterate - self.tensors["mean"]))

    def compute(self) -> Tensor | None:
        """Give the mean, ``[B, ...]`` in float64; ``None`` before the first iterate."""
        return self.tensors["mean"].clone() if self.tensors else None

    def deviation(self) -> Tensor | None:
        """Give the standard deviation with :math:`t - 1` in its denominator; ``None`` before the second iterate."""
        return (self.tensors["squares"] / (self.count - 1)).sqrt() if self.count > 1 else None
