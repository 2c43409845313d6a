"""Image grids of the quality benchmark: initial image, each method's estimate, target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks._quality_collect import is_baseline
from benchmarks._quality_figures import _WIDTH, _save
from dip_lightning.compare.report.collect import Run
from dip_lightning.run_folder import RECONSTRUCTION

_IN_A_LINE = 6  # images; more are too small to be judged
_BLOCKS = 2  # measurements shown


@dataclass(frozen=True)
class Tile:
    """An image of a grid: its title, ``[H, W]`` or ``[H, W, 3]``, and its PSNR in dB; without an image, a gap."""

    title: str
    image: np.ndarray | None
    psnr: float | None = None


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
    blocks = []
    for problem, measurement in _shown(runs, problems):
        own = {run.method: run for run in sorted(runs, key=lambda r: -r.seed) if _is(run, problem, measurement)}
        tiles, limits = _tiles([own[method] for method in methods if method in own])
        if tiles:
            blocks.append((f"{problem}: {measurement}", tiles, limits))
    if blocks:
        _save(_figure(blocks), path)
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


def _figure(blocks: Sequence[tuple[str, list[Tile], tuple[float, float]]]) -> Any:
    from matplotlib.figure import Figure

    lines = [math.ceil(len(tiles) / _IN_A_LINE) for _, tiles, _ in blocks]
    columns = max(math.ceil(len(tiles) / count) for (_, tiles, _), count in zip(blocks, lines, strict=True))
    side = _WIDTH / columns
    heights = [count * (side * _aspect(tiles) + 0.22) + 0.3 for (_, tiles, _), count in zip(blocks, lines, strict=True)]
    figure = Figure(figsize=(_WIDTH, sum(heights)))
    parts: Any = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (title, tiles, limits), count, height in zip(parts, blocks, lines, heights, strict=True):
        axes = part.subplots(count, columns, squeeze=False)
        part.subplots_adjust(0.003, 0.004, 0.997, 1 - 0.5 / height, 0.02, 0.22 / (side * _aspect(tiles)))
        part.suptitle(title, fontsize=11, fontweight="bold", y=1 - 0.02 / height, va="top")
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, tile in zip(axes.flat, tiles, strict=False):
            _draw(axis, tile, limits)
    return figure


def _aspect(tiles: Sequence[Tile]) -> float:
    shape = next((tile.image.shape for tile in tiles if tile.image is not None), (1, 1))
    return shape[0] / shape[1]


def _draw(axis: Any, tile: Tile, limits: tuple[float, float]) -> None:
    axis.set_title(tile.title, fontsize=10, pad=3)
    if tile.image is None:
        return
    low, high = limits
    levels = np.clip((tile.image - low) / ((high - low) or 1.0), 0, 1)
    axis.imshow(levels, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
    if tile.psnr is not None:
        box = {"boxstyle": "round,pad=0.2", "fc": "black", "ec": "none", "alpha": 0.65}
        style = {"fontsize": 9.5, "color": "white", "bbox": box, "transform": axis.transAxes}
        axis.text(0.03, 0.035, f"{tile.psnr:.1f} dB", ha="left", va="bottom", **style)
