"""Ends of a fit that the trainer sets, and not the method."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer


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
