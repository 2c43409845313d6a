"""A grid of images in a figure, pixel by pixel: nothing is interpolated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks._quality_figures import DPI

_IN_A_LINE = 6  # images; more are too small to be judged
_LEAST = 150  # pixels of an image's width; smaller images are enlarged by a whole number
_GAP = 6  # pixels between images


@dataclass(frozen=True)
class Tile:
    """An image of a grid: its title, ``[H, W]`` or ``[H, W, 3]``, and its PSNR in dB; without an image, a gap."""

    title: str
    image: np.ndarray | None
    psnr: float | None = None


@dataclass(frozen=True)
class Block:
    """The images of one measurement: a title, the images, and the values shown as black and white."""

    title: str
    tiles: list[Tile]
    limits: tuple[float, float]


def draw_grid(blocks: Sequence[Block]) -> Any:
    """Draw blocks one below the other, each of as many lines as its images need.

    Args:
        blocks: At least one, with at least one image.

    Returns:
        The figure; its pixels are those of the images at :data:`~benchmarks._quality_figures.DPI`.
    """
    from matplotlib.figure import Figure

    lines = [math.ceil(len(block.tiles) / _IN_A_LINE) for block in blocks]
    columns = max(math.ceil(len(block.tiles) / count) for block, count in zip(blocks, lines, strict=True))
    sizes = [_size(block) for block in blocks]
    step = max(width for _, width in sizes) + _GAP
    letters = max(11, step // 13)  # height in pixels
    heights = [count * (high + 2 * letters) + 2 * letters for (high, _), count in zip(sizes, lines, strict=True)]
    figure = Figure(figsize=(columns * step / DPI, sum(heights) / DPI), dpi=DPI)
    top = sum(heights)
    for block, (high, wide), height in zip(blocks, sizes, heights, strict=True):
        _text(figure, block.title, columns * step / 2, top - letters, letters + 2, weight="bold")
        for place, tile in enumerate(block.tiles):
            line, column = divmod(place, columns)
            left = column * step + (step - wide) // 2
            bottom = top - 2 * letters - (line + 1) * (high + 2 * letters)
            _draw(figure, tile, block.limits, (left, bottom, wide, high), letters)
        top -= height
    return figure


def _size(block: Block) -> tuple[int, int]:
    """Height and width in pixels of a block's images as they are drawn."""
    height, width = next(tile.image.shape[:2] for tile in block.tiles if tile.image is not None)
    return height * _factor(width), width * _factor(width)


def _factor(width: int) -> int:
    return max(1, math.ceil(_LEAST / width))


def _draw(figure: Any, tile: Tile, limits: tuple[float, float], place: tuple[int, int, int, int], letters: int) -> None:
    left, bottom, wide, high = place
    _text(figure, tile.title, left + wide / 2, bottom + high + letters, letters)
    if tile.image is None:
        return
    low, top = limits
    levels = np.round(255 * np.clip((tile.image - low) / ((top - low) or 1.0), 0, 1)).astype(np.uint8)
    levels = levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=-1)
    factor = _factor(levels.shape[1])
    figure.figimage(np.repeat(np.repeat(levels, factor, 0), factor, 1), left, bottom, origin="upper")
    if tile.psnr is not None:
        box = {"boxstyle": "round,pad=0.2", "fc": "black", "ec": "none", "alpha": 0.65}
        at = (left + 0.6 * letters, bottom + letters)
        _text(figure, f"{tile.psnr:.1f} dB", *at, letters - 1, ha="left", color="white", bbox=box)


def _text(figure: Any, text: str, x: float, y: float, size: int, ha: str = "center", **style: Any) -> None:
    """Write a line of text; position and height in pixels."""
    width, height = (float(side) * DPI for side in figure.get_size_inches())
    figure.text(x / width, y / height, text, ha=ha, va="center", fontsize=size * 72 / DPI, **style)
