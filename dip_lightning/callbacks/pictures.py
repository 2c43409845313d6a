"""Pictures of the estimate as it forms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_warn

from dip_lightning.callbacks._image_logging import log_image, to_grey_levels, write_png
from dip_lightning.callbacks.preview import displayed
from dip_lightning.errors import ConfigurationError
from dip_lightning.hooks import callbacks_of

if TYPE_CHECKING:
    from dip_lightning.measurement import Measurement
    from dip_lightning.methods.base import BaseDIP


class Pictures(pl.Callback):
    """Write the current estimate at chosen outer steps: to the run folder, and to every logger that takes images.

    Files are ``pictures/iteration_000123.png`` with the number of optimiser steps. Grey levels span the measurement's
    value range, or the image's own where it has none, 0 included; complex images are shown by their magnitude.

    Args:
        at: Outer steps to show. ``None`` spreads ``count`` of them evenly in the logarithm, first and last included.
        count: How many, where ``at`` is not given.

    Raises:
        ConfigurationError: If a step or the count is below 1.
    """

    def __init__(self, at: list[int] | None = None, count: int = 10) -> None:
        if count < 1 or any(step < 1 for step in at or []):
            raise ConfigurationError(f"count={count} and every step of at={at} must be at least 1.")
        self.at = at
        self.count = count
        self._steps: set[int] = set()
        self._roots: list[Path] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Choose the outer steps and the folders."""
        self._steps = set(self.at) if self.at is not None else log_spaced(self.count, pl_module.outer_steps)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._steps = set()  # a trial leaves nothing behind
        self._roots = picture_folders(trainer, pl_module.measurement)

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, pl_module: BaseDIP, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the pictures, if it is time. A disk that is full costs the picture, not the fit."""
        if pl_module.outer_step not in self._steps or pl_module.stopped_by == "nan" or not trainer.is_global_zero:
            return
        measurement, step = pl_module.measurement, pl_module.iteration
        images = pl_module.current_estimate.float().cpu().numpy()
        for member, (image, root) in enumerate(zip(images, self._roots, strict=True)):
            levels = to_grey_levels(displayed(image, measurement), measurement.value_range)
            name = "estimate" if len(images) == 1 else f"estimate_{member}"  # no ids: runs are drawn over each other
            for logger in trainer.loggers:
                log_image(logger, name, levels, step)
            try:
                write_png(root / f"iteration_{step:06d}.png", levels)
            except OSError as error:
                rank_zero_warn(f"No picture of iteration {step} in {root}: {error}")


def log_spaced(count: int, last: int) -> set[int]:
    """Steps from 1 to ``last``, evenly spread in the logarithm; fewer than ``count`` where they coincide."""
    if count == 1:
        return {last}
    return {int(step) for step in np.geomspace(1, last, count).round()}


def picture_folders(trainer: pl.Trainer, measurement: Measurement) -> list[Path]:
    """Folder of each member's pictures: in its run folder, else under ``default_root_dir``."""
    for callback in callbacks_of(trainer, pl.Callback):
        folders: list[Path] | None = getattr(callback, "folders", None)
        if folders:
            return [Path(folder) / "pictures" for folder in folders]
    root = Path(trainer.default_root_dir) / "pictures"
    return [root] if measurement.batch_size == 1 else [root / name for name in measurement.ids]
