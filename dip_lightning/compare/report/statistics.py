"""What the tables say: means, their errors, paired differences, wins and stopping regret."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dip_lightning.compare.report.collect import Run
from dip_lightning.compare.report.method_names import methods_in_order, named
from dip_lightning.functional.metrics import METRICS

Value = Callable[[Run], float | None]


@dataclass(frozen=True)
class Mean:
    r"""Mean with its standard error.

    Attributes:
        mean: Mean over the units.
        error: Standard error :math:`s / \sqrt n`; ``None`` for one unit.
        count: Units, ``n``.
    """

    mean: float
    error: float | None
    count: int


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its 95 % confidence interval (Student's t).

    Attributes:
        mean: Method less reference.
        low: Lower end; ``None`` for fewer than two pairs.
        high: Upper end.
        count: Pairs.
    """

    mean: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class Row:
    """One method on one task.

    Attributes:
        method: Its name.
        runs: How many runs.
        scores: Metrics of ``initial``, ``estimate``, ``oracle`` and ``last``, by ``metric_image``.
        iterations: Optimiser steps until it stopped.
        seconds: Time of a run.
        regret: PSNR of the oracle less that of the estimate.
        worst_regret: Its largest value.
        wins: Units on which no other method's PSNR is higher.
        units: Units that could be won.
        difference: PSNR against the reference.
    """

    method: str
    runs: int
    scores: dict[str, Mean | None]
    iterations: Mean | None
    seconds: Mean | None
    regret: Mean | None
    worst_regret: float | None
    wins: int
    units: int
    difference: Difference | None


@dataclass(frozen=True)
class TaskTable:
    """All methods on one task.

    Attributes:
        task: Its name.
        rows: One for each method.
        reference: What ``difference`` is against.
        unit: What is averaged over: ``measurements`` (seeds averaged first), or ``seeds`` where there is but one.
        units: How many of them any method has a PSNR on.
    """

    task: str
    rows: list[Row]
    reference: str
    unit: str
    units: int


def tables(runs: Sequence[Run], order: Sequence[str] = (), reference: str | None = None) -> list[TaskTable]:
    """Make the table of each task.

    Args:
        runs: All runs.
        order: Methods in the order wanted; others follow.
        reference: What to compare with, of several variants the first; the first method by default, also on tasks that
            it was not run on.
    """
    by_task: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_task[run.task].append(run)
    return [_table(task, by_task[task], order, reference) for task in sorted(by_task)]


def _table(task: str, runs: list[Run], order: Sequence[str], reference: str | None) -> TaskTable:
    methods = methods_in_order(runs, order)
    by_seed = len({run.measurement for run in runs}) == 1
    chosen = named(methods, reference) or methods[0]
    grouped = {method: [run for run in runs if run.method == method] for method in methods}
    psnr = {method: _units(grouped[method], lambda run: run.score("psnr", "estimate"), by_seed) for method in methods}
    if by_seed:
        psnr = _repeat_undrawn(psnr, {run.method for run in runs if run.drawn})
    wins = _wins(psnr)
    rows = [_row(method, grouped[method], psnr, wins, chosen, by_seed) for method in methods]
    units = {unit for scores in psnr.values() for unit in scores}
    return TaskTable(task, rows, chosen, "seeds" if by_seed else "measurements", len(units))


def _row(
    method: str,
    runs: list[Run],
    psnr: dict[str, dict[str, float]],
    wins: dict[str, int],
    reference: str,
    by_seed: bool,
) -> Row:
    names = [(metric, image) for metric in METRICS for image in ("initial", "estimate", "oracle", "last")]
    regrets = _units(runs, _regret, by_seed)
    return Row(
        method=method,
        runs=len(runs),
        scores={
            f"{metric}_{image}": _mean(_units(runs, lambda run, m=metric, i=image: run.score(m, i), by_seed))  # type: ignore[misc]
            for metric, image in names
        },
        iterations=_mean(_units(runs, lambda run: run.number("iterations"), by_seed)),
        seconds=_mean(_units(runs, lambda run: run.number("seconds"), by_seed)),
        regret=_mean(regrets),
        worst_regret=max((value for run in runs if (value := _regret(run)) is not None), default=None),
        wins=wins.get(method, 0),
        units=len(psnr[method]),
        difference=None if method == reference else difference(psnr[method], psnr[reference]),
    )


def _regret(run: Run) -> float | None:
    oracle, estimate = run.score("psnr", "oracle"), run.score("psnr", "estimate")
    if oracle is None or estimate is None or run.summary.get("stopped_by") == "baseline":
        return None
    return oracle - estimate


def _units(runs: Iterable[Run], value: Value, by_seed: bool) -> dict[str, float]:
    """Values of independent units: measurements, seeds averaged; or the seeds of the only measurement."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for run in runs:
        number = value(run)
        if number is not None and math.isfinite(number):
            found[str(run.seed) if by_seed else run.measurement].append(number)
    return {unit: sum(values) / len(values) for unit, values in found.items()}


def _repeat_undrawn(values: dict[str, dict[str, float]], drawn: set[str]) -> dict[str, dict[str, float]]:
    """Give a baseline that draws nothing the same value for every seed; one seed of another says nothing of others."""
    seeds = {seed for units in values.values() for seed in units}
    return {
        method: units if method in drawn or not units else dict.fromkeys(seeds, next(iter(units.values())))
        for method, units in values.items()
    }


def _wins(values: dict[str, dict[str, float]]) -> dict[str, int]:
    won: defaultdict[str, int] = defaultdict(int)
    for unit in {unit for units in values.values() for unit in units}:
        scores = {method: units[unit] for method, units in values.items() if unit in units}
        best = max(scores.values())
        for method, score in scores.items():
            won[method] += score >= best - 1e-9
    return won


def _mean(units: dict[str, float]) -> Mean | None:
    values = list(units.values())
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    deviation = _deviation(values, mean)
    return Mean(mean, None if deviation is None else deviation / math.sqrt(len(values)), len(values))


def difference(values: dict[str, float], reference: dict[str, float]) -> Difference | None:
    r"""Compare two methods unit by unit.

    :math:`\bar d \pm t_{0.975, n-1} \, s_d / \sqrt n` over the units that both have.

    Args:
        values: By unit.
        reference: By unit.
    """
    from scipy.stats import t

    pairs = [values[unit] - reference[unit] for unit in values if unit in reference]
    if not pairs:
        return None
    mean = math.fsum(pairs) / len(pairs)
    deviation = _deviation(pairs, mean)
    if deviation is None:
        return Difference(mean, None, None, len(pairs))
    half = float(t.ppf(0.975, len(pairs) - 1)) * deviation / math.sqrt(len(pairs))
    return Difference(mean, mean - half, mean + half, len(pairs))


def _deviation(values: Sequence[float], mean: float) -> float | None:
    if len(values) < 2:
        return None
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
