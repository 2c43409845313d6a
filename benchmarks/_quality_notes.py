"""Below the tables of the quality benchmark: settings, and what is not finished."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from benchmarks._pages import table
from benchmarks._quality_checks import Problem

_MOST = 30  # lines of what is missing


def settings_text(problems: list[Problem]) -> str:
    """Tell the settings of each method; problems with the same ones share a row.

    Args:
        problems: Problems of the record.

    Returns:
        A table of the fits, and a line for each baseline that takes arguments.
    """
    fits: dict[tuple[str, ...], list[str]] = {}
    baselines: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        for entry in problem["entries"]:
            known = entry["settings"]
            if entry["kind"] == "fit" and known:
                fits.setdefault((entry["method"], *_row(known)), []).append(problem["name"])
            elif entry["kind"] == "baseline" and (weight := _weight(known)):
                baselines.setdefault((entry["method"], weight), []).append(problem["name"])
    heads = ["method", "problems", "network", "optimiser", "steps", "network input", "loss", "penalties", "callbacks"]
    rows = [[method, ", ".join(names), *rest] for (method, *rest), names in fits.items()]
    lines = [f"- {method}, {weight}: {', '.join(names)}" for (method, weight), names in baselines.items()]
    return table(heads, rows) + ("\n" + "\n".join(lines) + "\n" if lines else "") if rows else ""


def _row(known: dict[str, Any]) -> list[str]:
    return [
        _names([known.get("network")]),
        f"{known.get('optimizer')} {known.get('lr', 0):g}",
        str(known.get("steps") or ""),
        _names([known.get("input")]),
        str(known.get("reduction") or ""),
        _names(known.get("penalties") or []),
        _names(known.get("callbacks") or []),
    ]


def _names(described: list[Any]) -> str:
    """Names of classes without their arguments, which are in the record."""
    return ", ".join(str(item).partition("(")[0] for item in described if item)


def _weight(known: dict[str, Any]) -> str:
    if known.get("rule") not in (None, "fixed"):
        return f"weight by the rule `{known['rule']}`"
    return f"weight {known['weight']:g}" if isinstance(known.get("weight"), int | float) else ""


def missing_text(missing: list[dict[str, Any]] | None) -> str:
    """List the jobs that are not finished.

    Args:
        missing: As the record has them; ``None`` where there is no record.
    """
    if missing is None:
        return ""
    if not missing:
        return "All jobs of the comparison are finished.\n"
    groups: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for job in missing:
        state = f"failed: {job['error']}" if job["state"] == "failed" else "not run"
        groups[job["method"], state.replace("|", " ")][job["data"]] += 1
    lines = []
    for (method, state), counts in list(groups.items())[:_MOST]:
        data = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in counts.items())
        lines.append(f"- {method}: {data}: {state}")
    more = [f"- and {len(groups) - _MOST} more"] if len(groups) > _MOST else []
    return "\n".join([f"Jobs that are not finished: {len(missing)}.\n", *lines, *more]) + "\n"
