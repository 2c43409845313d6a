"""Sections of the page about single runs, their settings and versions."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from html import escape

import yaml

from dip_lightning.compare.report.collect import Run
from dip_lightning.compare.report.page_content import COLUMNS, Content


def runs_section() -> str:
    """Table of all runs; its rows are filled by the page's script."""
    head = "".join(
        f'<th data-key="{column["key"]}"{" class=text" if column["digits"] == -1 else ""}>{column["title"]}</th>'
        for column in COLUMNS
    )
    return (
        f'<section id="runs"><h2>All runs</h2><div class="scroll"><table id="all-runs"><thead><tr>{head}</tr></thead>'
        '<tbody></tbody></table></div><div class="pages"><button type="button" id="earlier">earlier</button>'
        '<span id="shown"></span><button type="button" id="later">later</button></div></section>'
    )


def settings_section(content: Content, methods: Sequence[str]) -> str:
    """Configuration of each method on each task, and versions and devices of the runs."""
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
