"""Ends of a fit that the trainer sets, and not the method."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer

from dip_lightning.errors import ConfigurationError


def check_max_steps(trainer: pl.Trainer) -> None:
    """Check that the trainer is not asked to count steps: optimiser steps are made inside an outer step, unseen by it.

    Args:
        trainer: The trainer, before the fit.

    Raises:
        ConfigurationError: If ``max_steps`` is set.
    """
    if trainer.max_steps != -1 and not getattr(trainer, "fast_dev_run", False):
        raise ConfigurationError(
            f"trainer.max_steps={trainer.max_steps} would not end the fit, whose steps the trainer does not see: set "
            "model.outer_steps, each of which makes model.inner_steps optimiser steps."
        )


def ended_by(trainer: pl.Trainer) -> str:
    """Say what of the trainer's ended a fit that the method did not end.

    Args:
        trainer: The trainer, at the end of its epoch.

    Returns:
        ``max_time``, or ``trainer`` for whatever else it was.
    """
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    left = [callback.time_remaining() for callback in callbacks if isinstance(callback, Timer)]
    return "max_time" if any(seconds is not None and seconds <= 0 for seconds in left) else "trainer"
