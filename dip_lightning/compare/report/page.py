"""The page itself: one file, no external host, everything from data escaped."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

import yaml

from dip_lightning.compare.report.collect import Failure, Run
from dip_lightning.compare.report.images import Strip
from dip_lightning.compare.report.page_tables import overview, stopping_table, task_table
from dip_lightning.compare.report.statistics import TaskTable, methods_in_order

_COLOURS = (
    "#1f5fbf",
    "#d1603d",
    "#2a8c57",
    "#8e4fb5",
    "#b8860b",
    "#c2366f",
    "#15889c",
    "#6b6f2b",
    "#7a4a2b",
    "#4a5568",
)
_DASHES = ("", "7 4", "2 3", "9 3 2 3")
_COLUMNS = [
    {"key": "task", "title": "Task", "digits": -1},
    {"key": "method", "title": "Method", "digits": -1},
    {"key": "measurement", "title": "Measurement", "digits": -1},
    {"key": "seed", "title": "Seed", "digits": 0},
    {"key": "psnr_estimate", "title": "PSNR (dB)", "digits": 2},
    {"key": "psnr_oracle", "title": "Oracle", "digits": 2},
    {"key": "ssim_estimate", "title": "SSIM", "digits": 3},
    {"key": "ssim_oracle", "title": "Oracle", "digits": 3},
    {"key": "iterations", "title": "Iterations", "digits": 0},
    {"key": "seconds", "title": "Seconds", "digits": 1},
    {"key": "stopped_by", "title": "Stopped by", "digits": -1},
    {"key": "folder", "title": "Folder", "digits": -1},
]


@dataclass(frozen=True)
class Content:
    """What goes onto the page.

    Attributes:
        title: Its title.
        root: Folder that was read.
        runs: All runs.
        failures: What failed.
        tables: One for each task.
        curves: Of each task, by method.
        strips: Pictures of each task.
        order: Methods as planned.
    """

    title: str
    root: Path
    runs: Sequence[Run]
    failures: Sequence[Failure]
    tables: Sequence[TaskTable]
    curves: dict[str, dict[str, Any]]
    strips: dict[str, list[Strip]]
    order: Sequence[str] = ()


def styles(methods: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and dashes of each method, all different for forty of them."""
    return {
        method: (_COLOURS[place % len(_COLOURS)], _DASHES[place // len(_COLOURS) % len(_DASHES)])
        for place, method in enumerate(methods)
    }


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
        _runs_section(),
        _settings_section(content, methods),
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
            f'<script type="application/json" id="data">{_json(_data(content, look))}</script>',
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
        "Bold: the best of a task. Shaded: how far from it.</p></section>"
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


def _runs_section() -> str:
    head = "".join(
        f'<th data-key="{column["key"]}"{" class=text" if column["digits"] == -1 else ""}>{column["title"]}</th>'
        for column in _COLUMNS
    )
    return (
        f'<section id="runs"><h2>All runs</h2><div class="scroll"><table id="all-runs"><thead><tr>{head}</tr></thead>'
        '<tbody></tbody></table></div><div class="pages"><button type="button" id="earlier">earlier</button>'
        '<span id="shown"></span><button type="button" id="later">later</button></div></section>'
    )


def _settings_section(content: Content, methods: Sequence[str]) -> str:
    trees = {(run.method, run.task): run.tree for run in content.runs}
    chosen: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for run in content.runs:
        if run.summary.get("settings"):
            chosen[run.method, run.task][json.dumps(run.summary["settings"], sort_keys=True)] += 1
    blocks = []
    for method, task in sorted(trees, key=lambda names: (methods.index(names[0]), names[1])):
        tree = trees[method, task]
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True) if tree else ""
        text += "".join(f"# used by {count} runs: {line}\n" for line, count in chosen[method, task].most_common(5))
        if text:
            name = f"{escape(method)} on {escape(task)}"
            blocks.append(f"<details><summary>{name}</summary><pre>{escape(text)}</pre></details>")
    return (
        f'<section id="settings"><h2>Settings and versions</h2>{"".join(blocks)}'
        f"<details class='paper'><summary>Versions and devices</summary>{_versions(content.runs)}</details></section>"
    )


def _versions(runs: Sequence[Run]) -> str:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for run in runs:
        for package, version in (run.summary.get("versions") or {}).items():
            found[str(package)][str(version)] += 1
        found["device"][str(run.summary.get("device", "unknown"))] += 1
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td class='text'>"
        + escape(", ".join(f"{version} ({count} runs)" for version, count in counts.most_common()))
        + "</td></tr>"
        for name, counts in sorted(found.items())
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _data(content: Content, look: dict[str, tuple[str, str]]) -> dict[str, Any]:
    return {
        "styles": look,
        "curves": content.curves,
        "columns": _COLUMNS,
        "runs": [_run_row(run, content.root) for run in content.runs],
    }


def _run_row(run: Run, root: Path) -> list[Any]:
    scores = [run.score("psnr", "estimate"), run.score("psnr", "oracle")]
    scores += [run.score("ssim", "estimate"), run.score("ssim", "oracle")]
    rounded = [None if score is None else round(score, 4) for score in scores]
    seconds = run.number("seconds")
    folder = run.folder.relative_to(root) if run.folder.is_relative_to(root) else run.folder
    known = [run.number("iterations"), None if seconds is None else round(seconds, 2), run.summary.get("stopped_by")]
    return [run.task, run.method, run.measurement, run.seed, *rounded, *known, str(folder)]


def _json(content: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
