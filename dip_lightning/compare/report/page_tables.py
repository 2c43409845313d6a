"""Tables of the page as HTML; everything from data escaped."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from html import escape

from dip_lightning.compare.report.best import best, is_full
from dip_lightning.compare.report.collect import Run
from dip_lightning.compare.report.statistics import Difference, Mean, Row, TaskTable

Look = dict[str, tuple[str, str]]
_NONE = "<td>–</td>"


def task_table(table: TaskTable, look: Look) -> str:
    """The table of one task.

    Args:
        table: Its content.
        look: Colour of each method.
    """
    heads = [
        ("PSNR (dB)", ""),
        ("", ""),
        (f"Difference to {escape(table.reference)}", ""),
        ("Wins", ""),
        ("Oracle", ' title="best PSNR of the fit, chosen with the target"'),
        ("Regret", ' data-first=up title="oracle less estimate, dB"'),
        ("SSIM", ""),
        ("Oracle", ' title="SSIM where PSNR was best"'),
        ("Initial", ' title="PSNR of the first image"'),
        ("Iterations", " data-first=up"),
        ("Seconds", " data-first=up"),
        ("Runs", ""),
    ]
    head = '<th class="name">Method</th>' + "".join(f"<th{more}>{name}</th>" for name, more in heads)
    bests = {name: best(table, name) for name in ("psnr_estimate", "ssim_estimate")}
    limits = _limits(table.rows)
    rows = "".join(_row(row, table, look, bests, limits) for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(
    row: Row, table: TaskTable, look: Look, bests: dict[str, float | None], limits: tuple[float, float] | None
) -> str:
    scores = row.scores
    bests = bests if is_full(row, table) else {}
    cells = [
        f'<td class="name" data-value="{escape(row.method)}">{method_cell(row.method, look)}{_count(row, table)}</td>',
        _mean(scores["psnr_estimate"], 2, bests.get("psnr_estimate")),
        _whisker(scores["psnr_estimate"], limits, look[row.method][0]),
        _difference(row, table),
        f'<td title="of {row.units}">{row.wins}</td>' if row.units else _NONE,
        _mean(scores["psnr_oracle"], 2),
        _mean(row.regret, 2),
        _mean(scores["ssim_estimate"], 3, bests.get("ssim_estimate")),
        _mean(scores["ssim_oracle"], 3, shown_error=False),
        _mean(scores["psnr_initial"], 2, shown_error=False),
        _mean(row.iterations, 0, shown_error=False),
        _mean(row.seconds, 1, shown_error=False),
        f"<td>{row.runs}</td>",
    ]
    return f'<tr data-method="{escape(row.method)}" data-task="{escape(table.task)}">{"".join(cells)}</tr>'


def method_cell(method: str, look: Look) -> str:
    """A method's name with its colour."""
    return f'<span class="swatch" style="border-color:{look[method][0]}"></span>{escape(method)}'


def _count(row: Row, table: TaskTable) -> str:
    return "" if is_full(row, table) else f' <span class="pm">n = {row.units}</span>'


def _mean(value: Mean | None, digits: int, highest: float | None = None, shown_error: bool = True) -> str:
    if value is None:
        return _NONE
    kind = ' class="best"' if highest is not None and value.mean >= highest - 1e-12 else ""
    error = "" if value.error is None else f"± {value.error:.{max(digits, 1)}f}"
    title = f"n = {value.count} {error}"
    error = f' <span class="pm">{error}</span>' if error and shown_error else ""
    return f'<td data-value="{value.mean:.10g}"{kind} title="{title}">{value.mean:.{digits}f}{error}</td>'


def _difference(row: Row, table: TaskTable) -> str:
    gap = row.difference
    if row.method == table.reference:
        return '<td class="pm" data-value="0">reference</td>'
    if gap is None:
        return _NONE
    interval = ""
    if gap.low is not None and gap.high is not None:
        interval = f' <span class="pm">[{gap.low:+.2f}, {gap.high:+.2f}]</span>'
    kind = _kind(gap)
    return f'<td data-value="{gap.mean:.10g}" title="{gap.count} pairs"{kind}>{gap.mean:+.2f}{interval}</td>'


def _kind(gap: Difference) -> str:
    if gap.low is not None and gap.low > 0:
        return ' class="better"'
    return ' class="worse"' if gap.high is not None and gap.high < 0 else ""


def _limits(rows: Sequence[Row]) -> tuple[float, float] | None:
    values = [value for row in rows if (value := row.scores["psnr_estimate"]) is not None]
    if not values:
        return None
    low = min(value.mean - (value.error or 0) for value in values)
    high = max(value.mean + (value.error or 0) for value in values)
    room = 0.06 * (high - low) + 0.05
    return low - room, high + room


def _whisker(value: Mean | None, limits: tuple[float, float] | None, colour: str) -> str:
    """Mean and standard error on the scale of the table, as a point with whiskers."""
    if value is None or limits is None:
        return "<td></td>"
    low, high = limits
    middle, half = (value.mean - low) / (high - low) * 110, (value.error or 0) / (high - low) * 110
    return (
        f'<td data-value="{value.mean:.10g}"><svg class="whisker" viewBox="0 0 110 16" aria-hidden="true">'
        '<line x1="0" x2="110" y1="8" y2="8" stroke="#e3e8ef"/>'
        f'<line x1="{middle - half:.1f}" x2="{middle + half:.1f}" y1="8" y2="8" stroke="{colour}" stroke-width="2"/>'
        f'<circle cx="{middle:.1f}" cy="8" r="3.5" fill="{colour}"/></svg></td>'
    )


def overview(tables: Sequence[TaskTable], methods: Sequence[str], look: Look) -> str:
    """Methods against tasks: mean PSNR of the estimate.

    Args:
        tables: One for each task.
        methods: All methods in order.
        look: Colour of each.
    """
    head = "<th>Method</th>" + "".join(
        f'<th data-column="{escape(table.task)}">{escape(table.task)}</th>' for table in tables
    )
    rows = []
    for method in methods:
        cells = "".join(_heat(table, method) for table in tables)
        name = f'<td data-value="{escape(method)}">{method_cell(method, look)}</td>'
        rows.append(f'<tr data-method="{escape(method)}">{name}{cells}</tr>')
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _heat(table: TaskTable, method: str) -> str:
    row = next((row for row in table.rows if row.method == method), None)
    value = row.scores["psnr_estimate"] if row else None
    column = f'data-column="{escape(table.task)}"'
    if row is None or value is None:
        return f"<td {column}>–</td>"
    highest = best(table, "psnr_estimate")
    error = "" if value.error is None else f' <span class="pm">± {value.error:.2f}</span>'
    if highest is None or not is_full(row, table):
        return f'<td {column} data-value="{value.mean:.10g}">{value.mean:.2f}{error}{_count(row, table)}</td>'
    depth = max(0.0, 1 - (highest - value.mean) / 6)  # white from 6 dB below the best
    kind = "best" if value.mean >= highest - 1e-12 else ""
    shade = f"background:rgba(43,140,87,{0.3 * depth:.3f})"
    return (
        f'<td {column} class="{kind}" data-value="{value.mean:.10g}" style="{shade}" '
        f'title="{escape(table.task)}: {highest - value.mean:.2f} dB below the best">{value.mean:.2f}{error}</td>'
    )


def stopping_table(tables: Sequence[TaskTable], runs: Sequence[Run], methods: Sequence[str], look: Look) -> str:
    """Regret, and what ended the fits.

    Args:
        tables: One for each task.
        runs: All runs.
        methods: All methods in order.
        look: Colour of each.

    Returns:
        The table; empty where nothing was fitted.
    """
    reasons: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for run in runs:
        reasons[run.task, run.method][str(run.summary.get("stopped_by"))] += 1
    rows = []
    for table in tables:
        for row in table.rows:
            counts = reasons[table.task, row.method]
            if set(counts) == {"baseline"}:
                continue
            why = ", ".join(f"{reason} ({count})" for reason, count in counts.most_common())
            worst = _NONE if row.worst_regret is None else f"<td>{row.worst_regret:.2f}</td>"
            rows.append(
                f'<tr data-method="{escape(row.method)}" data-task="{escape(table.task)}">'
                f'<td data-value="{escape(row.method)}">{method_cell(row.method, look)}</td>'
                f'<td class="text">{escape(table.task)}</td>{_mean(row.regret, 2)}{worst}{_mean(row.iterations, 0)}'
                f'<td class="text">{escape(why)}</td></tr>'
            )
            rows += [
                _recorded_row(*found, row.method, table.task, look) for found in _recorded(runs, table.task, row.method)
            ]
    if not rows:
        return ""
    head = '<th>Method</th><th class="text">Task</th><th>Mean regret (dB)</th><th>Worst (dB)</th><th>Iterations</th>'
    return (
        f'<table><thead><tr>{head}<th class="text">Stopped by</th></tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )


def _recorded(runs: Sequence[Run], task: str, method: str) -> list[tuple[str, list[float]]]:
    """Regrets of the stopping rules that only recorded what they would have chosen, by rule."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for run in runs:
        if (run.task, run.method) == (task, method):
            for rule, chosen in (run.summary.get("recorded") or {}).items():
                if isinstance(chosen.get("regret_db"), int | float):
                    found[str(rule)].append(float(chosen["regret_db"]))
    return sorted(found.items())


def _recorded_row(rule: str, regrets: list[float], method: str, task: str, look: Look) -> str:
    mean = sum(regrets) / len(regrets)
    return (
        f'<tr data-method="{escape(method)}" data-task="{escape(task)}">'
        f'<td data-value="{escape(method)}">{method_cell(method, look)}</td><td class="text">{escape(task)}</td>'
        f'<td data-value="{mean:.10g}">{mean:.2f}</td><td>{max(regrets):.2f}</td>{_NONE}'
        f'<td class="text">{escape(rule)}, recorded only ({len(regrets)})</td></tr>'
    )
