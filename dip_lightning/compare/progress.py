"""What a comparison shows while it runs."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from typing import Any

from dip_lightning.compare.jobs import Job, read_json
from dip_lightning.run_folder import METRICS, SUMMARY

_REFRESH_SECONDS = 0.5
_MOST_LINES = 16  # for slots; a cluster has more


class Display:
    """Progress over all jobs: a bar with a line for each slot in a terminal, a line for each job elsewhere.

    Args:
        total: Jobs to do.
        quiet: Whether to show nothing.
    """

    def __init__(self, total: int, quiet: bool = False) -> None:
        self.total = total
        self.quiet = quiet
        self.outcomes: Counter[str] = Counter()
        self._started: dict[int, tuple[Job, float]] = {}
        self._lock = threading.RLock()
        self._refreshed = 0.0
        self._bar: Any = None
        self._tasks: dict[int, Any] = {}
        if not quiet and sys.stderr.isatty():
            self._bar = _bar()
            self._all = self._bar.add_task("all jobs", total=total, status="", count=f"0/{total}")
            self._bar.start()

    @property
    def done(self) -> int:
        """Jobs that have ended one way or another."""
        return sum(count for outcome, count in self.outcomes.items() if outcome != "busy")

    def started(self, slot: int, job: Job) -> None:
        """Note that a slot has begun a job."""
        with self._lock:
            self._started[slot] = job, time.monotonic()
            if self._bar is not None and slot not in self._tasks and len(self._tasks) < _MOST_LINES:
                self._tasks[slot] = self._bar.add_task("", total=1, status="", count="")

    def ended(self, slot: int, job: Job, outcome: str, seconds: float) -> None:
        """Note how a job ended."""
        with self._lock:
            self.outcomes[outcome] += 1
            self._started.pop(slot, None)
            if self._bar is None and not self.quiet and outcome != "busy":
                print(f"[{self.done}/{self.total}] {job.name}: {outcome}, {seconds:.1f} s{_score(job)}", flush=True)
            self.refresh(at_once=True)

    def refresh(self, at_once: bool = False) -> None:
        """Bring the bar up to date, if it is time."""
        if self._bar is None or (time.monotonic() - self._refreshed < _REFRESH_SECONDS and not at_once):
            return
        with self._lock:
            self._refreshed = time.monotonic()
            failed = self.outcomes["failed"]
            status = f"[red]{failed} failed" if failed else ""
            self._bar.update(self._all, completed=self.done, status=status, count=f"{self.done}/{self.total}")
            for slot, task in self._tasks.items():
                job, since = self._started.get(slot, (None, 0.0))
                label = "idle" if job is None else f"  {job.method} · {job.data} {job.index or 0} · seed {job.seed}"
                status = "" if job is None else f"{self._refreshed - since:.0f} s {_last_row(job)}"
                self._bar.update(task, description=label.replace("[", r"\["), status=status)
            self._bar.refresh()

    def close(self) -> None:
        """Give the terminal back."""
        if self._bar is not None:
            self.refresh(at_once=True)
            self._bar.stop()


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )
    return Progress(*columns, auto_refresh=False, console=Console(stderr=True), speed_estimate_period=3600)


def _score(job: Job) -> str:
    psnr = ((read_json(job.folder / SUMMARY) or {}).get("psnr") or {}).get("estimate")
    return "" if psnr is None else f", PSNR {psnr:.2f} dB"


def _last_row(job: Job) -> str:
    """Iteration and PSNR from the end of ``metrics.csv``, which a fit brings up to date now and then."""
    try:
        with (job.folder / METRICS).open("rb") as file:
            header = file.readline().decode().strip().split(",")
            file.seek(max(file.seek(0, 2) - 500, len(",".join(header))))
            values = file.read().decode().strip().splitlines()[-1].split(",")
    except (OSError, IndexError, UnicodeDecodeError):
        return ""
    row = dict(zip(header, values, strict=False))
    psnr = f", PSNR {float(row['psnr']):.2f} dB" if row.get("psnr") else ""
    return f"iteration {row.get('iteration', '?')}{psnr}"
