"""The tables of ``docs/results.md`` from ``benchmarks/results/quality.json``."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import _common
from benchmarks._pages import DOCS, Makers, table
from benchmarks._quality_checks import Check, Entry, Problem, entry_of, order_checks, scores
from benchmarks._quality_notes import missing_text, settings_text
from benchmarks._quality_stopping import NONE, Regret, regrets

NAME = "quality"
PAGE = DOCS / "results.md"
LINK = "images/quality"
PICTURES = DOCS / LINK
TASKS = ("ct", "mri", "denoising", "inpainting", "deblurring")
#: How the initial image of a task is made.
INITIAL = {"ct": "filtered back-projection", "mri": "zero-filled"}
#: Mean regret in dB that a rule is to stay below.
GOAL = 0.5


def read_record() -> dict[str, Any]:
    """The last record; empty where nothing was measured."""
    path = _common.RESULTS / f"{NAME}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def makers(content: dict[str, Any] | None = None, pictures: Path = PICTURES) -> Makers:
    """What fills each marker of the page.

    Args:
        content: The record; by default the last one.
        pictures: Where the pictures are; those that are there are shown.
    """
    content = read_record() if content is None else content
    problems: list[Problem] = content.get("problems", [])
    by_task = {task: [problem for problem in problems if problem["task"] == task] for task in TASKS}
    texts: dict[str, Callable[[], str]] = {
        **{task: partial(task_text, task, own, pictures) for task, own in by_task.items()},
        "order": partial(order_text, by_task),
        "stopping": partial(stopping_text, problems),
        "settings": partial(settings_text, problems),
        "missing": partial(missing_text, content.get("missing")),
    }
    return {f"quality_{name}": (make, NAME) for name, make in texts.items()}


def task_text(task: str, problems: list[Problem], pictures: Path) -> str:
    """Scores of a task, and its pictures."""
    if not problems:
        return ""
    parts = [psnr_table(problems), "SSIM of the estimates:\n", ssim_table(problems)]
    for kind, about in (("images", "initial image, estimates and target"), ("curves", "PSNR against iterations")):
        name = f"{task}_{kind}.png"
        if (pictures / name).exists():
            parts.append(f"![{task}: {about}]({LINK}/{name})\n")
    return "\n".join(parts)


def psnr_table(problems: list[Problem]) -> str:
    """PSNR by method and problem: the estimate, and in brackets the last and the best iterate.

    The best estimate of a problem is bold; where measurements are still missing there is a star, and where all are, a
    dash.
    """
    best = {problem["name"]: _best(problem) for problem in problems}
    rows: list[list[Any]] = [[_initial_name(problems), *(_initial(problem) for problem in problems), None]]
    for method, kind in _methods(problems).items():
        cells = []
        for problem in problems:
            entry = entry_of(problem, method)
            cells.append(_psnr_cell(problem, method, entry, best[problem["name"]] == method))
        rows.append([method if kind == "fit" else f"{method} (baseline)", *cells, _seconds(problems, method)])
    text = table(["PSNR, dB", *(problem["name"] for problem in problems), "seconds"], rows)
    stars = any("\\*" in str(cell) for row in rows for cell in row)
    return text + ("\n\\* the mean over some of the measurements only.\n" if stars else "")


def ssim_table(problems: list[Problem]) -> str:
    """SSIM of the estimates by method and problem."""
    rows = []
    for method in _methods(problems):
        cells = []
        for problem in problems:
            entry = entry_of(problem, method)
            value = _score(entry, "ssim", "estimate") if entry else None
            cells.append(_absent(problem, method) if value is None else f"{value:.3f}")
        rows.append([method, *cells])
    return table(["SSIM", *(problem["name"] for problem in problems)], rows)


def order_text(by_task: dict[str, list[Problem]]) -> str:
    """For each task, whether the published order holds."""
    parts = []
    for task, problems in by_task.items():
        found = {problem["name"]: {check.claim: check for check in order_checks(problem)} for problem in problems}
        claims = dict.fromkeys(claim for checks in found.values() for claim in checks)
        rows = []
        for claim in claims:
            checks = [found[problem["name"]].get(claim) for problem in problems]
            rows.append([claim, *("–" if check is None else _verdict(check) for check in checks)])
        if rows:
            held = [check.holds for checks in found.values() for check in checks.values()]
            summary = f"{task}: {sum(held)} of {len(held)} hold.\n"
            parts.append(summary + "\n" + table(["claim", *(problem["name"] for problem in problems)], rows))
    return "\n".join(parts)


def _verdict(check: Check) -> str:
    return f"{'yes' if check.holds else '**no**'} ({check.text})"


def stopping_text(problems: list[Problem]) -> str:
    """Regret of each stopping rule, and what the last iterate loses."""
    rows = regrets(problems)
    if not rows:
        return ""
    heads = ["rule", "needs the noise level", "fits", "mean regret", "worst", "where"]
    heads += ["last iterate of the same fits: mean loss", "worst loss"]
    text = table(heads, [_regret_row(row) for row in rows])
    good = [f"`{row.rule}` ({row.mean:.2f})" for row in rows if _reaches(row)]
    return (
        text + f"\nRules that need no noise level, with a mean regret below {GOAL} dB: {', '.join(good) or 'none'}.\n"
    )


def _regret_row(row: Regret) -> list[Any]:
    fits = f"{row.fits}" + (f", and {row.silent} in which it chose nothing" if row.silent else "")
    name = "no rule: all steps" if row.rule == NONE else f"`{row.rule}`"
    needs = "" if row.rule == NONE else "yes" if row.needs_noise else "no"
    values = (row.mean, row.worst, row.end_mean, row.end_worst)
    mean, worst, *ends = ("–" if isnan(value) else f"{value:.2f}" for value in values)
    return [name, needs, fits, mean, worst, row.where, *ends]


def _reaches(row: Regret) -> bool:
    return row.rule != NONE and not row.needs_noise and row.mean < GOAL


def _methods(problems: list[Problem]) -> dict[str, str]:
    """Methods and their kinds: baselines first, then fits, each as the comparison lists them; the input is left out."""
    kinds = {name: kind for problem in problems for name, kind in problem["planned"].items() if kind != "input"}
    return dict(sorted(kinds.items(), key=lambda item: item[1] != "baseline"))


def _best(problem: Problem) -> str | None:
    """The method or baseline with the best estimate, of those that are finished."""
    known = {
        entry["method"]: value
        for entry in problem["entries"]
        if entry["finished"] >= entry["planned"] and (value := _score(entry, "psnr", "estimate")) is not None
    }
    return max(known, key=lambda method: known[method]) if known else None


def _psnr_cell(problem: Problem, method: str, entry: Entry | None, best: bool) -> str:
    value = _score(entry, "psnr", "estimate") if entry else None
    if entry is None or value is None:
        return _absent(problem, method)
    text = f"**{value:.1f}**" if best else f"{value:.1f}"
    text += "\\*" if entry["finished"] < entry["planned"] else ""
    last, top = scores(entry, "last"), scores(entry, "best")
    if entry["kind"] != "fit" or not last or not top:
        return text
    return f"{text} ({fmean(last.values()):.1f} / {fmean(top.values()):.1f})"


def _absent(problem: Problem, method: str) -> str:
    return "–" if method in problem["planned"] else ""


def _initial_name(problems: list[Problem]) -> str:
    made = INITIAL.get(problems[0]["task"])
    return f"initial image ({made})" if made else "initial image"


def _initial(problem: Problem) -> str:
    """PSNR of the initial image: of the baseline that returns it; held-out data change the one of a fit a little."""
    inputs = [entry for entry in problem["entries"] if entry["kind"] == "input"]
    found = [value for entry in inputs or problem["entries"] if (value := _score(entry, "psnr", "initial")) is not None]
    return f"{found[0]:.1f}" if found else "–"


def _seconds(problems: list[Problem], method: str) -> str:
    entries = [entry for problem in problems if (entry := entry_of(problem, method)) and entry["seconds"]]
    means = [entry["seconds"]["mean"] for entry in entries]
    return f"{fmean(means):.{0 if fmean(means) >= 10 else 1}f}" if means else ""


def _score(entry: Entry, metric: str, image: str) -> float | None:
    value = entry[metric].get(image)
    return value["mean"] if value else None
