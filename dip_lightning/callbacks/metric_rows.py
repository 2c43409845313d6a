"""The rows of ``metrics.csv``, kept on the device until they are written."""

from __future__ import annotations

import csv
import io
import time
from typing import Any

import torch
from torch import Tensor

from dip_lightning.run_folder import METRICS, RunFolder

_FIRST, _LAST = ("iteration", "seconds", "loss"), ("psnr", "ssim", "stop_statistic")


class MetricRows:
    """Collects values of each outer step without waiting for the device, and writes them in bulk.

    Args:
        flush_seconds: Time between two writes.
    """

    def __init__(self, flush_seconds: float = 10.0) -> None:
        self.flush_seconds = flush_seconds
        self._pending: list[tuple[int, float, dict[str, Tensor], list[int] | None]]
        self._rows: list[list[dict[str, float]]]
        self.reset()
        self._flushed = time.monotonic()

    def reset(self) -> None:
        """Forget all rows."""
        self._pending, self._rows = [], []

    def add(self, iteration: int, seconds: float, record: dict[str, Tensor], members: list[int] | None = None) -> None:
        """Add the values of an outer step.

        Args:
            iteration: Optimiser steps made so far.
            seconds: Time spent fitting so far.
            record: Values ``[B]`` by name; an empty record adds nothing.
            members: Members that get a row, those that are still fitted; ``None`` for all.
        """
        if record:
            self._pending.append((iteration, seconds, record, members))

    def flush_if_due(self, folders: list[RunFolder]) -> None:
        """Write if it is time."""
        if time.monotonic() - self._flushed >= self.flush_seconds:
            self.flush(folders)

    def flush(self, folders: list[RunFolder]) -> None:
        """Write ``metrics.csv`` of each member."""
        self._collect()
        for member, folder in enumerate(folders):
            folder.write_text(METRICS, self.csv(member))
        self._flushed = time.monotonic()

    def csv(self, member: int) -> str:
        """All rows of a member as CSV text; a value that a row does not have stays blank."""
        rows = [row[member] for row in self._rows if row[member]]
        names = {name for row in rows for name in row}
        middle = sorted(names - {*_FIRST, *_LAST})
        text = io.StringIO()
        writer = csv.DictWriter(text, [*_FIRST, *middle, *_LAST], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "iteration": int(row["iteration"])} for row in rows)
        return text.getvalue()

    def curves(self, member: int) -> dict[str, list[tuple[float, float]]]:
        """Loss and PSNR of a member against iterations, as lists of points."""
        self._collect()
        return {
            name: [(row[member]["iteration"], row[member][name]) for row in self._rows if name in row[member]]
            for name in ("loss", "psnr")
        }

    def state_dict(self) -> dict[str, Any]:
        """All rows, as plain numbers."""
        self._collect()
        return {"rows": [[dict(member) for member in row] for row in self._rows]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bring rows back."""
        self._rows, self._pending = [list(row) for row in state["rows"]], []

    def _collect(self) -> None:
        for iteration, seconds, record, fitted in self._pending:
            names = list(record)
            values = torch.stack([record[name].double() for name in names]).cpu()  # one transfer for each row
            members = [dict(zip(names, column, strict=True)) for column in values.T.tolist()]
            first = {"iteration": iteration, "seconds": round(seconds, 4)}
            self._rows.append(
                [{**first, **row} if fitted is None or b in fitted else {} for b, row in enumerate(members)]
            )
        self._pending = []
