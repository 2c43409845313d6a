"""How far the fit is, on the terminal."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar

from dip_lightning.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.progress import Progress

    from dip_lightning.methods.base import BaseDIP

_BAR_SECONDS = 0.2


class DIPProgress(ProgressBar):
    """Loss, PSNR where there is a target, iterations per second and time left; of several members, the means.

    Members that have stopped are left out of the means.

    A bar in a terminal, a plain line now and then elsewhere. It counts optimiser steps. Between two refreshes it
    costs nothing but a look at the clock; only a refresh waits for the device.

    Args:
        seconds: Time between two plain lines.

    Raises:
        ConfigurationError: If the time is negative.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        if seconds < 0:
            raise ConfigurationError(f"seconds={seconds} must not be negative.")
        self.seconds = seconds
        self._enabled = True
        self._shows = True
        self._alone = True
        self._bar: Progress | None = None
        self._refreshed = 0.0
        self._interval = seconds
        self._start = (0.0, 0)

    def disable(self) -> None:
        """Show nothing from now on."""
        self._enabled = False

    def enable(self) -> None:
        """Show progress again."""
        self._enabled = True

    def join_company(self, first: bool) -> None:
        """Share the terminal with other fits: one of them says how far it is, all say how they ended, with names.

        Args:
            first: Whether this is the one.
        """
        self._shows, self._alone = first, False

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        if self._bar is not None:
            self._bar.console.print(*args)
        else:
            print(*args, **kwargs)

    def on_train_start(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Start the clock and, in a terminal, the bar."""
        self._start = (time.monotonic(), pl_module.iteration)
        self._refreshed = self._start[0]
        self._interval = self.seconds
        if self._enabled and self._shows and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            self._interval = _BAR_SECONDS
            self._bar = _rich_bar(pl_module.name, pl_module.iteration, _total(pl_module))

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, pl_module: BaseDIP, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Refresh, if it is time."""
        now = time.monotonic()
        if self._enabled and self._shows and now - self._refreshed >= self._interval:
            self._refreshed = now
            self._refresh(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Say why the fit ended."""
        self._close(pl_module)
        if self._enabled:
            reason = pl_module.stopped_by or "the trainer"
            seconds = duration(time.monotonic() - self._start[0])
            names = "" if self._alone else f" on {', '.join(pl_module.measurement.ids)}"
            print(
                f"{pl_module.name}{names}: stopped by {reason} after {pl_module.iteration} of {_total(pl_module)} "
                f"iterations, {seconds}{_scores(pl_module)}",
                flush=True,
            )

    def on_exception(self, trainer: pl.Trainer, pl_module: BaseDIP, exception: BaseException) -> None:  # type: ignore[override]
        """Give the terminal back."""
        self._close(pl_module)

    def _refresh(self, pl_module: BaseDIP) -> None:
        rate = (pl_module.iteration - self._start[1]) / max(self._refreshed - self._start[0], 1e-9)
        left = (_total(pl_module) - pl_module.iteration) / rate if rate > 0 else float("inf")
        status = f"{rate:.1f} it/s, {duration(left)} left{_scores(pl_module)}"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=pl_module.iteration, status=status, refresh=True)
        else:
            print(f"{pl_module.name}: {pl_module.iteration}/{_total(pl_module)}, {status}", flush=True)

    def _close(self, pl_module: BaseDIP) -> None:
        if self._bar is not None:
            self._refreshed = time.monotonic()
            if "loss" in pl_module.record:
                self._refresh(pl_module)
            self._bar.stop()
            self._bar = None


def duration(seconds: float) -> str:
    """Write a time as ``m:ss`` or ``h:mm:ss``; ``?`` where it is not known."""
    if not 0 <= seconds < float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _total(pl_module: BaseDIP) -> int:
    return pl_module.outer_steps * pl_module.inner_steps


def _scores(pl_module: BaseDIP) -> str:
    return _mean(pl_module, "loss", ", loss {:.4g}") + _mean(pl_module, "psnr", ", PSNR {:.2f} dB")


def _mean(pl_module: BaseDIP, name: str, text: str) -> str:
    if name not in pl_module.record:
        return ""
    # Of those that are fitted, as loggers get it: after a resume there is no loss of members that had stopped.
    return text.format(pl_module.mean_of_running(pl_module.record[name]).item())


def _rich_bar(name: str, done: int, total: int) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[status]}"))
    # Without its own thread: nothing competes with the fit for a core.
    bar = Progress(*columns, auto_refresh=False)
    bar.add_task(name, total=total, completed=done, status="")
    bar.start()
    return bar
