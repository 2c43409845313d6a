"""Curves of PSNR against iterations and against seconds, averaged over the runs of a method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from dip_lightning.compare.report.collect import Run, read_curve

_POINTS = 120
_STOPS = 150
Curve = list[tuple[float, float, float]]


def task_curves(runs: Sequence[Run]) -> dict[str, Any]:
    """Curves of one task, ready to be drawn.

    At each position the mean is over the runs that got there, as long as at least half of them did; the band is one
    standard deviation of these runs.

    Args:
        runs: Runs of one task.

    Returns:
        By method: ``iteration`` and ``seconds``, each a list of ``[x, mean, deviation]``; and ``stops``, a list of
        ``[iteration, seconds, psnr of the estimate]``.
    """
    by_method: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_method[run.method].append(run)
    drawn: dict[str, Any] = {}
    for method, members in by_method.items():
        curves = [curve for run in members if len(curve := read_curve(run)) > 1]
        drawn[method] = {
            "iteration": average([[(i, i, p) for i, _, p in curve] for curve in curves]),
            "seconds": average([[(s, s, p) for _, s, p in curve] for curve in curves]),
            "stops": _stops(members),
        }
    return drawn


def average(curves: Sequence[Curve]) -> list[list[float]]:
    """Average curves that do not have the same positions or ends.

    Args:
        curves: Lists of ``(x, x, y)`` in rising ``x``.

    Returns:
        ``[x, mean, standard deviation]`` at up to 120 positions, evenly spread on a scale between the linear and the
        logarithmic, so that the beginning can be seen on either.
    """
    if not curves:
        return []
    starts, ends = [curve[0][0] for curve in curves], [curve[-1][0] for curve in curves]
    last = float(np.median(ends))
    first = max(min(starts), 1e-9 * max(last, 1e-9))
    positions = np.unique(np.concatenate([np.geomspace(first, max(last, first), 40), np.linspace(first, last, 80)]))
    if len(positions) > _POINTS:
        positions = positions[:_POINTS]
    sampled = np.full((len(curves), len(positions)), np.nan)
    for number, curve in enumerate(curves):
        x, y = np.array([point[0] for point in curve]), np.array([point[2] for point in curve])
        inside = (positions >= x[0] - 1e-12) & (positions <= x[-1] + 1e-12)
        sampled[number, inside] = np.interp(positions[inside], x, y)
    there = np.isfinite(sampled).sum(0)
    kept = there >= max(1, (len(curves) + 1) // 2)
    values = sampled[:, kept]
    mean, deviation = np.nanmean(values, 0), np.nanstd(values, 0)
    rows = zip(positions[kept], mean, deviation, strict=True)
    return [[float(f"{x:.5g}"), round(float(m), 3), round(float(d), 3)] for x, m, d in rows if np.isfinite(m)]


def _stops(runs: Sequence[Run]) -> list[list[float]]:
    found = []
    for run in runs[:: max(1, len(runs) // _STOPS)]:
        iterations, seconds, psnr = run.number("iterations"), run.number("seconds"), run.score("psnr", "estimate")
        chosen = _chosen(run)
        if iterations is not None and seconds is not None and psnr is not None:
            at = chosen or iterations
            found.append([at, round(seconds * at / max(iterations, 1), 4), round(psnr, 3)])
    return found


def _chosen(run: Run) -> float | None:
    """Iteration of the estimate that a stopping rule selected, if one did."""
    for part in (run.summary.get("callbacks") or {}).values():
        if isinstance(part, dict) and part.get("action") == "stop" and part.get("iteration"):
            return float(part["iteration"])
    return None
