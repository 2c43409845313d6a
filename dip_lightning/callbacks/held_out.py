"""Early stopping by data that were kept from the fit."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import pytorch_lightning as pl
import torch
from torch import Tensor

from dip_lightning.callbacks.refit import RefittingRule
from dip_lightning.callbacks.stopping import Action
from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.functional.held_out import Unit, fill_from_neighbours, held_out_mask
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.hooks import PreparesMeasurement
from dip_lightning.measurement import Measurement
from dip_lightning.physics.masked import leave_out, measured

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP

#: Added to a member's seed for the choice of what is held out.
_STREAM = 2_000_003


class HeldOutStopping(RefittingRule, PreparesMeasurement):
    r"""Keep a few percent of the data from the fit and select the iterate that predicts them best.

    .. math:: s = \frac1{|H|} \sum_{i \in H} |(A x - y)_i|^2

    for the current estimate :math:`x` and the held-out data :math:`H`. As long as the network learns the image, it
    predicts them better and better; when it learns the noise of the other data, worse. Neither target nor noise level
    is needed, but the noise must be independent from one unit to the next. Self-validation by held-out measurements
    goes back to cross-validation; for networks fitted to one measurement see Yaman et al. (arXiv 2102.07737).

    The first image is made again from what is left, as far as the measurement says how (``make_initial``), else it is
    :math:`A^H` of what is left: a network that is given the held-out data as its input would have nothing to predict.
    Held-out pixels and bins are filled by the mean of their known neighbours there, held-out k-space by zero.

    The fit does without these data, which costs some quality. ``refit=True`` pays for it with time: once the iterate
    is chosen, the fit starts over with all data, from the same seed, and makes as many outer steps.

    Args:
        fraction: Part of the measured units that is held out.
        unit: ``element`` (pixels, detector bins, points of k-space), ``view`` of a sinogram, or ``line`` of k-space
            (phase encoding along the last dimension).
        seed: Added to each member's seed for the choice.
        keep_centre: With ``unit: line``, the middle part of k-space that is never held out.
        every: Outer steps between two looks, each of which costs one forward operator.
        patience: Optimiser steps without a new minimum after which to stop.
        warmup: Optimiser steps before the statistic counts.
        min_improvement: By which part a new minimum must be below the old one.
        refit: Whether to fit all data again, for one measurement at a time.
        action: ``stop``, or ``record`` only; see :class:`~dip_lightning.callbacks.stopping.StoppingRule`.
        smoothing: Looks whose mean is compared. A few percent of the data make a noisy statistic, and the smallest of
            many noisy values comes early where the true one is flat.

    Raises:
        ConfigurationError: If an option is out of range.
    """

    rule: ClassVar[str] = "heldout"

    def __init__(
        self,
        fraction: float = 0.05,
        unit: Unit = "element",
        seed: int = 0,
        keep_centre: float = 0.08,
        every: int = 1,
        patience: int = 1000,
        warmup: int = 0,
        min_improvement: float = 0.0,
        refit: bool = False,
        action: Action = "stop",
        smoothing: int = 1,
    ) -> None:
        super().__init__(patience, warmup, min_improvement, action, refit)
        if not 0 < fraction < 1 or not 0 <= keep_centre < 1 or every < 1 or smoothing < 1:
            raise ConfigurationError(
                f"fraction={fraction} must be in (0, 1), keep_centre={keep_centre} in [0, 1), every={every} and "
                f"smoothing={smoothing} at least 1."
            )
        self.fraction = fraction
        self.unit: Unit = check_option("unit", unit, get_args(Unit))
        self.seed = seed
        self.keep_centre = keep_centre
        self.every = every
        self.smoothing = smoothing
        self._recent: list[Tensor] = []
        self._held: Tensor | None = None
        self._y: Tensor | None = None

    def prepare_measurement(self, measurement: Measurement, pl_module: BaseDIP) -> Measurement:
        """Hold data out; see the base class."""
        seeds = [seed + self.seed + _STREAM for seed in pl_module.member_seeds(measurement)]
        known = measured(measurement.physics, measurement.initial)
        held = held_out_mask(known, self.fraction, self.unit, MemberGenerators(seeds), self.keep_centre)
        self._held, self._y, self.all_data = held, measurement.y, measurement
        kept = (~held).to(measurement.y)
        y, physics = kept * measurement.y, leave_out(measurement.physics, kept)
        make_initial = partial(_initial_without, measurement, known)
        return replace(measurement, y=y, physics=physics, initial=make_initial(y, physics), make_initial=make_initial)

    def on_train_start(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Bring what was held out to the device; see the base class."""
        assert self._held is not None
        assert self._y is not None
        y = pl_module.measurement.y
        self._held, self._y = self._held.to(y.device), self._y.to(y)
        self._recent = [value.to(y.device) for value in self._recent]
        super().on_train_start(trainer, pl_module)

    def statistic(self, pl_module: BaseDIP) -> Tensor | None:
        """Mean square of the current estimate's residual on the held-out data, averaged; see the base class."""
        if pl_module.outer_step % self.every:
            return None
        assert self._held is not None
        physics: Any = pl_module.measurement.physics
        with torch.no_grad():
            residual = self._held * (physics.physics.A(pl_module.current_estimate) - self._y)
            value = residual.flatten(1).abs().square().sum(1) / self._held.flatten(1).sum(1)
        self._recent = [*self._recent, value][-self.smoothing :]
        return torch.stack(self._recent).mean(0)

    def reset(self) -> None:
        """Forget what was seen; see the base class."""
        super().reset()
        self._recent = []

    def state_dict(self) -> dict[str, Any]:
        """Add the looks that the next mean needs; see the base class."""
        return {**super().state_dict(), "recent": [value.clone() for value in self._recent]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        super().load_state_dict(state_dict)
        self._recent = [value.clone() for value in state_dict.get("recent", [])]

    def summary(self, member: int = 0) -> dict[str, Any]:
        """Say what was chosen, and how much was held out; see the base class."""
        count = None if self._held is None else int(self._held[member].sum())
        return {**super().summary(member), "unit": self.unit, "fraction": self.fraction, "held_out": count}


def _initial_without(whole: Measurement, known: Tensor, y: Tensor, physics: Any) -> Tensor:
    """Make the first image from data of which the physics leaves some out; ``whole`` says how it is made of all."""
    held = physics.mask == 0
    smooth = y.ndim == 4 and not whole.magnitude and not y.is_complex()
    left = torch.where(held, torch.zeros_like(y), y)
    if whole.make_initial is not None:
        filled = fill_from_neighbours(y, held, known.to(y.device)) if smooth else left
        # By the operator itself: how a first image is made may ask for more than its wrapper knows of it.
        return whole.make_initial(filled, physics.physics)
    adjoint: Tensor = physics.physics.A_adjoint(left)
    return adjoint
