"""Running statistics of iterates, one value for each member of a batch, without waiting for the device.

Sums are kept in float64: in float32 the variance of iterates that differ by little is wrong by percents.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from dip_lightning.errors import ConfigurationError


class RunningStatistic(ABC):
    """A statistic of a sequence of iterates ``[B, ...]``, updated by one iterate at a time.

    Attributes:
        count: Iterates seen.
        tensors: All that is remembered, by name; empty before the first iterate.
    """

    def __init__(self) -> None:
        self.count = 0
        self.tensors: dict[str, Tensor] = {}

    @abstractmethod
    def update(self, iterate: Tensor) -> None:
        """See the next iterate.

        Args:
            iterate: ``[B, ...]``, real; copied, never changed.
        """

    @abstractmethod
    def compute(self) -> Tensor | None:
        """Give the statistic of what was seen, or ``None`` as long as too little was."""

    def reset(self) -> None:
        """Forget everything."""
        self.count, self.tensors = 0, {}

    def to(self, device: torch.device | str) -> None:
        """Move everything to a device."""
        self.tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}

    def state_dict(self) -> dict[str, Any]:
        """Copy everything, for a checkpoint."""
        return {"count": self.count, "tensors": {name: tensor.clone() for name, tensor in self.tensors.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave: the same values to the last bit."""
        self.count = int(state["count"])
        self.tensors = {name: tensor.clone() for name, tensor in state["tensors"].items()}


class WindowedMovingVariance(RunningStatistic):
    r"""Windowed moving variance (WMV) of the last :math:`W` iterates of :math:`n` elements.

    .. math:: \mathrm{WMV} = \frac1W \sum_{i} \frac1n \|x_i - \bar x\|^2, \qquad \bar x = \frac1W \sum_i x_i

    Source: Wang et al., TMLR 2023 (arXiv 2112.06074). Computed from :math:`s = \sum_i (x_i - r)` and
    :math:`q_i = \|x_i - r\|^2` as :math:`(\sum_i q_i / W - \|s / W\|^2) / n`. The reference :math:`r` is an iterate,
    renewed once in every window together with the sums: the two terms then are of the size of the variance, nothing
    cancels, and rounding does not pile up. An update costs a few passes over one image, whatever the window.

    Args:
        window: Number of iterates :math:`W`; as many are kept, in float64 if they are, else in float32.

    Raises:
        ConfigurationError: If the window is shorter than 2.
    """

    def __init__(self, window: int = 100) -> None:
        super().__init__()
        if window < 2:
            raise ConfigurationError(f"window={window} must be at least 2: one iterate has no variance.")
        self.window = window

    def update(self, iterate: Tensor) -> None:
        """Put the iterate in the place of the oldest one; see the base class."""
        iterate = _flat(iterate)
        if not self.tensors:
            self._start(iterate)
        kept, total = self.tensors["iterates"], self.tensors["sum"]
        slot = self.count % self.window
        total.add_(iterate).sub_(kept[slot])
        kept[slot].copy_(iterate)
        self._square(slot)
        self.count += 1
        if self.count % self.window == 0:
            self._renew_reference(slot)

    def compute(self) -> Tensor | None:
        """Give the variance, ``[B]`` in float64; ``None`` until the window is full."""
        if self.count < self.window:
            return None
        mean_square = self.tensors["squares"].sum(0) / self.window
        mean = self.tensors["sum"] / self.window
        return ((mean_square - mean.square().sum(1)) / mean.shape[1]).clamp_min(0)

    def _start(self, iterate: Tensor) -> None:
        reference = iterate.to(torch.float64, copy=True)
        self.tensors = {
            "iterates": iterate.repeat(self.window, 1, 1),  # all equal to the reference: the sums below are zero
            "reference": reference,
            "sum": torch.zeros_like(reference),
            "squares": torch.zeros_like(reference[:, 0]).repeat(self.window, 1),
        }

    def _square(self, slot: int) -> Tensor:
        difference = self.tensors["iterates"][slot] - self.tensors["reference"]
        self.tensors["squares"][slot] = torch.linalg.vector_norm(difference, dim=1).square_()
        return difference

    def _renew_reference(self, newest: int) -> None:
        self.tensors["reference"].copy_(self.tensors["iterates"][newest])
        self.tensors["sum"].zero_()
        for slot in range(self.window):
            self.tensors["sum"].add_(self._square(slot))


class ExponentialMovingVariance(RunningStatistic):
    r"""Exponential moving variance (EMV) of the iterates: two images of memory instead of a window.

    With :math:`d = x - m`: :math:`m \leftarrow m + \alpha d` and
    :math:`v \leftarrow (1 - \alpha)(v + \alpha \|d\|^2 / n)`, from :math:`m = x_0` and :math:`v = 0`. Source: Wang et
    al., TMLR 2023 (arXiv 2112.06074); their code leaves out :math:`1/n`, which moves no minimum, and clips :math:`m`
    to [0, 1], which assumes a range that CT and MRI images do not have.

    Args:
        alpha: Weight of the newest iterate.

    Raises:
        ConfigurationError: If ``alpha`` is not between 0 and 1.
    """

    def __init__(self, alpha: float = 0.1) -> None:
        super().__init__()
        if not 0 < alpha < 1:
            raise ConfigurationError(f"alpha={alpha} must be above 0 and below 1.")
        self.alpha = alpha

    def update(self, iterate: Tensor) -> None:
        """Move mean and variance towards the iterate; see the base class."""
        iterate = _flat(iterate)
        if self.tensors:
            mean, variance = self.tensors["mean"], self.tensors["variance"]
            difference = iterate - mean
            mean.add_(difference, alpha=self.alpha)
            variance.add_(difference.square_().mean(1), alpha=self.alpha).mul_(1 - self.alpha)
        else:
            # A copy also where the iterate already is float64.
            mean = iterate.to(torch.float64, copy=True)
            self.tensors = {"mean": mean, "variance": torch.zeros_like(mean[:, 0])}
        self.count += 1

    def compute(self) -> Tensor | None:
        """Give the variance, ``[B]`` in float64; ``None`` until there are two iterates."""
        return self.tensors["variance"].clone() if self.count > 1 else None


def _flat(iterate: Tensor) -> Tensor:
    flat = iterate.detach().flatten(1)
    return flat if flat.dtype == torch.float64 else flat.float()
