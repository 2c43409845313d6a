"""Early stopping by the variance of the iterates, which is smallest about where the image is best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytorch_lightning as pl
from torch import Tensor

from dip_lightning.callbacks.stopping import Action, StoppingRule
from dip_lightning.functional.statistics import ExponentialMovingVariance, RunningStatistic, WindowedMovingVariance
from dip_lightning.hooks import IterateHook

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP


class _MovingVarianceStopping(StoppingRule, IterateHook):
    running: RunningStatistic

    def on_iterate(self, trainer: pl.Trainer, pl_module: BaseDIP, output: Tensor) -> None:
        """Feed every iterate to the statistic."""
        self.running.update(output)

    def statistic(self, pl_module: BaseDIP) -> Tensor | None:
        """Moving variance of the iterates."""
        return self.running.compute()

    def reset(self) -> None:
        """Forget the iterates; see the base class."""
        super().reset()
        self.running.reset()

    def on_train_start(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Bring a restored state to the device; see the base class."""
        self.running.to(pl_module.device)
        super().on_train_start(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Add the running statistic; see the base class."""
        return {"rule": super().state_dict(), "running": self.running.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        super().load_state_dict(state_dict["rule"])
        self.running.load_state_dict(state_dict["running"])


class EarlyStoppingWMV(_MovingVarianceStopping):
    """Early stopping by windowed moving variance, WMV.

    Over the fit the variance of the last iterates falls while the image forms, and rises again when the noise is
    fitted; the iterate at its minimum is selected. Formula and source:
    :class:`~dip_lightning.functional.statistics.WindowedMovingVariance`. The published code checks after every step
    and goes on to the end all the same; this one checks after every outer step, and stops.

    Args:
        window: Iterates that the variance is taken over; one image of memory for each.
        patience: Optimiser steps without a new minimum after which to stop.
        min_improvement: By which part a new minimum must be below the old one.
        action: ``stop``, or ``record`` only; see :class:`~dip_lightning.callbacks.stopping.StoppingRule`.
    """

    rule: ClassVar[str] = "wmv"

    def __init__(
        self, window: int = 100, patience: int = 1000, min_improvement: float = 0.0, action: Action = "stop"
    ) -> None:
        super().__init__(patience, warmup=0, min_improvement=min_improvement, action=action)
        self.window = window
        self.running = WindowedMovingVariance(window)

    @property
    def label(self) -> str:
        """``wmv_<window>``; see the base class."""
        return f"wmv_{self.window}"


class EarlyStoppingEMV(_MovingVarianceStopping):
    """Early stopping by exponential moving variance, EMV: two images of memory instead of a window.

    Formula and source: :class:`~dip_lightning.functional.statistics.ExponentialMovingVariance`.

    Args:
        alpha: Weight of the newest iterate.
        patience: Optimiser steps without a new minimum after which to stop.
        warmup: Optimiser steps before the statistic counts: it starts from zero.
        min_improvement: By which part a new minimum must be below the old one.
        action: ``stop``, or ``record`` only; see :class:`~dip_lightning.callbacks.stopping.StoppingRule`.
    """

    rule: ClassVar[str] = "emv"

    def __init__(
        self,
        alpha: float = 0.1,
        patience: int = 1000,
        warmup: int = 100,
        min_improvement: float = 0.0,
        action: Action = "stop",
    ) -> None:
        super().__init__(patience, warmup=warmup, min_improvement=min_improvement, action=action)
        self.alpha = alpha
        self.running = ExponentialMovingVariance(alpha)

    @property
    def label(self) -> str:
        """``emv_<alpha>``; see the base class."""
        return f"emv_{self.alpha:g}"
