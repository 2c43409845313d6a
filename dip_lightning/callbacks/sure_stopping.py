"""Early stopping by Stein's unbiased risk estimate of the whole fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from dip_lightning.callbacks.averaging import Averaging, OutputAveraging
from dip_lightning.callbacks.proximal_update import ProximalInputUpdate
from dip_lightning.callbacks.stopping import Action, StoppingRule
from dip_lightning.callbacks.twin import Twin
from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.functional.sure import check_real, draw_probe, product_by_difference, risk_terms
from dip_lightning.hooks import IterateHook, callbacks_of
from dip_lightning.measurement import Measurement
from dip_lightning.methods.base import BaseDIP
from dip_lightning.physics.noise_level import known_noise_level, present_data

#: Added to a member's seed for the probe.
_STREAM = 3_000_017


class SUREStopping(StoppingRule, IterateHook):
    r"""Select the iterate with the least estimated error on the clean data, and stop when it has long been passed.

    .. math:: \frac1m \Big( \|A x_t(y) - y\|^2 - m \sigma^2
        + 2 \sigma^2\,b^T \frac{A x_t(y + h b) - A x_t(y)}{h} \Big)

    estimates :math:`\|A x_t(y) - A x\|^2 / m` (Stein's unbiased risk estimate with a Monte Carlo divergence: Ramani,
    Blu and Unser, IEEE TIP 17(9), 2008). :math:`x_t(y)` is the whole fit up to step ``t`` as a function of the data:
    its weights have seen them. The divergence of the network alone would miss that, and for a noise input it is zero.
    So a second fit runs in step with the first, on :math:`y + h b`, with the same random numbers: **every step costs
    twice**, and memory twice the weights and optimiser state.

    ``step`` is large on purpose. Two fits that start a hair's breadth apart drift apart, for the optimiser divides
    gradients by their size; over a small ``h`` that drift is what the difference shows. With ``h`` as large as the
    noise, and averaged outputs (``OutputAveraging``), the estimate followed the true error in our trials; with a
    hundredth of it, it was wrong by several times the error.

    Limits. The noise must be Gaussian of known standard deviation. Unless :math:`A` is the identity, the error is that
    of the data, not of the image: what :math:`A` does not see does not count, and what it damps counts little. One
    probe scatters: by about :math:`2 \sigma^2 \sqrt{2\,\mathrm{tr}(J^2)} / m`. The image's own dependence on the data
    through the first input is followed as far as the measurement says how it was made (``make_initial``). Dropout
    would not draw the same numbers in both fits.

    Args:
        noise_level: :math:`\sigma` in units of the data; ``None`` takes the measurement's.
        step: :math:`h` as a fraction of :math:`\sigma`.
        patience: Optimiser steps without a new minimum after which to stop.
        warmup: Optimiser steps before the statistic counts.
        min_improvement: By which part a new minimum must be below the old one. Below zero, anything lower is one.
        action: ``stop``, or ``record`` only; see :class:`~dip_lightning.callbacks.stopping.StoppingRule`.

    Raises:
        ConfigurationError: If a number is out of range.
    """

    rule: ClassVar[str] = "sure"

    def __init__(
        self,
        noise_level: float | None = None,
        step: float = 1.0,
        patience: int = 1000,
        warmup: int = 0,
        min_improvement: float = 0.0,
        action: Action = "stop",
    ) -> None:
        super().__init__(patience, warmup, min_improvement, action)
        if step <= 0 or (noise_level is not None and noise_level <= 0):
            raise ConfigurationError(f"step={step} and noise_level={noise_level} must be positive.")
        self.noise_level = noise_level
        self.step = step
        self._restored: dict[str, Any] = {}

    def reset(self) -> None:
        """Forget the second fit; see the base class."""
        super().reset()
        self._restored = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Start the second fit, or continue it; see the base class.

        Raises:
            ConfigurationError: If the fit is one that cannot be followed by a second one.
            MeasurementError: If the noise level is not known.
        """
        _check(trainer, pl_module)
        self._check_place(trainer)
        measurement = pl_module.measurement
        self._sigma = known_noise_level(measurement, self.noise_level, type(self).__name__)
        self._present = present_data(measurement)
        seeds = [seed + _STREAM for seed in pl_module.member_seeds(measurement)]
        y = measurement.y
        probe = draw_probe("rademacher", MemberGenerators(seeds), y.shape[1:], torch.float64)
        self._probe = probe.to(y) * self._present
        self._twin = Twin(trainer, pl_module, _shifted(measurement, self.step * self._sigma * self._probe))
        if self._restored:
            self._twin.load_state_dict(self._restored["twin"])
        super().on_train_start(trainer, pl_module)

    def on_iterate(self, trainer: pl.Trainer, pl_module: BaseDIP, output: Tensor) -> None:
        """Make the same step in the second fit."""
        self._twin.step()

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, pl_module: BaseDIP, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the second fit's input where the first one's is; look at the statistic."""
        if pl_module.stopped_by != "nan":
            self._twin.update_input(outputs, batch, batch_idx)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def statistic(self, pl_module: BaseDIP) -> Tensor:
        """Estimated mean square error of the clean data; see the base class."""
        physics, y, estimate = pl_module.measurement.physics, pl_module.measurement.y, pl_module.current_estimate
        variance = self._sigma**2 * self._present.to(y.dtype)
        step = torch.full((len(y),), self.step * self._sigma, dtype=y.dtype, device=y.device)
        with torch.no_grad():
            predicted, shifted = physics.A(estimate), physics.A(self._twin.estimate)
            divergence = product_by_difference(predicted, shifted, variance * self._probe, step)
            terms = risk_terms(predicted - y, variance, divergence, self._present.flatten(1).sum(1))
        return terms["data"] + terms["divergence"]

    def state_dict(self) -> dict[str, Any]:
        """Add the second fit; see the base class."""
        return {"rule": super().state_dict(), "twin": self._twin.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        super().load_state_dict(state_dict["rule"])
        self._restored = state_dict

    def _check_place(self, trainer: pl.Trainer) -> None:
        callbacks = callbacks_of(trainer, pl.Callback)
        for later in callbacks[callbacks.index(self) :]:
            if isinstance(later, ProximalInputUpdate) and later.makes_estimate:
                name = type(later).__name__
                raise ConfigurationError(f"{name} makes the estimate here: put it before SUREStopping.")


def _shifted(measurement: Measurement, change: Tensor) -> Measurement:
    y = measurement.y + change
    if measurement.make_initial is None:
        return replace(measurement, y=y)
    return replace(measurement, y=y, initial=measurement.make_initial(y, measurement.physics))


def _check(trainer: pl.Trainer, pl_module: BaseDIP) -> None:
    name = type(pl_module).__name__
    check_real(pl_module.measurement.y)
    if not isinstance(pl_module.measurement.physics, LinearPhysics):
        raise ConfigurationError("SUREStopping needs a linear forward operator: take HeldOutStopping.")
    if pl_module.measurement.batch_size > 1 or pl_module.passes > 1:
        raise ConfigurationError("SUREStopping follows one fit of one measurement: set data.batch to 1, no refit.")
    if pl_module.engine != "eager":
        raise ConfigurationError(f"SUREStopping follows eager steps, not engine: {pl_module.engine}.")
    if type(pl_module).training_step is not BaseDIP.training_step:
        raise ConfigurationError(f"{name} keeps more than weights and input from step to step: take HeldOutStopping.")
    others = [average for average in callbacks_of(trainer, Averaging) if not isinstance(average, OutputAveraging)]
    if others:
        raise ConfigurationError(f"SUREStopping works with OutputAveraging, not {type(others[0]).__name__}.")
