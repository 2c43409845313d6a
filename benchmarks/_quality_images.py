"""Image grids of the quality benchmark: initial image, each method's estimate, target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks._quality_figures import MOST_BYTES, save
from benchmarks._quality_grid import Block, Tile, draw_grid
from benchmarks._quality_runs import is_baseline
from dip_lightning.compare.report.collect import Run
from dip_lightning.run_folder import RECONSTRUCTION

_BLOCKS = 2  # measurements shown


def draw_images(runs: Sequence[Run], methods: Sequence[str], problems: Sequence[str], path: Path) -> bool:
    """Draw what each method makes of two measurements of a task.

    Args:
        runs: Runs of the task; their ``task`` is the name of the problem.
        methods: All methods and baselines in the order wanted; those that were not run on a problem are left out.
        problems: Names of the problems in the order wanted.
        path: PNG file.

    Returns:
        Whether there was anything to draw.
    """
    blocks: list[Block] = []
    for problem, measurement in _shown(runs, problems):
        own = {run.method: run for run in sorted(runs, key=lambda r: -r.seed) if _is(run, problem, measurement)}
        tiles, limits = _tiles([own[method] for method in methods if method in own])
        if tiles:
            blocks.append(Block(f"{problem}: {measurement}", tiles, limits))
    while blocks and save(draw_grid(blocks), path) > MOST_BYTES and len(blocks) > 1:
        blocks.pop()
    return bool(blocks)


def _is(run: Run, problem: str, measurement: str) -> bool:
    return run.task == problem and run.measurement == measurement


def _shown(runs: Sequence[Run], problems: Sequence[str]) -> list[tuple[str, str]]:
    """The first measurement of the first and of the last problem; of a single problem, two measurements."""
    found = {name: sorted({run.measurement for run in runs if run.task == name}) for name in problems}
    there = [name for name in problems if found[name]]
    if len(there) == 1:
        return [(there[0], measurement) for measurement in found[there[0]][:_BLOCKS]]
    return [(name, found[name][0]) for name in dict.fromkeys([*there[:1], *there[-1:]])]


def _tiles(runs: Sequence[Run]) -> tuple[list[Tile], tuple[float, float]]:
    tiles, ends, limits = [], {}, None
    for run in runs:
        images, attributes = read_images(run.folder / RECONSTRUCTION)
        if "estimate" not in images:
            tiles.append(Tile(run.method, None))
            continue
        if limits is None or "target" not in ends:
            limits = display_limits(images.get("target", images["estimate"]), attributes)
        if "initial" not in ends and "initial" in images:
            ends["initial"] = Tile("initial", images["initial"], run.score("psnr", "initial"))
        if "target" not in ends and "target" in images:
            ends["target"] = Tile("target", images["target"])
        if not (is_baseline(run) and (run.summary.get("settings") or {}).get("baseline") == "Initial"):
            tiles.append(Tile(run.method, images["estimate"], run.score("psnr", "estimate")))
    first, last = ([ends[name]] if name in ends else [] for name in ("initial", "target"))
    return [*first, *tiles, *last], limits or (0.0, 1.0)


def read_images(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what is shown of ``reconstruction.h5``.

    Args:
        path: The file.

    Returns:
        ``initial``, ``estimate`` and ``target``, ``[H, W]`` or ``[H, W, 3]``, and the file's attributes; nothing if
        it cannot be read.
    """
    try:
        with h5py.File(path) as file:
            attributes = dict(file.attrs)
            arrays = {name: np.asarray(file[name]) for name in ("initial", "estimate", "target") if name in file}
    except OSError:
        return {}, {}
    return {name: _displayed(array, bool(attributes.get("magnitude"))) for name, array in arrays.items()}, attributes


def _displayed(image: np.ndarray, magnitude: bool) -> np.ndarray:
    if magnitude:
        return np.asarray(np.hypot(image[0], image[1]))
    return np.moveaxis(image, 0, -1) if image.shape[0] == 3 else image[0]


def display_limits(image: np.ndarray, attributes: dict[str, Any]) -> tuple[float, float]:
    """Grey levels shown as black and white: the range of values, or up to what 0.2 % of the pixels exceed."""
    known = attributes.get("value_range")
    if known is not None:
        return float(known[0]), float(known[1])
    return 0.0, float(np.quantile(image, 0.998)) or 1.0
