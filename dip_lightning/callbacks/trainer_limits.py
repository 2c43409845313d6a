"""Ends of a fit that the trainer sets, and not the method."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer

from dip_lightning.hooks import callbacks_of


def ended_by(trainer: pl.Trainer) -> str:
    """Say what of the trainer's ended a fit that the method did not end.

    Args:
        trainer: The trainer, at the end of its epoch.

    Returns:
        ``max_time``, or ``trainer`` for whatever else it was.
    """
    left = [timer.time_remaining() for timer in callbacks_of(trainer, Timer)]
    return "max_time" if any(seconds is not None and seconds <= 0 for seconds in left) else "trainer"
