"""Checkpoints that an interrupted fit continues from."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from dip_lightning.callbacks.result_writer import ResultWriter, run_folders
from dip_lightning.errors import ConfigurationError
from dip_lightning.methods.base import BaseDIP
from dip_lightning.run_folder import written_whole


class ResumeCheckpoint(Checkpoint):
    """Save ``checkpoints/last.ckpt`` now and then, whole or not at all.

    ``dip-lightning fit ... --ckpt_path last`` continues from it, on the CPU bit for bit as if nothing had happened.
    Lightning's own ``ModelCheckpoint`` counts optimiser steps that the inner loop does not make through it, and
    writes in place.

    Args:
        seconds: Time between two checkpoints; 0 saves after every outer step.
        final: Whether to save once more when the fit ends.
    """

    def __init__(self, seconds: float = 60.0, final: bool = True) -> None:
        super().__init__()
        if seconds < 0:
            raise ConfigurationError(f"checkpoint.seconds={seconds} must not be negative.")
        self.seconds = seconds
        self.final = final
        self._saved = 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check that a checkpoint will hold what the record has of its own step.

        Raises:
            ConfigurationError: If a :class:`ResultWriter` comes later in the list of callbacks.
        """
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(callback, ResultWriter) for callback in callbacks[callbacks.index(self) :]):
            raise ConfigurationError("Put ResumeCheckpoint after ResultWriter in the list of callbacks.")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time."""
        if time.monotonic() - self._saved >= self.seconds and not trainer.should_stop:
            self._save(trainer)
            self._saved = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the end, unless it is a NaN."""
        if self.final and isinstance(pl_module, BaseDIP) and pl_module.stopped_by != "nan":
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        folders = run_folders(trainer)
        if folders:
            with written_whole(folders[0].checkpoint) as temporary:
                trainer.save_checkpoint(temporary)
