"""One finished run in the record of the quality benchmark."""

from __future__ import annotations

import math
from typing import Any

from dip_lightning.compare.report.collect import Run

IMAGES = ("initial", "estimate", "last", "oracle")


def run_record(run: Run) -> dict[str, Any]:
    """Tell one run: its scores, when it stopped and why, and what each of its stopping rules chose."""
    return {
        "measurement": run.measurement,
        "seed": run.seed,
        "psnr": {**{image: rounded(run.score("psnr", image), 3) for image in IMAGES}, "best": _best(run)},
        "ssim": {image: rounded(run.score("ssim", image), 4) for image in IMAGES},
        "iterations": run.summary.get("iterations"),
        "oracle_iteration": run.summary.get("oracle_iteration"),
        "seconds": run.summary.get("seconds"),
        "stopped_by": run.summary.get("stopped_by"),
        "rules": _rules(run),
    }


def _best(run: Run) -> float | None:
    """PSNR of the best image there was: the oracle is the best estimate, and an average may lag behind the outputs."""
    known = [score for image in ("oracle", "estimate", "last") if (score := run.score("psnr", image)) is not None]
    return rounded(max(known), 3) if known else None


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
            "regret_db": rounded(regret, 3),
        }
    return found


def chosen_iteration(run: Run) -> float | None:
    """Iteration of the estimate: what the rule that stops chose, else the last one."""
    stops = [rule["iteration"] for rule in _rules(run).values() if rule["action"] == "stop" and rule["iteration"]]
    return float(stops[0]) if stops else run.number("iterations")


def is_baseline(run: Run) -> bool:
    """Whether it is no fit of an untrained network by a method of the suite."""
    return run.summary.get("stopped_by") == "baseline"


def rounded(value: Any, digits: int) -> float | None:
    """Round a number; ``None`` for what is none, or not finite."""
    return round(value, digits) if isinstance(value, int | float) and math.isfinite(value) else None
