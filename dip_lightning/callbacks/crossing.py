"""Early stopping at the first iterate whose statistic falls below a threshold."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor

from dip_lightning.callbacks.stopping import Action, StoppingRule
from dip_lightning.errors import ConfigurationError
from dip_lightning.measurement import Measurement
from dip_lightning.physics.noise_level import known_noise_level, present_data

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP


#: A patience, in optimiser steps, that no fit outlasts.
_NEVER = 10**9


class CrossingRule(StoppingRule, ABC):
    """Choose the first iterate whose statistic is at most a threshold, and stop there.

    There is nothing to be patient for: of several members, each stops where its own statistic crosses. Where it never
    does, nothing is selected, and the estimate is what it would be without the rule.

    Args:
        threshold: What the statistic is compared with.
        warmup: Optimiser steps before the statistic counts.
        action: ``stop``, or ``record`` only; see :class:`~dip_lightning.callbacks.stopping.StoppingRule`.
    """

    def __init__(self, threshold: float, warmup: int, action: Action) -> None:
        super().__init__(1, warmup, 0.0, action)
        self.patience = 0  # what has crossed has stopped, also after a resume
        self.threshold = threshold

    def _decide(self, pl_module: BaseDIP, value: Tensor) -> None:
        state = self._state_for(value)
        crossed = (state["stopped_at"] == 0) & value.isfinite() & (value <= self.threshold)
        crossed = pl_module.unless_stopped(crossed, torch.zeros_like(crossed))
        self._state = {
            "minimum": torch.where(crossed, value, state["minimum"]),
            "iteration": torch.where(crossed, pl_module.iteration, state["iteration"]),
            "stopped_at": torch.where(crossed, pl_module.iteration, state["stopped_at"]),
        }
        any_crossed, *stopped = torch.cat([crossed.any()[None], self._state["stopped_at"] > 0]).tolist()
        if any_crossed:
            self._select(pl_module, crossed)
        self._leave(stopped, pl_module)


class DiscrepancyStopping(CrossingRule):
    r"""Stop as soon as the data are explained to within the noise: Morozov's discrepancy principle.

    .. math:: \frac{\|A x - y\|}{\sigma \sqrt m} \le \tau

    for the current estimate :math:`x` and the :math:`m` data that carry information or noise (points of k-space that
    were not sampled are zero and do not count). The noise level must be known.

    Args:
        tau: Threshold :math:`\tau`; 1 expects a residual of the noise's size, and larger values stop earlier.
        noise_level: :math:`\sigma`, in units of the data; ``None`` takes the measurement's.
        warmup: Optimiser steps before the rule counts.
        action: ``stop``, or ``record`` only; see :class:`~dip_lightning.callbacks.stopping.StoppingRule`.

    Raises:
        ConfigurationError: If a number is not positive.
    """

    rule: ClassVar[str] = "discrepancy"

    def __init__(
        self, tau: float = 1.0, noise_level: float | None = None, warmup: int = 0, action: Action = "stop"
    ) -> None:
        super().__init__(tau, warmup, action)
        if tau <= 0 or (noise_level is not None and noise_level <= 0):
            raise ConfigurationError(f"tau={tau} and noise_level={noise_level} must be positive.")
        self.noise_level = noise_level
        self._known: tuple[Measurement, Tensor] | None = None

    @property
    def label(self) -> str:
        """``discrepancy_<tau>``; see the base class."""
        return f"discrepancy_{self.threshold:g}"

    def on_train_start(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Find the noise level and the number of data; see the base class.

        Raises:
            MeasurementError: If the noise level is not known.
        """
        self._noise_norm(pl_module.measurement)
        super().on_train_start(trainer, pl_module)

    def statistic(self, pl_module: BaseDIP) -> Tensor:
        """Residual in units of the noise; see the base class."""
        measurement = pl_module.measurement
        with torch.no_grad():
            residual = measurement.physics.A(pl_module.current_estimate) - measurement.y
            return torch.linalg.vector_norm(residual.flatten(1), dim=1) / self._noise_norm(measurement)

    def _noise_norm(self, measurement: Measurement) -> Tensor:
        # A fit that starts over with all data has another measurement from then on.
        if self._known is None or self._known[0] is not measurement:
            sigma = known_noise_level(measurement, self.noise_level, type(self).__name__)
            self._known = (measurement, sigma * present_data(measurement).flatten(1).sum(1).sqrt())
        return self._known[1]


class ZeroCrossing(CrossingRule):
    r"""Stop when the loss falls below zero, and select the estimate of the outer step before.

    For losses that estimate an error, as Stein's does: an error below zero cannot be, so from there on the estimate is
    wrong. Source: Jo, Chun and Choi, ICCV 2021 (arXiv 2108.12841), whose released code restores the weights of the
    step before, too.

    Args:
        warmup: Optimiser steps before the rule counts.
        action: ``stop``, or ``record`` only; see :class:`~dip_lightning.callbacks.stopping.StoppingRule`.
    """

    rule: ClassVar[str] = "zero_crossing"

    def __init__(self, warmup: int = 0, action: Action = "stop") -> None:
        super().__init__(0.0, warmup, action)
        self._previous: Tensor | None = None

    def statistic(self, pl_module: BaseDIP) -> Tensor:
        """Total loss; see the base class."""
        return pl_module.loss

    def reset(self) -> None:
        """Forget the estimate of the step before; see the base class."""
        super().reset()
        self._previous = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Bring a restored state to the device; see the base class."""
        if self._previous is not None:
            self._previous = self._previous.to(pl_module.device)
        super().on_train_start(trainer, pl_module)

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, pl_module: BaseDIP, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the loss; remember the estimate for the next time."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if pl_module.stopped_by != "nan":
            self._previous = pl_module.current_estimate.clone()

    def state_dict(self) -> dict[str, Any]:
        """Add the estimate of the step before; see the base class."""
        return {"rule": super().state_dict(), "previous": self._previous}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        super().load_state_dict(state_dict["rule"])
        self._previous = state_dict["previous"]

    def candidate(self, pl_module: BaseDIP) -> Tensor:
        """Give the estimate of the outer step before; see the base class."""
        return pl_module.current_estimate if self._previous is None else self._previous


class BestLoss(StoppingRule):
    """Select the estimate of the outer step with the least total loss.

    Baguer et al. (arXiv 2003.04989) report it in place of the last output, which a step of a jumpy optimiser may have
    spoilt. It is no protection from overfitting: the loss falls all the way.

    Args:
        patience: Optimiser steps without a new minimum after which to stop; the default never does.
        warmup: Optimiser steps before the loss counts.
        min_improvement: By which part a new minimum must be below the old one.
        action: ``stop``, or ``record`` only; see :class:`~dip_lightning.callbacks.stopping.StoppingRule`.
    """

    rule: ClassVar[str] = "best_loss"

    def __init__(
        self, patience: int = _NEVER, warmup: int = 0, min_improvement: float = 0.0, action: Action = "stop"
    ) -> None:
        super().__init__(patience, warmup, min_improvement, action)

    @property
    def stops(self) -> bool:
        """Whether it ends the fit: with a patience that can run out only."""
        return super().stops and self.patience < _NEVER

    def statistic(self, pl_module: BaseDIP) -> Tensor:
        """Total loss of the outer step's last optimiser step; see the base class."""
        return pl_module.loss
