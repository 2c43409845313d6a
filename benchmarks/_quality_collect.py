"""What the finished runs of a comparison say, as the record ``benchmarks/results/quality.json``."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks._quality_settings import class_name, settings
from dip_lightning.compare.command import unique
from dip_lightning.compare.execute import failure_of
from dip_lightning.compare.jobs import Job, expand, read_json, state
from dip_lightning.compare.plan import Plan
from dip_lightning.compare.report.collect import Run
from dip_lightning.compare.report.curves import task_curves
from dip_lightning.compare.report.statistics import Mean, Row, tables
from dip_lightning.run_folder import SUMMARY

IMAGES = ("initial", "estimate", "last", "oracle")
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
    order = [entry.name for entry in plan.methods + plan.baselines]
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
        "worst_regret_db": _rounded(row.worst_regret, 3),
        "oracle_iteration": _median([run.number("oracle_iteration") for run in runs]),
        "chosen_iteration": _median([chosen_iteration(run) for run in runs]),
        "iterations": _mean(row.iterations, 1),
        "seconds": _mean(row.seconds, 2),
        "curve": _thinned(curve.get("iteration") or []),
        "runs": [_run(run) for run in sorted(runs, key=lambda run: (run.measurement, run.seed))],
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "measurement": run.measurement,
        "seed": run.seed,
        "psnr": {**{image: _rounded(run.score("psnr", image), 3) for image in IMAGES}, "best": _best(run)},
        "ssim": {image: _rounded(run.score("ssim", image), 4) for image in IMAGES},
        "iterations": run.summary.get("iterations"),
        "oracle_iteration": run.summary.get("oracle_iteration"),
        "seconds": run.summary.get("seconds"),
        "stopped_by": run.summary.get("stopped_by"),
        "rules": _rules(run),
    }


def _best(run: Run) -> float | None:
    """PSNR of the best image there was: the oracle is the best estimate, and an average may lag behind the outputs."""
    known = [score for image in ("oracle", "estimate", "last") if (score := run.score("psnr", image)) is not None]
    return _rounded(max(known), 3) if known else None


def _rules(run: Run) -> dict[str, Any]:
    """What each stopping rule chose, and how far that is from the oracle; ``regret_db`` is ``None`` if it did not."""
    found = {}
    for part in (run.summary.get("callbacks") or {}).values():
        if not isinstance(part, dict) or "action" not in part:
            continue
        label = str(part.get("rule"))
        recorded = (run.summary.get("recorded") or {}).get(label) or {}
        scores = run.summary if part["action"] == "stop" else recorded
        regret = scores.get("regret_db") if part.get("iteration") else None
        found[label] = {
            "action": part["action"],
            "iteration": part.get("iteration"),
            "regret_db": _rounded(regret, 3),
        }
    return found


def chosen_iteration(run: Run) -> float | None:
    """Iteration of the estimate: what the rule that stops chose, else the last one."""
    stops = [rule["iteration"] for rule in _rules(run).values() if rule["action"] == "stop" and rule["iteration"]]
    return float(stops[0]) if stops else run.number("iterations")


def is_baseline(run: Run) -> bool:
    """Whether it is no fit of an untrained network by a method of the suite."""
    return run.summary.get("stopped_by") == "baseline"


def _missing(job: Job) -> dict[str, Any]:
    error = (failure_of(job) or {}).get("error", "") if state(job) == "failed" else ""
    known = {"method": job.method, "data": job.data, "index": job.index, "seed": job.seed, "state": state(job)}
    return {**known, "error": next(iter(str(error).splitlines()), "")[:200]}


def _thinned(points: list[list[float]]) -> dict[str, list[float]]:
    kept = np.unique(np.linspace(0, len(points) - 1, min(_POINTS, len(points))).round().astype(int)) if points else []
    return {
        "iteration": [round(points[place][0]) for place in kept],
        "psnr": [round(points[place][1], 2) for place in kept],
    }


def _mean(value: Mean | None, digits: int) -> dict[str, float | None] | None:
    if value is None:
        return None
    return {"mean": _rounded(value.mean, digits), "error": _rounded(value.error, digits)}


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _rounded(value: Any, digits: int) -> float | None:
    return round(value, digits) if isinstance(value, int | float) and math.isfinite(value) else None


def _all_versions(runs: Sequence[Run]) -> dict[str, list[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for run in runs:
        for package, version in (run.summary.get("versions") or {}).items():
            found[package].add(str(version))
    return {package: sorted(known) for package, known in found.items()}
