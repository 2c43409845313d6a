"""A stopping rule that can start the fit over, once it has chosen how long to fit."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from dip_lightning.callbacks.averaging import Averaging, OutputAveraging
from dip_lightning.callbacks.stopping import Action, StoppingRule
from dip_lightning.errors import ConfigurationError
from dip_lightning.hooks import callbacks_of
from dip_lightning.measurement import Measurement

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP


class RefittingRule(StoppingRule, ABC):
    """A rule under which part of the data is kept from the fit, and which can then fit all of them.

    With ``refit``, the end of the first pass (patience ran out, or no outer steps are left) starts a second one: same
    seed, fresh weights, input and optimiser, all data, and as many outer steps as the selected iterate had. Counters
    start over, so ``iteration`` in ``metrics.csv`` does. The second pass's estimate is the reported one.

    Args:
        patience: See :class:`~dip_lightning.callbacks.stopping.StoppingRule`.
        warmup: See there.
        min_improvement: See there.
        action: See there.
        refit: Whether there is a second pass.

    Raises:
        ConfigurationError: If a number is out of range, or the rule only records but is to refit.
    """

    #: All data, set by a subclass when it prepares the measurement.
    all_data: Measurement

    def __init__(self, patience: int, warmup: int, min_improvement: float, action: Action, refit: bool) -> None:
        super().__init__(patience, warmup, min_improvement, action)
        if refit and action == "record":
            raise ConfigurationError("refit: true cannot be combined with action: record.")
        self.refit = refit
        self._second_pass = False
        self._ready = False

    @property
    def starts_over(self) -> bool:
        """Whether there is a second pass; see the base class."""
        return self.refit

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check that the fit can start over; see the base class.

        Raises:
            ConfigurationError: If there are several members, or an average that cannot start over.
        """
        super().setup(trainer, pl_module, stage)
        if not self.refit or stage != "fit":
            return
        method: Any = pl_module
        averages = callbacks_of(trainer, Averaging)
        if not all(isinstance(average, OutputAveraging) for average in averages):
            raise ConfigurationError(f"refit: true works with OutputAveraging, not {type(averages[0]).__name__}.")
        if method.take_measurement(trainer).batch_size > 1:
            raise ConfigurationError("refit: true needs measurements one at a time: set data.batch to 1.")

    def reset(self) -> None:
        """Start with the first pass; see the base class."""
        super().reset()
        self._second_pass = self._ready = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Continue an interrupted fit in the pass in which it was; see the base class."""
        if self._second_pass:
            self._state = {name: tensor.to(pl_module.device) for name, tensor in self._state.items()}
            pl_module.measurement = self._all_on_device(pl_module)
            self._end_second_pass(pl_module)
        elif self._ready:
            self._start_over(pl_module)
        else:
            super().on_train_start(trainer, pl_module)

    def on_train_batch_start(  # type: ignore[override]
        self, trainer: pl.Trainer, pl_module: BaseDIP, batch: Any, batch_idx: int
    ) -> None:
        """Start over if the first pass has ended, now that other callbacks are done with its last outer step."""
        if self._ready:
            self._start_over(pl_module)

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, pl_module: BaseDIP, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the statistic in the first pass, at the number of steps in the second."""
        if self._second_pass:
            self._end_second_pass(pl_module)
            return
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self.refit and pl_module.stopped_by == "outer_steps" and self._state and bool(self._state["iteration"][0]):
            pl_module.stopped_by, trainer.should_stop = "", False
            self._ready = True

    def summary(self, member: int = 0) -> dict[str, Any]:
        """Say what was chosen, and whether all data were fitted again; see the base class."""
        return {**super().summary(member), "refitted": self._second_pass}

    def state_dict(self) -> dict[str, Any]:
        """Add the pass; see the base class."""
        return {"rule": super().state_dict(), "second_pass": self._second_pass, "ready": self._ready}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        super().load_state_dict(state_dict["rule"])
        self._second_pass, self._ready = state_dict["second_pass"], state_dict["ready"]

    def _stop_if(self, all_stopped: bool, pl_module: BaseDIP) -> None:
        if all_stopped and self.refit:
            self._ready = True
        else:
            super()._stop_if(all_stopped, pl_module)

    def _start_over(self, pl_module: BaseDIP) -> None:
        self._ready, self._second_pass = False, True
        for other in callbacks_of(pl_module.trainer, StoppingRule):
            if other is not self:
                other.reset()  # what rules that record would choose is of the second pass, as the estimate is
        pl_module.restart(self._all_on_device(pl_module))

    def _end_second_pass(self, pl_module: BaseDIP) -> None:
        if pl_module.iteration >= int(self._state["iteration"][0]) and pl_module.stopped_by in ("", "outer_steps"):
            pl_module.stopped_by = ""
            pl_module.stop(f"early_stopping_{self.rule}")

    def _all_on_device(self, pl_module: BaseDIP) -> Measurement:
        dtype = torch.float64 if pl_module.measurement.initial.dtype == torch.float64 else torch.float32
        return self.all_data.to(pl_module.device, dtype)
