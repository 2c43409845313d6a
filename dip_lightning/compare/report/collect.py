"""Reading the run folders under a root: those of comparisons and those of single fits."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dip_lightning.compare.baselines.base import draws
from dip_lightning.compare.config_tree import Tree, content_hash
from dip_lightning.compare.jobs import FAILURE, JOB, read_json
from dip_lightning.compare.report.settings import fit_settings, job_settings
from dip_lightning.errors import RunFolderError
from dip_lightning.run_folder import METRICS, SUMMARY

_POINTS = 240  # of a curve; more cannot be told apart on a page


@dataclass(frozen=True)
class Run:
    """A finished reconstruction, as its run folder tells it.

    Attributes:
        folder: The run folder.
        method: Name in tables.
        task: Name of the group that it is compared in: the task and the source of the data.
        measurement: The measurement's id.
        seed: Seed.
        summary: Content of ``summary.json``.
        tree: Configuration of the method without data and seed; empty where none can be read.
        data_tree: Configuration of the data without the index; likewise.
        comparison: Name of the comparison that it was a job of; ``None`` for a single fit.
    """

    folder: Path
    method: str
    task: str
    measurement: str
    seed: int
    summary: dict[str, Any]
    tree: Tree = field(default_factory=dict)
    data_tree: Tree = field(default_factory=dict)
    comparison: str | None = None

    def score(self, metric: str, image: str) -> float | None:
        """A metric of ``initial``, ``estimate``, ``oracle`` or ``last``; ``None`` where it is unknown."""
        value = (self.summary.get(metric) or {}).get(image)
        return float(value) if isinstance(value, int | float) else None

    @property
    def drawn(self) -> bool:
        """Whether another seed could have given another image: not where a baseline draws nothing."""
        return "baseline" not in self.tree or draws(self.tree["baseline"])

    def number(self, name: str) -> float | None:
        """A number of the summary: ``seconds``, ``iterations``, ..."""
        value = self.summary.get(name)
        return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True)
class Failure:
    """A job that failed.

    Attributes:
        folder: Where it was recorded.
        method: Name in tables.
        data: Source of the measurement, with its index.
        seed: Seed.
        error: In one line.
        trace: The traceback.
    """

    folder: Path
    method: str
    data: str
    seed: int
    error: str
    trace: str


def collect(root: Path) -> tuple[list[Run], list[Failure]]:
    """Read everything under a root.

    Runs of one name but different settings on one task are told apart by a hash after the name: they are never
    averaged.

    Args:
        root: Folder of run folders, at any depth.

    Returns:
        Runs and failures.

    Raises:
        RunFolderError: If there is no such folder, or nothing in it.
    """
    if not root.is_dir():
        raise RunFolderError(f"{root} is no folder; give the root of a comparison.")
    runs: list[Run] = []
    failures: list[Failure] = []
    for folder, names in _folders(root):
        if SUMMARY in names:
            _add_run(folder, runs, failures)
        elif FAILURE in names:
            failures.append(_failure(folder, folder / FAILURE))
        if folder.name == ".jobs":
            failures += [_failure(folder, folder / name) for name in names if name.endswith(FAILURE)]
    if not runs and not failures:
        raise RunFolderError(f"{root} holds no finished runs: no {SUMMARY} below it.")
    return _told_apart(runs), sorted(failures, key=lambda failure: str(failure.folder))


def _folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if name not in {"checkpoints", "pictures", "report"})
        yield Path(folder), names


def _add_run(folder: Path, runs: list[Run], failures: list[Failure]) -> None:
    summary = read_json(folder / SUMMARY)
    if summary is None or not isinstance(summary.get("method"), str):
        failures.append(Failure(folder, folder.parent.name, "", 0, f"{SUMMARY} cannot be read.", ""))
        return
    job = read_json(folder / JOB) or {}
    task, data = str(summary.get("task", "task")), str(job.get("data") or "")
    seeds = summary.get("seeds")  # of what a single fit says of several together
    seed = int(seeds[0] if seeds else summary.get("seed") or 0)
    own = folder.parent / f"seed{seed}" if seeds else folder
    tree, data_tree = job_settings(job["tree"], seed) if job.get("tree") else fit_settings(own)
    method = str(job.get("method") or summary["method"])
    runs.append(
        Run(
            folder=folder,
            method=f"{method}, mean of {len(seeds)} seeds" if seeds else method,
            task=f"{task}: {data}" if data and data != task else task,
            measurement=str(summary.get("measurement", "")),
            seed=seed,
            summary=summary,
            tree=tree,
            data_tree=data_tree,
            comparison=job.get("comparison"),
        )
    )


def _failure(folder: Path, path: Path) -> Failure:
    content = read_json(path) or {}
    index = "" if content.get("index") is None else f" {content['index']}"
    return Failure(
        folder=folder,
        method=str(content.get("method", folder.parent.name)),
        data=f"{content.get('data', '')}{index}",
        seed=int(content.get("seed") or 0),
        error=str(content.get("error", "unknown")),
        trace=str(content.get("traceback", "")),
    )


def _told_apart(runs: list[Run]) -> list[Run]:
    methods: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    tasks: defaultdict[str, set[str]] = defaultdict(set)
    hashes = [(_hash(run.tree), _hash(run.data_tree)) for run in runs]
    for run, (method, data) in zip(runs, hashes, strict=True):
        methods[run.task, run.method].add(method)
        tasks[run.task].add(data)
    return [
        replace(
            run,
            method=_labelled(run.method, method, methods[run.task, run.method]),
            task=_labelled(run.task, data, tasks[run.task]),
        )
        for run, (method, data) in zip(runs, hashes, strict=True)
    ]


def _labelled(name: str, settings: str, known: set[str]) -> str:
    return f"{name} #{settings[:4]}" if settings and len(known) > 1 else name


def _hash(tree: Tree) -> str:
    return content_hash(tree) if tree else ""


def read_curve(run: Run) -> list[tuple[float, float, float]]:
    """Read a run's PSNR as it went.

    Args:
        run: The run.

    Returns:
        ``(iteration, seconds, psnr)`` of a few hundred rows of ``metrics.csv``; empty without a target.
    """
    try:
        lines = (run.folder / METRICS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    header = lines[0].split(",") if lines else []
    if not {"iteration", "seconds", "psnr"} <= set(header):
        return []
    columns = [header.index(name) for name in ("iteration", "seconds", "psnr")]
    step = max(1, len(lines) // _POINTS)
    points = _parse(lines[1::step], columns)
    if step > 1 and len(points) < _POINTS // 4:  # PSNR was not recorded at every row
        points = _parse(lines[1:], columns)
        points = points[:: max(1, len(points) // _POINTS)]
    return points


def _parse(lines: list[str], columns: list[int]) -> list[tuple[float, float, float]]:
    points = []
    for line in lines:
        cells = line.split(",")
        values = [cells[column] if column < len(cells) else "" for column in columns]
        if all(values):
            points.append((float(values[0]), float(values[1]), float(values[2])))
    return points
