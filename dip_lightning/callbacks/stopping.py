"""Early stopping by a statistic of the fit itself: neither the target nor the noise level is looked at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import pytorch_lightning as pl
import torch
from torch import Tensor

from dip_lightning.errors import ConfigurationError, check_option, demand_attribute
from dip_lightning.hooks import StopsFit, callbacks_of

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP

Action = Literal["stop", "record"]


class StoppingRule(pl.Callback, StopsFit, ABC):
    """Choose the iterate at the minimum of a statistic, and stop when it has not fallen for a while.

    A rule overrides :meth:`statistic`. It is asked once in an outer step. At every new minimum the current estimate
    becomes the selected one; ``patience`` optimiser steps after the last minimum the fit is stopped. Of several
    members, each has its own minimum and, once its patience has run out, its final selection; the fit stops when all
    have. A statistic that is not finite neither selects nor stops. Where nothing was selected, the estimate is what it
    would be without the rule.

    Args:
        patience: Optimiser steps without a new minimum after which to stop.
        warmup: Optimiser steps before the statistic counts.
        min_improvement: By which part a new minimum must be below the old one: 0.01 asks for 1 %. Below zero, which
            some statistics reach, anything lower is a new minimum.
        action: ``stop``, or ``record``: the fit goes on and its estimate stays what it would have been; what the
            rule would have chosen is in ``summary.json`` and offered as the report ``recorded_<label>``.

    Raises:
        ConfigurationError: If a number is out of range, the action is unknown or the class has no :attr:`rule`.
    """

    #: Short name, in ``stopped_by: early_stopping_<rule>``.
    rule: ClassVar[str]

    def __init__(self, patience: int, warmup: int, min_improvement: float, action: Action) -> None:
        demand_attribute(self, "rule", "its short name in stopped_by")
        if patience < 1 or warmup < 0 or not 0 <= min_improvement < 1:
            raise ConfigurationError(
                f"patience={patience} must be at least 1, warmup={warmup} at least 0 and "
                f"min_improvement={min_improvement} in [0, 1)."
            )
        self.patience = patience
        self.warmup = warmup
        self.min_improvement = min_improvement
        self.action: Action = check_option("action", action, get_args(Action))
        self._state: dict[str, Tensor] = {}
        self._column = "stop_statistic"

    @abstractmethod
    def statistic(self, pl_module: BaseDIP) -> Tensor | None:
        """Give what is minimised, after an outer step.

        Args:
            pl_module: The method, after its outer step.

        Returns:
            ``[B]``, or ``None`` as long as there is none.
        """

    def candidate(self, pl_module: BaseDIP) -> Tensor:
        """Give the image that would be selected after this outer step: the current estimate, ``[B, C, H, W]``.

        Args:
            pl_module: The method, after its outer step.
        """
        return pl_module.current_estimate

    @property
    def stops(self) -> bool:
        """Whether it ends the fit, rather than record where it would have."""
        return self.action == "stop"

    @property
    def label(self) -> str:
        """Name that tells this rule from others in the same fit: the rule and what its statistic depends on."""
        return self.rule

    @property
    def state_key(self) -> str:
        """Key of the state in checkpoints; patience may be changed when a fit is continued."""
        return self._generate_state_key(label=self.label)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check that one rule at most chooses the estimate; forget an earlier fit.

        Raises:
            ConfigurationError: If several rules stop the fit.
        """
        if stage == "fit":
            self.reset()
        rules = callbacks_of(trainer, StoppingRule)
        stopping = [type(rule).__name__ for rule in rules if rule.action == "stop"]
        if len(stopping) > 1:
            raise ConfigurationError(
                f"{' and '.join(stopping)} cannot both choose the estimate: set action: record for all but one."
            )
        several = self.action == "record" and len(rules) > 1
        self._column = f"stop_statistic_{self.label}" if several else "stop_statistic"

    def reset(self) -> None:
        """Forget an earlier fit, or an earlier pass of this one; a checkpoint, if there is one, is read after this."""
        self._state = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Continue an interrupted fit; one that was stopped is stopped again unless there is more patience now.

        Members that had stopped before others stay stopped: the others' optimiser went on without them.
        """
        self._state = {name: tensor.to(pl_module.device) for name, tensor in self._state.items()}
        if self._state:
            waited = pl_module.iteration - self._state["iteration"]
            goes_on = waited < self.patience
            goes_on[list(pl_module.roster.endings)] = False
            self._state["stopped_at"].masked_fill_(goes_on, 0)
            self._leave((self._state["stopped_at"] > 0).tolist(), pl_module)

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, pl_module: BaseDIP, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the statistic; select, and stop."""
        if pl_module.stopped_by == "nan" or not pl_module.shown:
            return
        value = self.statistic(pl_module)
        if value is None:
            return
        pl_module.record_value(self._column, value)
        if pl_module.shown > self.warmup:
            self._decide(pl_module, value.detach().double())

    def summary(self, member: int = 0) -> dict[str, Any]:
        """Say what was chosen.

        Args:
            member: Which member of the batch.

        Returns:
            ``rule`` (its label), ``action``; ``iteration`` of the selected iterate and its ``statistic``, and
            ``stopped_at``, the iteration at which patience ran out; each ``None`` where there is none.
        """
        chosen: dict[str, Any] = {"iteration": None, "statistic": None, "stopped_at": None}
        if self._state:
            chosen["iteration"] = int(self._state["iteration"][member]) or None
            chosen["statistic"] = float(self._state["minimum"][member]) if chosen["iteration"] else None
            chosen["stopped_at"] = int(self._state["stopped_at"][member]) or None
        return {"rule": self.label, "action": self.action, **chosen}

    def state_dict(self) -> dict[str, Any]:
        """Minimum, its iteration and the stop of each member; the selected image is in the method's state."""
        return {name: tensor.clone() for name, tensor in self._state.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self._state = {name: tensor.clone() for name, tensor in state_dict.items()}

    def _state_for(self, value: Tensor) -> dict[str, Tensor]:
        """State of each member; before the first look, that of none selected."""
        zeros = torch.zeros_like(value, dtype=torch.int64)
        return self._state or {"minimum": torch.full_like(value, torch.inf), "iteration": zeros, "stopped_at": zeros}

    def _decide(self, pl_module: BaseDIP, value: Tensor) -> None:
        state = self._state_for(value)
        minimum, at, stopped_at = state["minimum"], state["iteration"], state["stopped_at"]
        usable = pl_module.unless_stopped(value.isfinite() & (stopped_at == 0), torch.zeros_like(stopped_at > 0))
        # A part of what is below zero would let worse values in: there, anything lower is an improvement.
        improved = usable & (value < torch.where(minimum > 0, (1 - self.min_improvement) * minimum, minimum))
        minimum = torch.where(improved, value, minimum)
        at = torch.where(improved, pl_module.iteration, at)
        ran_out = usable & (at > 0) & (pl_module.iteration - at >= self.patience)
        stopped_at = torch.where(ran_out, pl_module.iteration, stopped_at)
        self._state = {"minimum": minimum, "iteration": at, "stopped_at": stopped_at}
        # The one wait for the device in an outer step.
        any_improved, *stopped = torch.cat([improved.any()[None], stopped_at > 0]).tolist()
        if any_improved:
            self._select(pl_module, improved)
        self._leave(stopped, pl_module)

    def _select(self, pl_module: BaseDIP, chosen: Tensor) -> None:
        name = "selected" if self.action == "stop" else f"recorded_{self.label}"
        estimate = self.candidate(pl_module)
        before = pl_module.reports.get(name)
        if before is None:
            before = torch.full_like(estimate, torch.nan)  # nothing is selected for this member yet
        pl_module.report(name, torch.where(chosen[:, None, None, None], estimate, before))

    def _leave(self, stopped: list[bool], pl_module: BaseDIP) -> None:
        if self.action == "stop" and not all(stopped):
            members = [member for member, has in enumerate(stopped) if has]
            pl_module.stop_members(members, f"early_stopping_{self.rule}")
        self._stop_if(all(stopped), pl_module)

    def _stop_if(self, all_stopped: bool, pl_module: BaseDIP) -> None:
        if all_stopped and self.action == "stop":
            pl_module.stop(f"early_stopping_{self.rule}")
