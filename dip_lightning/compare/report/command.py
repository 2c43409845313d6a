"""``dip-lightning report``: one page, and tables, from the run folders under a root."""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from dip_lightning.compare.jobs import COMPARISON, read_json, safe
from dip_lightning.compare.report.collect import Run, collect
from dip_lightning.compare.report.curves import task_curves
from dip_lightning.compare.report.images import Strip, task_strips
from dip_lightning.compare.report.method_names import methods_in_order, named
from dip_lightning.compare.report.page import render
from dip_lightning.compare.report.page_content import Content
from dip_lightning.compare.report.statistics import TaskTable, tables
from dip_lightning.compare.report.tables import runs_csv, task_csv, task_latex
from dip_lightning.errors import ConfigurationError, RunFolderError, near_match
from dip_lightning.run_folder import written_whole

PAGE = "report.html"
#: Size of all pictures on a page, so that it stays below 30 MB however many runs there are.
MOST_BYTES = 20e6


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: What follows ``report`` on the command line.

    Returns:
        0.
    """
    options = _parser().parse_args(arguments)
    page = write_report(options.root, options.output, options.reference, options.images, options.title)
    print(f"Report: {page}\nTables: {tables_folder(page)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dip-lightning report", description="Write one HTML page, CSV and LaTeX tables from finished runs."
    )
    parser.add_argument("root", type=Path, help="folder of run folders, at any depth")
    parser.add_argument("--output", type=Path, help=f"the page; default: <root>/{PAGE}")
    parser.add_argument("--reference", help="method that the others are compared with; default: the comparison's")
    parser.add_argument("--images", type=int, default=4, help="measurements shown as pictures for each task")
    parser.add_argument("--title", help="title of the page; default: the comparison's name")
    return parser


def write_report(
    root: Path, output: Path | None = None, reference: str | None = None, images: int = 4, title: str | None = None
) -> Path:
    """Write the page and, in a folder beside it, the tables.

    Args:
        root: Folder of run folders, at any depth.
        output: The page; ``<root>/report.html`` by default.
        reference: Method that the others are compared with; of several variants the first.
        images: Measurements shown as pictures for each task.
        title: Title of the page.

    Returns:
        The page.

    Raises:
        RunFolderError: If there are no runs, or the page cannot be written.
        ConfigurationError: If there is no such reference.
    """
    runs, failures = collect(root)
    known = read_json(root / COMPARISON) or {}
    order = [str(name) for name in known.get("methods") or []]
    methods = methods_in_order(runs, order)
    if reference is not None and named(methods, reference) is None:
        raise ConfigurationError(f"--reference {reference}: there is no such method.{near_match(reference, methods)}")
    contents = tables(runs, order, reference or known.get("reference"))
    by_task: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_task[run.task].append(run)
    content = Content(
        title=title or str(known.get("name") or root.resolve().name),
        root=root,
        runs=runs,
        failures=failures,
        tables=contents,
        curves={task: task_curves(members) for task, members in by_task.items()},
        strips=_strips(by_task, methods, images),
        order=order,
    )
    page = output or root / PAGE
    try:
        with written_whole(page) as temporary:
            temporary.write_text(render(content), encoding="utf-8")
        _write_tables(tables_folder(page), contents, runs)
    except OSError as error:
        raise RunFolderError(f"Cannot write {page} ({error.strerror}); set --output.") from error
    return page


def tables_folder(page: Path) -> Path:
    """Where the tables of a page are: ``report`` beside ``report.html``, ``<name>_tables`` beside another."""
    return page.with_name("report" if page.name == PAGE else f"{page.stem}_tables")


def _strips(by_task: dict[str, list[Run]], methods: Sequence[str], images: int) -> dict[str, list[Strip]]:
    left = MOST_BYTES
    strips: dict[str, list[Strip]] = {}
    for number, task in enumerate(sorted(by_task)):
        strips[task] = task_strips(by_task[task], methods, images, left / (len(by_task) - number))
        left -= sum(strip.size for strip in strips[task])
    return strips


def _write_tables(folder: Path, contents: Sequence[TaskTable], runs: Sequence[Run]) -> None:
    texts = {"runs.csv": runs_csv(runs)}
    names = _file_names([table.task for table in contents])
    for table in contents:
        texts[f"{names[table.task]}.csv"] = task_csv(table)
        texts[f"{names[table.task]}.tex"] = task_latex(table)
    for name, text in texts.items():
        with written_whole(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _file_names(tasks: Sequence[str]) -> dict[str, str]:
    """Names for files by task, with a hash where two would share one: cut, or with other signs replaced alike."""
    taken = Counter(safe(task) for task in tasks) + Counter(["runs"])
    return {
        task: safe(task) if taken[safe(task)] == 1 else f"{safe(task)}_{sha256(task.encode()).hexdigest()[:6]}"
        for task in tasks
    }
