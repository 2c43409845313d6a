"""Checkpoints that an interrupted fit continues from."""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from dip_lightning.callbacks.result_writer import ResultWriter, run_folders
from dip_lightning.errors import ConfigurationError
from dip_lightning.hooks import callbacks_of
from dip_lightning.methods.base import BaseDIP
from dip_lightning.run_folder import written_whole


class ResumeCheckpoint(Checkpoint):
    """Save ``checkpoints/last.ckpt`` now and then, whole or not at all.

    ``dip-lightning fit ... --ckpt_path last`` continues from it, on the CPU bit for bit as if nothing had happened.
    An interrupt from the keyboard, or a termination, takes effect at the end of the outer step, whose checkpoint is
    saved first: in the middle of one there is nothing that could be continued. A second interrupt ends at once.
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
        self._interrupted = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check that a checkpoint will hold what the record has of its own step.

        Raises:
            ConfigurationError: If a :class:`ResultWriter` comes later in the list of callbacks.
        """
        callbacks = callbacks_of(trainer, pl.Callback)
        if any(isinstance(callback, ResultWriter) for callback in callbacks[callbacks.index(self) :]):
            raise ConfigurationError("Put ResumeCheckpoint after ResultWriter in the list of callbacks.")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; hold interrupts back from here on, unless somebody else deals with them."""
        self._saved = time.monotonic()
        self._interrupted = False
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._on_interrupt)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time, or if the fit was interrupted, which then ends."""
        due = self._interrupted or time.monotonic() - self._saved >= self.seconds
        if due and not trainer.should_stop:
            self._save(trainer)
            self._saved = time.monotonic()
            if self._interrupted:
                raise KeyboardInterrupt

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the end, unless it is a NaN."""
        self._release_interrupts()
        if self.final and isinstance(pl_module, BaseDIP) and pl_module.stopped_by != "nan":
            self._save(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save where a termination ends the fit; say how an interrupted fit is continued."""
        self._release_interrupts()
        if isinstance(exception, SIGTERMException) and isinstance(pl_module, BaseDIP) and pl_module.outer_step:
            self._save(trainer)  # it is raised between two outer steps
        folders = run_folders(trainer)
        if isinstance(exception, KeyboardInterrupt | SIGTERMException) and folders and folders[0].checkpoint.exists():
            print(
                f"Interrupted. The same command with --ckpt_path last continues from {folders[0].checkpoint}.",
                file=sys.stderr,
            )

    def _on_interrupt(self, signum: int, frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
        print("Interrupt: the fit ends after this outer step; interrupt again to end it at once.", file=sys.stderr)

    def _release_interrupts(self) -> None:
        if signal.getsignal(signal.SIGINT) == self._on_interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _save(self, trainer: pl.Trainer) -> None:
        folders = run_folders(trainer)
        if folders:
            with written_whole(folders[0].checkpoint) as temporary:
                trainer.save_checkpoint(temporary)
