"""How far stopping rules are from the best iterate, by the record of the quality benchmark."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks._quality_checks import Problem

#: First words of the labels of rules that need to know the noise level.
_NEED_NOISE = ("discrepancy", "sure", "zero_crossing")
#: Stands for the fits that no rule stops.
NONE = "none"


@dataclass(frozen=True)
class Regret:
    """How far a way of stopping is from the best image of the fit.

    Attributes:
        rule: Label of the rule.
        needs_noise: Whether it needs the noise level.
        fits: Fits in which it chose an iterate.
        silent: Fits in which it chose none.
        mean: Mean regret in dB; not a number, as the figures below, where it never chose.
        worst: Its largest value.
        where: Method and problem of that one.
        end_mean: What the last iterates of these fits lose to the best ones on average.
        end_worst: The largest such loss.
    """

    rule: str
    needs_noise: bool
    fits: int
    silent: int
    mean: float
    worst: float
    where: str
    end_mean: float
    end_worst: float


def regrets(problems: list[Problem], task: str | None = None) -> list[Regret]:
    """Summarise stopping rules over all fits, and, as the rule ``none``, the estimates of fits that no rule stopped.

    Args:
        problems: Problems of the record.
        task: Only those of this task.

    Returns:
        From the smallest mean regret to the largest; rules that never chose come last.
    """
    found: defaultdict[str, list[tuple[float, float, str]]] = defaultdict(list)
    silent: defaultdict[str, int] = defaultdict(int)
    for label, regret, end, where in _choices(problems, task):
        if regret is None:
            silent[label] += 1
        else:
            found[label].append((regret, end, where))
    rows = [_regret(label, found[label], silent[label]) for label in {**found, **silent}]
    return sorted(rows, key=lambda row: (math.isnan(row.mean), row.mean))


def _choices(problems: list[Problem], task: str | None) -> Iterator[tuple[str, float | None, float, str]]:
    for problem in problems:
        for entry in problem["entries"]:
            if entry["kind"] != "fit" or (task is not None and problem["task"] != task):
                continue
            for run in entry["runs"]:
                where = f"{entry['method']}, {problem['name']}"
                for label, regret, end in _run_choices(run):
                    yield label, regret, end, where


def _run_choices(run: dict[str, Any]) -> Iterator[tuple[str, float | None, float]]:
    """Rule, its regret, and what the last iterate loses; the regret in the record is against the oracle alone."""
    best, oracle, last, estimate = (run["psnr"].get(image) for image in ("best", "oracle", "last", "estimate"))
    if oracle is None or last is None or estimate is None:
        return
    for label, rule in run["rules"].items():
        regret = rule["regret_db"]
        yield label, None if regret is None else regret + best - oracle, best - last
    if not any(rule["action"] == "stop" for rule in run["rules"].values()):
        yield NONE, best - estimate, best - last


def _regret(label: str, values: list[tuple[float, float, str]], silent: int) -> Regret:
    worst = max(values, default=(math.nan, math.nan, ""))
    ends = [end for _, end, _ in values] or [math.nan]
    return Regret(
        rule=label,
        needs_noise=label.startswith(_NEED_NOISE),
        fits=len(values),
        silent=silent,
        mean=statistics.fmean([regret for regret, _, _ in values] or [math.nan]),
        worst=worst[0],
        where=worst[2],
        end_mean=statistics.fmean(ends),
        end_worst=max(ends),
    )
