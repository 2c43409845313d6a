"""What goes onto the page of a report, and the part of it that its script reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dip_lightning.compare.report.collect import Failure, Run
from dip_lightning.compare.report.images import Strip
from dip_lightning.compare.report.statistics import TaskTable

_COLOURS = (
    "#1f5fbf",
    "#d1603d",
    "#2a8c57",
    "#8e4fb5",
    "#b8860b",
    "#c2366f",
    "#15889c",
    "#6b6f2b",
    "#7a4a2b",
    "#4a5568",
)
_DASHES = ("", "7 4", "2 3", "9 3 2 3")
#: Columns of the table of all runs: key, heading, digits (-1 for text).
COLUMNS = [
    {"key": "task", "title": "Task", "digits": -1},
    {"key": "method", "title": "Method", "digits": -1},
    {"key": "measurement", "title": "Measurement", "digits": -1},
    {"key": "seed", "title": "Seed", "digits": 0},
    {"key": "psnr_estimate", "title": "PSNR (dB)", "digits": 2},
    {"key": "psnr_oracle", "title": "Oracle", "digits": 2},
    {"key": "ssim_estimate", "title": "SSIM", "digits": 3},
    {"key": "ssim_oracle", "title": "Oracle", "digits": 3},
    {"key": "iterations", "title": "Iterations", "digits": 0},
    {"key": "seconds", "title": "Seconds", "digits": 1},
    {"key": "stopped_by", "title": "Stopped by", "digits": -1},
    {"key": "folder", "title": "Folder", "digits": -1},
]


@dataclass(frozen=True)
class Content:
    """What goes onto the page.

    Attributes:
        title: Its title.
        root: Folder that was read.
        runs: All runs.
        failures: What failed.
        tables: One for each task.
        curves: Of each task, by method.
        strips: Pictures of each task.
        order: Methods as planned.
    """

    title: str
    root: Path
    runs: Sequence[Run]
    failures: Sequence[Failure]
    tables: Sequence[TaskTable]
    curves: dict[str, dict[str, Any]]
    strips: dict[str, list[Strip]]
    order: Sequence[str] = ()


def styles(methods: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and dashes of each method, all different for forty of them."""
    return {
        method: (_COLOURS[place % len(_COLOURS)], _DASHES[place // len(_COLOURS) % len(_DASHES)])
        for place, method in enumerate(methods)
    }


def as_json(content: Content, look: dict[str, tuple[str, str]]) -> str:
    """Write what the page's script reads: JSON that cannot end the script element it stands in.

    Args:
        content: What goes onto the page.
        look: Of :func:`styles`.
    """
    data = {
        "styles": look,
        "curves": content.curves,
        "columns": COLUMNS,
        "runs": [_run_row(run, content.root) for run in content.runs],
    }
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _run_row(run: Run, root: Path) -> list[Any]:
    scores = [run.score("psnr", "estimate"), run.score("psnr", "oracle")]
    scores += [run.score("ssim", "estimate"), run.score("ssim", "oracle")]
    rounded = [None if score is None else round(score, 4) for score in scores]
    seconds = run.number("seconds")
    folder = run.folder.relative_to(root) if run.folder.is_relative_to(root) else run.folder
    known = [run.number("iterations"), None if seconds is None else round(seconds, 2), run.summary.get("stopped_by")]
    return [run.task, run.method, run.measurement, run.seed, *rounded, *known, str(folder)]
