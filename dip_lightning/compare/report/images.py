"""The image grid: target, initial, each method's estimate, and errors with a common colour scale."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from dip_lightning.compare.report.collect import Run
from dip_lightning.run_folder import RECONSTRUCTION

_LARGEST = 256  # pixels along a side of a picture on the page
_PNG_UP_TO = 96  # pixels; larger ones are JPEG


@dataclass(frozen=True)
class Tile:
    """A picture of the grid.

    Attributes:
        name: ``initial``, ``target`` or the method.
        picture: Data URI.
        error: Data URI of the error map, or ``None``.
        psnr: PSNR in dB, or ``None``.
        ssim: SSIM, or ``None``.
    """

    name: str
    picture: str
    error: str | None
    psnr: float | None
    ssim: float | None


@dataclass(frozen=True)
class Strip:
    """The pictures of one measurement.

    Attributes:
        measurement: Its id.
        tiles: Target, initial image, estimates.
        scale: Error at the end of the colour scale, in units of the image.
    """

    measurement: str
    tiles: list[Tile]
    scale: float

    @property
    def size(self) -> int:
        """Bytes on the page."""
        return sum(len(tile.picture) + len(tile.error or "") for tile in self.tiles)


def task_strips(runs: Sequence[Run], methods: Sequence[str], count: int, most_bytes: float) -> list[Strip]:
    """Pictures of some measurements of a task: those that most methods reconstructed, the lowest seed of each.

    Args:
        runs: Runs of one task.
        methods: Methods in the order wanted.
        count: How many measurements at most.
        most_bytes: Size at which to take no more.
    """
    by_measurement: defaultdict[str, dict[str, Run]] = defaultdict(dict)
    for run in sorted(runs, key=lambda run: run.seed):
        by_measurement[run.measurement].setdefault(run.method, run)
    names = sorted(by_measurement, key=lambda name: (-len(by_measurement[name]), name))[:count]
    strips: list[Strip] = []
    for name in sorted(names):
        strip = _strip(name, by_measurement[name], methods)
        if strip is not None and strip.size <= most_bytes:
            most_bytes -= strip.size
            strips.append(strip)
    return strips


def _strip(measurement: str, runs: dict[str, Run], methods: Sequence[str]) -> Strip | None:
    shown: dict[str, np.ndarray] = {}
    limits: tuple[float, float] | None = None
    for method in methods:
        if method in runs:
            images, limits = _read(runs[method], limits)
            if images:
                shown.setdefault("target", images["target"]) if "target" in images else None
                shown.setdefault("initial", images["initial"])
                shown[f"method {method}"] = images["estimate"]
    if limits is None:
        return None
    target = shown.pop("target", None)
    same = {name: image for name, image in shown.items() if target is not None and image.shape == target.shape}
    errors = {name: _grey(np.abs(image - target)) for name, image in same.items()}
    estimates = [error for name, error in errors.items() if name != "initial"]
    scale = float(np.quantile(np.concatenate([error.ravel() for error in estimates]), 0.995)) if estimates else 0.0
    tiles = [] if target is None else [Tile("target", encode(_levels(target, limits)), None, None, None)]
    for name, image in [("initial", shown.pop("initial")), *shown.items()]:
        method = name.removeprefix("method ")
        error = encode(colour(errors[name], scale)) if name in errors else None
        tiles.append(Tile(method, encode(_levels(image, limits)), error, *_scores(runs, method)))
    return Strip(measurement, tiles, scale)


def _scores(runs: dict[str, Run], name: str) -> tuple[float | None, float | None]:
    if name in runs:
        return runs[name].score("psnr", "estimate"), runs[name].score("ssim", "estimate")
    any_run = next(iter(runs.values()))
    return any_run.score("psnr", "initial"), any_run.score("ssim", "initial")


def _read(run: Run, limits: tuple[float, float] | None) -> tuple[dict[str, np.ndarray], tuple[float, float] | None]:
    try:
        with h5py.File(run.folder / RECONSTRUCTION) as file:
            attributes: dict[str, Any] = dict(file.attrs)
            images = {name: _shown(np.asarray(file[name]), attributes) for name in file if name in _WANTED}
    except (OSError, KeyError, ValueError):
        return {}, limits
    if not {"initial", "estimate"} <= images.keys():
        return {}, limits
    if limits is None:
        known = attributes.get("value_range")
        brightest = float(np.nanmax(images.get("target", images["estimate"]))) or 1.0
        limits = (0.0, brightest) if known is None else (float(known[0]), float(known[1]))
    return images, limits


_WANTED = ("initial", "estimate", "target")


def _shown(image: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
    """Turn ``[C, H, W]`` into what is shown: ``[H, W]`` or ``[H, W, 3]``, no larger than the page needs."""
    image = np.nan_to_num(image)
    if attributes.get("magnitude"):
        image = np.hypot(image[0], image[1])[None]
    elif attributes.get("value_range") is not None:
        image = np.clip(image, *attributes["value_range"])
    factor = -(-max(image.shape[-2:]) // _LARGEST)
    if factor > 1:  # means of blocks: nothing that was not measured is drawn
        height, width = (side // factor * factor for side in image.shape[-2:])
        blocks = image[:, :height, :width].reshape(len(image), height // factor, factor, width // factor, factor)
        image = blocks.mean((2, 4))
    return np.asarray(np.moveaxis(image, 0, -1) if len(image) == 3 else image[0], dtype=np.float32)


def displayed_levels(image: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
    """Turn an image of ``reconstruction.h5`` into grey levels or colours.

    Args:
        image: ``[C, H, W]``.
        attributes: Of the file: ``magnitude`` and ``value_range``.

    Returns:
        ``[H, W]`` or ``[H, W, 3]``, ``uint8``.
    """
    shown = _shown(image, attributes)
    known = attributes.get("value_range")
    limits = (0.0, float(shown.max()) or 1.0) if known is None else (float(known[0]), float(known[1]))
    return _levels(shown, limits)


def _grey(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else image.mean(-1)


def _levels(image: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    low, high = limits
    return np.asarray(np.round(255 * np.clip((image - low) / ((high - low) or 1.0), 0, 1)), dtype=np.uint8)


def colour(error: np.ndarray, scale: float) -> np.ndarray:
    """Colour an error map.

    Args:
        error: ``[H, W]``, not negative.
        scale: Error of the brightest colour.

    Returns:
        ``[H, W, 3]``, ``uint8``.
    """
    from matplotlib import colormaps

    colours = colormaps["inferno"](np.clip(error / (scale or 1.0), 0, 1), bytes=True)
    return np.asarray(colours[..., :3])


def encode(levels: np.ndarray) -> str:
    """Write a picture as a data URI: small ones as PNG, larger ones as JPEG.

    Args:
        levels: ``[H, W]`` or ``[H, W, 3]``, ``uint8``.
    """
    from PIL import Image

    memory = io.BytesIO()
    picture = Image.fromarray(levels)
    if max(levels.shape[:2]) <= _PNG_UP_TO:
        picture.save(memory, format="PNG", optimize=True)
        kind = "png"
    else:
        picture.save(memory, format="JPEG", quality=82)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(memory.getvalue()).decode()}"
