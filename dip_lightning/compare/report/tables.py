"""Tables as CSV and as LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from dip_lightning.compare.report.best import best, is_full
from dip_lightning.compare.report.collect import Run
from dip_lightning.compare.report.statistics import Mean, Row, TaskTable
from dip_lightning.functional.metrics import METRICS

_IMAGES = ("initial", "estimate", "oracle", "last")
_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_TEX.update({character: "\\" + character for character in "&%$#_{}"})


def task_csv(table: TaskTable) -> str:
    """A task's table with full precision.

    Args:
        table: The table.

    Returns:
        CSV text with a header line.
    """
    scores = [f"{metric}_{image}" for metric in METRICS for image in _IMAGES]
    means = [*scores, "iterations", "seconds", "regret"]
    header = ["task", "method", "runs", *(f"{name}{end}" for name in means for end in ("_mean", "_se", "_n"))]
    header += ["worst_regret", "wins", "units", "reference", "difference", "difference_low", "difference_high"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        values = [*(row.scores[name] for name in scores), row.iterations, row.seconds, row.regret]
        cells = [cell for value in values for cell in _cells(value)]
        gap = row.difference
        ends = [table.reference, *((gap.mean, gap.low, gap.high) if gap else (None, None, None))]
        writer.writerow([table.task, row.method, row.runs, *cells, row.worst_regret, row.wins, row.units, *ends])
    return text.getvalue()


def _cells(value: Mean | None) -> tuple[float | None, float | None, int]:
    return (None, None, 0) if value is None else (value.mean, value.error, value.count)


def runs_csv(runs: Sequence[Run]) -> str:
    """One line for each run.

    Args:
        runs: The runs.

    Returns:
        CSV text with a header line.
    """
    scores = [(metric, image) for metric in METRICS for image in _IMAGES]
    others = ("iterations", "oracle_iteration", "seconds", "stopped_by", "device")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [f"{metric}_{image}" for metric, image in scores]
    writer.writerow(["task", "method", "measurement", "seed", *names, *others, "folder"])
    for run in runs:
        values = [run.score(metric, image) for metric, image in scores]
        known = [run.summary.get(name) for name in others]
        writer.writerow([run.task, run.method, run.measurement, run.seed, *values, *known, run.folder])
    return text.getvalue()


def task_latex(table: TaskTable) -> str:
    """A task's table for a paper; needs the package booktabs.

    Args:
        table: The table.

    Returns:
        A ``table`` environment. The best mean of each column is bold, of the methods that have all units.
    """
    bests = {name: best(table, name) for name in ("psnr_estimate", "ssim_estimate", "psnr_oracle")}
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{tex(table.task)}: mean $\pm$ standard error over {table.unit}; difference in PSNR to "
        rf"{tex(table.reference)} with 95\,\% confidence interval.}}",
        r"  \begin{tabular}{lrrrrrr}",
        r"    \toprule",
        r"    Method & PSNR (dB) & SSIM & Oracle PSNR (dB) & Iterations & Seconds & Difference (dB) \\",
        r"    \midrule",
    ]
    for row in table.rows:
        full = is_full(row, table)
        of_row = bests if full else {}
        cells = [
            tex(row.method) + ("" if full else f" ($n = {row.units}$)"),
            _tex_mean(row.scores["psnr_estimate"], 2, of_row.get("psnr_estimate")),
            _tex_mean(row.scores["ssim_estimate"], 3, of_row.get("ssim_estimate")),
            _tex_mean(row.scores["psnr_oracle"], 2, of_row.get("psnr_oracle")),
            "--" if row.iterations is None else f"{row.iterations.mean:.0f}",
            "--" if row.seconds is None else f"{row.seconds.mean:.1f}",
            _tex_difference(row),
        ]
        lines.append(f"    {' & '.join(cells)} \\\\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])


def tex(text: str) -> str:
    """Escape what LaTeX would take for a command."""
    return "".join(_TEX.get(character, character) for character in text)


def _tex_mean(value: Mean | None, digits: int, highest: float | None) -> str:
    if value is None:
        return "--"
    number = f"{value.mean:.{digits}f}"
    number = rf"\mathbf{{{number}}}" if highest is not None and value.mean >= highest - 0.5 * 10**-digits else number
    return f"${number}$" if value.error is None else rf"${number} \pm {value.error:.{digits}f}$"


def _tex_difference(row: Row) -> str:
    gap = row.difference
    if gap is None:
        return "--"
    if gap.low is None or gap.high is None:
        return f"${gap.mean:+.2f}$"
    return f"${gap.mean:+.2f}$ $[{gap.low:+.2f}, {gap.high:+.2f}]$"
