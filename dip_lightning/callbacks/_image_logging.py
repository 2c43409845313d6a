"""How an image reaches a file and whatever logger takes images: the one place that knows their differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import CSVLogger

from dip_lightning.run_folder import written_whole


def grey_range(shown: np.ndarray, value_range: tuple[float, float] | None) -> tuple[float, float]:
    """Say which values are black and white.

    Args:
        shown: ``[H, W]`` or ``[H, W, 3]``, finite.
        value_range: The measurement's; ``None`` goes from 0, or the image's minimum if that is lower, to its maximum.

    Returns:
        Lowest and highest value; equal where a constant image says no more.
    """
    return value_range or (min(0.0, float(shown.min())), float(shown.max()))


def to_grey_levels(shown: np.ndarray, value_range: tuple[float, float] | None) -> np.ndarray:
    """Map values to 0..255.

    Args:
        shown: ``[H, W]`` or ``[H, W, 3]``.
        value_range: Values of black and white; see :func:`grey_range`.

    Returns:
        The same shape in ``uint8``; what is not finite is black.
    """
    shown = np.nan_to_num(shown, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = grey_range(shown, value_range)
    span = high - low if high > low else 1.0
    levels: np.ndarray = np.round(255 * np.clip((shown - low) / span, 0, 1)).astype(np.uint8)
    return levels


def write_png(path: Path, levels: np.ndarray) -> None:
    """Write a picture, whole or not at all.

    Args:
        path: Where; its folder is made.
        levels: ``[H, W]`` or ``[H, W, 3]``, ``uint8``.
    """
    from PIL import Image

    with written_whole(path) as temporary:
        Image.fromarray(levels).save(temporary, format="PNG")


def log_image(logger: Any, name: str, levels: np.ndarray, step: int) -> bool:
    """Hand a picture to a Lightning logger, if it takes pictures.

    Args:
        logger: ``WandbLogger`` and others with ``log_image``; ``TensorBoardLogger`` and others whose experiment has
            ``add_image``; ``CSVLogger``, which gets files in a folder ``pictures``; any other is left alone.
        name: Name of the picture.
        levels: ``[H, W]`` or ``[H, W, 3]``, ``uint8``.
        step: Optimiser steps so far.

    Returns:
        Whether it took it.
    """
    if hasattr(logger, "log_image"):
        logger.log_image(key=name, images=[levels], step=step)
        return True
    experiment = getattr(logger, "experiment", None)
    if experiment is not None and hasattr(experiment, "add_image"):
        experiment.add_image(name, levels, step, dataformats="HW" if levels.ndim == 2 else "HWC")
        return True
    if isinstance(logger, CSVLogger):
        write_png(Path(logger.log_dir) / "pictures" / f"{name}_{step:06d}.png", levels)
        return True
    return False
