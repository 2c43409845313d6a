"""What the finished runs of a comparison say, as the record ``benchmarks/results/quality.json``."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks._quality_runs import IMAGES, chosen_iteration, is_baseline, rounded, run_record
from benchmarks._quality_settings import class_name, settings
from dip_lightning.compare.command import unique
from dip_lightning.compare.execute import failure_of
from dip_lightning.compare.jobs import Job, expand, read_json, state
from dip_lightning.compare.plan import Plan
from dip_lightning.compare.report.collect import Run
from dip_lightning.compare.report.curves import task_curves
from dip_lightning.compare.report.statistics import Mean, Row, tables
from dip_lightning.run_folder import SUMMARY

_POINTS = 40  # of a curve


def finished_runs(plan: Plan) -> tuple[list[Run], list[Job]]:
    """Read the runs that a comparison names; whatever else lies under its root, older settings too, is left alone.

    Args:
        plan: The comparison.

    Returns:
        The finished runs, whose ``task`` is the name of their data, and the jobs that are not finished.
    """
    runs, missing = [], []
    for job in unique(expand(plan)):
        summary = read_json(job.folder / SUMMARY)
        if summary is None:
            missing.append(job)
            continue
        measurement = str(summary.get("measurement", job.index))
        runs.append(Run(job.folder, job.method, job.data, measurement, job.seed, summary, job.tree))
    return runs, missing


def record(plan: Plan) -> dict[str, Any]:
    """Collect a comparison.

    Args:
        plan: The comparison.

    Returns:
        ``comparison``, its name; ``problems``, each with ``name``, ``task``, ``measurements`` and, for each method and
        baseline in the plan's order, an entry (see :func:`_entry`); ``missing``, the jobs that are not finished; and
        where the runs were made, ``devices`` and ``run_versions``.
    """
    runs, missing = finished_runs(plan)
    order = list(dict.fromkeys(entry.name for entry in plan.methods + plan.baselines))
    planned = unique(expand(plan))
    by_problem: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_problem[run.task].append(run)
    names = [name for name in dict.fromkeys(job.data for job in planned) if by_problem[name]]
    return {
        "comparison": plan.name,
        "problems": [_problem(name, by_problem[name], order, planned) for name in names],
        "missing": [_missing(job) for job in missing],
        "devices": sorted({str(run.summary.get("device")) for run in runs}),
        "run_versions": _all_versions(runs),
    }


def _problem(name: str, runs: list[Run], order: list[str], planned: Sequence[Job]) -> dict[str, Any]:
    (table,) = tables(runs, order)
    curves = task_curves([run for run in runs if not is_baseline(run)])
    kinds = {job.method: kind_of(job) for job in planned if job.data == name}
    counts = Counter(job.method for job in planned if job.data == name)
    entries = []
    for row in table.rows:
        own = [run for run in runs if run.method == row.method]
        entries.append(_entry(row, own, curves.get(row.method, {}), counts[row.method], kinds[row.method]))
    first = runs[0].summary
    return {
        "name": name,
        "task": str(first.get("task", "")),
        "measurements": sorted({run.measurement for run in runs}),
        "noise_level": first.get("noise_level"),
        "planned": kinds,
        "entries": entries,
    }


def kind_of(job: Job) -> str:
    """``fit``; ``baseline``; or ``input`` for the baseline that returns the initial image."""
    if job.kind == "fit":
        return "fit"
    return "input" if class_name(job.tree.get("baseline")) == "Initial" else "baseline"


def _entry(row: Row, runs: list[Run], curve: dict[str, Any], planned: int, kind: str) -> dict[str, Any]:
    """Tell one method on one problem.

    ``psnr``, ``ssim``, ``regret_db``, ``iterations`` and ``seconds`` are means over the measurements; ``error`` beside
    them is the standard error where there are several. ``runs`` has the same for each run, ``best`` (the oracle, or the
    last iterate where that is better), and what each of its stopping rules chose.
    """
    return {
        "method": row.method,
        "kind": kind,
        "finished": len(runs),
        "planned": planned,
        "settings": settings(runs[0]),
        "psnr": {image: _mean(row.scores[f"psnr_{image}"], 3) for image in IMAGES},
        "ssim": {image: _mean(row.scores[f"ssim_{image}"], 4) for image in IMAGES},
        "regret_db": _mean(row.regret, 3),
        "worst_regret_db": rounded(row.worst_regret, 3),
        "oracle_iteration": _median([run.number("oracle_iteration") for run in runs]),
        "chosen_iteration": _median([chosen_iteration(run) for run in runs]),
        "iterations": _mean(row.iterations, 1),
        "seconds": _mean(row.seconds, 2),
        "curve": _thinned(curve.get("iteration") or []),
        "runs": [run_record(run) for run in sorted(runs, key=lambda run: (run.measurement, run.seed))],
    }


def _missing(job: Job) -> dict[str, Any]:
    error = (failure_of(job) or {}).get("error", "") if state(job) == "failed" else ""
    known = {"method": job.method, "data": job.data, "index": job.index, "seed": job.seed, "state": state(job)}
    return {**known, "error": next(iter(str(error).splitlines()), "")[:200]}


def _thinned(points: list[list[float]]) -> dict[str, list[float]]:
    places = np.linspace(0, len(points) - 1, min(_POINTS, len(points))).round().astype(int).tolist()
    return {
        "iteration": [round(points[place][0], 1) for place in places],
        "psnr": [round(points[place][1], 2) for place in places],
    }


def _mean(value: Mean | None, digits: int) -> dict[str, float | None] | None:
    if value is None:
        return None
    return {"mean": rounded(value.mean, digits), "error": rounded(value.error, digits)}


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _all_versions(runs: Sequence[Run]) -> dict[str, list[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for run in runs:
        for package, version in (run.summary.get("versions") or {}).items():
            found[package].add(str(version))
    return {package: sorted(known) for package, known in found.items()}
