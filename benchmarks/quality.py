"""Quality of every method on every task, with real data at sizes for two CPU cores.

    python -m benchmarks quality --workers 2
    python -m benchmarks quality --collect --root runs/compare/cpu

The comparison is that of a file of `dip-lightning compare`, which also runs it: finished runs are kept, interrupted
ones go on. Then, or with ``--collect`` only, its run folders become ``benchmarks/results/quality.json``, the tables of
``docs/results.md`` and the pictures in ``docs/images/quality``. Runs that are missing are shown as a dash and listed.
Needs DIP_LIGHTNING_DATA. Nothing that a fit uses looks at the target.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks import _pages, _quality_tables
from benchmarks._common import RESULTS, write_result
from benchmarks._quality_collect import finished_runs, record
from benchmarks._quality_figures import colours, draw_curves
from benchmarks._quality_images import draw_images
from dip_lightning.compare.command import INTERRUPTED
from dip_lightning.compare.command import main as compare
from dip_lightning.compare.plan import Plan, load_plan

ROOT = Path(__file__).parents[1]


def collect(plan: Plan, results: Path, pictures: Path, page: Path) -> dict[str, Any]:
    """Write record, pictures and tables of a comparison.

    Args:
        plan: The comparison.
        results: Folder of the record.
        pictures: Folder of the pictures.
        page: Page whose markers are filled.

    Returns:
        The record.
    """
    content = record(plan)
    print(write_result(_quality_tables.NAME, content, results))
    for path in draw(plan, content, pictures):
        print(path)
    _pages.fill_page(page, _quality_tables.makers(content, pictures))
    print(page)
    return content


def draw(plan: Plan, content: dict[str, Any], folder: Path) -> list[Path]:
    """Draw the pictures of each task.

    Args:
        plan: The comparison.
        content: Its record.
        folder: Where to.

    Returns:
        The files.
    """
    runs, _ = finished_runs(plan)
    methods = list(dict.fromkeys(entry.name for entry in plan.baselines + plan.methods))
    problems, drawn = content["problems"], []
    for task in dict.fromkeys(problem["task"] for problem in problems):
        own = [problem for problem in problems if problem["task"] == task]
        names = [problem["name"] for problem in own]
        images, curves = folder / f"{task}_images.png", folder / f"{task}_curves.png"
        if draw_images([run for run in runs if run.task in names], methods, names, images):
            drawn.append(images)
        if draw_curves(own, colours(problems), curves):
            drawn.append(curves)
    return drawn


def main() -> None:
    """Run the comparison as far as it is not finished, and collect it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "compare" / "cpu.yaml")
    parser.add_argument("--root", type=Path, help="folder of the run folders, instead of the file's `root`")
    parser.add_argument("--workers", type=int, default=2, help="processes at once")
    parser.add_argument("--collect", action="store_true", help="run nothing, collect what is finished")
    options = parser.parse_args()
    if not options.collect:
        root = [] if options.root is None else ["--root", str(options.root)]
        code = compare(["--config", str(options.config), "--workers", str(options.workers), *root])
        if code == INTERRUPTED:
            raise SystemExit(code)
    plan = load_plan(options.config, options.root)
    content = collect(plan, RESULTS, _quality_tables.PICTURES, _quality_tables.PAGE)
    for job in content["missing"]:
        print(f"  {job['state']}: {job['method']}, {job['data']} {job['index'] or ''} {job['error']}".rstrip())


if __name__ == "__main__":
    main()
