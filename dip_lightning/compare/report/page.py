"""The page itself: one file, no external host, everything from data escaped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from html import escape
from pathlib import Path

from dip_lightning.compare.report.collect import Failure
from dip_lightning.compare.report.images import Strip
from dip_lightning.compare.report.method_names import methods_in_order
from dip_lightning.compare.report.page_content import Content, as_json, styles
from dip_lightning.compare.report.page_runs import runs_section, settings_section
from dip_lightning.compare.report.page_tables import overview, stopping_table, task_table
from dip_lightning.compare.report.statistics import TaskTable


def render(content: Content) -> str:
    """Write the page.

    Args:
        content: What goes onto it.

    Returns:
        HTML, complete in itself.
    """
    methods = methods_in_order(content.runs, content.order)
    look = styles(methods)
    here = Path(__file__).parent
    sections = [
        _overview_section(content, methods, look),
        *(_task_section(table, content, look) for table in content.tables),
        _stopping_section(content, methods, look),
        _failure_section(content.failures),
        runs_section(),
        settings_section(content, methods),
    ]
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
            "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">",
            f"<title>{escape(content.title)}</title><style>{(here / 'page.css').read_text(encoding='utf-8')}</style>",
            f"</head><body>{_header(content, methods)}{_bar(content, methods, look)}<main>",
            *sections,
            f"</main>{_DIALOG}",
            f'<script type="application/json" id="data">{as_json(content, look)}</script>',
            f"<script>{(here / 'page.js').read_text(encoding='utf-8')}</script></body></html>",
        ]
    )


_DIALOG = (
    '<dialog aria-label="Picture"><div class="stage"><img alt=""></div><div class="legend"><p></p>'
    '<button data-do="previous">&#8592; previous</button><button data-do="next">next &#8594;</button>'
    '<button data-do="error">error (e)</button><button data-do="close">close (Esc)</button></div></dialog>'
)


def _header(content: Content, methods: Sequence[str]) -> str:
    measurements = len({(run.task, run.measurement) for run in content.runs})
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    facts = [
        (len(methods), "methods", ""),
        (len(content.tables), "tasks", ""),
        (measurements, "measurements", ""),
        (len({run.seed for run in content.runs}), "seeds", ""),
        (len(content.runs), "finished runs", ""),
        (len(content.failures), "failed runs", "alarm" if content.failures else ""),
    ]
    items = "".join(f'<li class="{kind}"><b>{number:,}</b>{name}</li>' for number, name, kind in facts)
    return (
        f'<header><h1>{escape(content.title)}</h1><div class="lead">{escape(str(content.root))} · {now}</div>'
        f'<ul class="facts">{items}</ul></header>'
    )


def _bar(content: Content, methods: Sequence[str], look: dict[str, tuple[str, str]]) -> str:
    chips = "".join(
        f'<button class="chip" type="button" aria-pressed="true" data-method="{escape(method)}">'
        f'<i style="border-color:{look[method][0]}"></i>{escape(method)}</button>'
        for method in methods
    )
    options = "".join(f'<option value="{escape(table.task)}">{escape(table.task)}</option>' for table in content.tables)
    return (
        '<div class="bar"><div><input type="search" id="search" placeholder="Filter" aria-label="Filter by words">'
        f'<select id="task" aria-label="Task"><option value="">all tasks</option>{options}</select>{chips}</div></div>'
    )


def _overview_section(content: Content, methods: Sequence[str], look: dict[str, tuple[str, str]]) -> str:
    return (
        '<section id="overview"><h2>At a glance</h2><div class="scroll">'
        f"{overview(content.tables, methods, look)}</div>"
        '<p class="note">Mean PSNR in dB of the estimate: what each method reports without looking at the target. '
        "Bold: the best of a task, and shaded, how far from it: of the methods that have all measurements or seeds. "
        "Others say how many they have (n = ...).</p></section>"
    )


def _task_section(table: TaskTable, content: Content, look: dict[str, tuple[str, str]]) -> str:
    task = escape(table.task)
    strips = "".join(_strip(strip) for strip in content.strips.get(table.task, []))
    pictures = f"<h3>Pictures</h3>{strips}<p class='note'>{_PICTURES}</p>" if strips else ""
    unit = "measurements (mean over their seeds)" if table.unit == "measurements" else "seeds of the one measurement"
    return (
        f'<section data-task="{task}"><h2>{task}</h2><div class="scroll">{task_table(table, look)}</div>'
        f'<p class="note">Mean ± standard error over {unit}. Oracle: the best PSNR of the fit, chosen with the target; '
        f"not a result. Difference: PSNR less that of {escape(table.reference)}, paired, with 95 % confidence "
        "interval; coloured where the interval excludes zero. Wins: how often no method was better.</p>"
        '<div class="plots"><h3>PSNR over the fit</h3><div class="controls"><select name="axis" aria-label="Horizontal '
        'axis"><option value="iteration">against iterations</option><option value="seconds">against seconds</option>'
        '</select> <select name="log" aria-label="Scale"><option value="false">linear</option>'
        '<option value="true">logarithmic</option></select></div></div>'
        f'<div class="plot" data-task="{task}"></div><p class="note">Mean over runs, band of one standard deviation; '
        "circles where a run's estimate was taken. Horizontal lines: methods without iterations.</p>"
        f"{pictures}</section>"
    )


_PICTURES = (
    "Below each image its absolute error, on one colour scale for all methods. Click to enlarge; arrow keys flip."
)


def _strip(strip: Strip) -> str:
    tiles = []
    for tile in strip.tiles:
        scores = "" if tile.psnr is None else f"{tile.psnr:.2f} dB"
        scores += "" if tile.ssim is None else f" · {tile.ssim:.3f}"
        error = f'<img alt="error of {escape(tile.name)}" src="{tile.error}">' if tile.error else ""
        method = "" if tile.name in {"initial", "target"} else f' data-method="{escape(tile.name)}"'
        tiles.append(
            f'<figure class="tile"{method}><button type="button" aria-label="enlarge {escape(tile.name)}">'
            f'<img alt="{escape(tile.name)}" src="{tile.picture}">{error}</button>'
            f"<figcaption><b>{escape(tile.name)}</b>{scores}</figcaption></figure>"
        )
    scale = f'<span class="scale">error 0 <i></i> {strip.scale:.3g}</span>' if strip.scale else ""
    name = escape(strip.measurement)
    return f'<div class="strip"><h4>{name}{scale}</h4><div class="tiles">{"".join(tiles)}</div></div>'


def _stopping_section(content: Content, methods: Sequence[str], look: dict[str, tuple[str, str]]) -> str:
    table = stopping_table(content.tables, content.runs, methods, look)
    if not table:
        return ""
    return (
        f'<section id="stopping"><h2>Stopping</h2><div class="scroll">{table}</div><p class="note">Regret: PSNR of the '
        "oracle less that of the estimate, what stopping at another iteration could have gained.</p></section>"
    )


def _failure_section(failures: Sequence[Failure]) -> str:
    if not failures:
        return ""
    rows = "".join(
        f'<tr data-method="{escape(f.method)}"><td>{escape(f.method)}</td><td class="text">{escape(f.data)}</td>'
        f'<td>{f.seed}</td><td class="wide"><details><summary>{escape(f.error[:300])}</summary>'
        f"<pre>{escape(f.trace or 'no traceback')}</pre></details></td></tr>"
        for f in failures[:500]
    )
    more = f"<p class='note'>{len(failures) - 500} more.</p>" if len(failures) > 500 else ""
    head = '<tr><th>Method</th><th class="text">Data</th><th>Seed</th><th class="text">Error</th></tr>'
    return (
        f'<section id="failures"><h2>Failed</h2><div class="scroll"><table><thead>{head}</thead><tbody>{rows}</tbody>'
        f"</table></div>{more}</section>"
    )
