"""What loggers get beside the losses: configuration, scores, pictures, and the row that goes into tables."""

from __future__ import annotations

import json
from typing import Any

import pytorch_lightning as pl

from dip_lightning.callbacks._image_logging import log_image, to_grey_levels
from dip_lightning.callbacks.pictures import Pictures, log_spaced
from dip_lightning.callbacks.preview import displayed
from dip_lightning.callbacks.result_writer import run_folders
from dip_lightning.callbacks.wandb_run import is_wandb
from dip_lightning.hooks import callbacks_of
from dip_lightning.methods.base import BaseDIP
from dip_lightning.records import summary_row
from dip_lightning.run_folder import SUMMARY

_PICTURES = 10


class LoggerRecord(pl.Callback):
    """Give every logger of the trainer the whole record of a fit, and close W&B's run.

    All values stand on the axis ``iteration``, the number of optimiser steps. Names of metrics hold no measurement
    ids, so that runs can be drawn over each other. The command line adds this callback where there are loggers.

    Args:
        config: The resolved configuration, or ``None``.
    """

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        self.config = config
        self._steps: set[int] = set()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the configuration; choose when pictures are logged, unless ``Pictures`` logs its own."""
        loggers: list[Any] = trainer.loggers
        for logger in loggers:
            if self.config is not None:
                logger.log_hyperparams(self.config)
            if is_wandb(logger):
                logger.experiment.define_metric("*", step_metric="iteration", step_sync=True)
                if isinstance(pl_module, BaseDIP):
                    add_tag(logger.experiment, pl_module.measurement.task)
        if isinstance(pl_module, BaseDIP) and not callbacks_of(trainer, Pictures):
            self._steps = log_spaced(_PICTURES, pl_module.outer_steps)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log what callbacks recorded, when Lightning logs the losses; and now and then a picture."""
        if not isinstance(pl_module, BaseDIP):
            return
        if (batch_idx + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            running = {name: pl_module.mean_of_running(value.float()) for name, value in pl_module.record.items()}
            others = {name: value for name, value in running.items() if name not in pl_module.terms}
            others.pop("loss", None)
            clock = {"iteration": float(pl_module.iteration), "seconds": float(pl_module.seconds)}
            pl_module.log_dict({**others, **clock})
        if pl_module.outer_step in self._steps and pl_module.stopped_by != "nan":
            _log_pictures(trainer, pl_module)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Log the final row, and close W&B's run: the next fit of this process gets its own."""
        folders = run_folders(trainer)
        path = folders[0].path / SUMMARY if folders else None
        row = summary_row(json.loads(path.read_text(encoding="utf-8"))) if path and path.exists() else {}
        loggers: list[Any] = trainer.loggers
        for logger in loggers:
            _log_row(logger, row, pl_module)
            if is_wandb(logger):
                logger.experiment.finish()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close W&B's run as a failed one: the next fit of this process would go on with it."""
        loggers: list[Any] = trainer.loggers
        for logger in loggers:
            if is_wandb(logger):
                logger.experiment.finish(exit_code=1)


def _log_row(logger: Any, row: dict[str, Any], pl_module: pl.LightningModule) -> None:
    if is_wandb(logger):
        logger.experiment.summary.update(row)
    elif row:
        numbers = {f"final/{name}": float(value) for name, value in row.items() if isinstance(value, int | float)}
        logger.log_metrics(numbers, step=getattr(pl_module, "iteration", None))
        logger.save()


def add_tag(run: Any, task: str) -> None:
    """Tag W&B's run with the task, which is known only now, unless it has the tag.

    Args:
        run: W&B's run.
        task: The tag; its first 64 characters count.
    """
    tags = tuple(getattr(run, "tags", None) or ())
    if task[:64] not in tags:
        run.tags = (*tags, task[:64])


def _log_pictures(trainer: pl.Trainer, pl_module: BaseDIP) -> None:
    measurement = pl_module.measurement
    for member, image in enumerate(pl_module.current_estimate.float().cpu().numpy()):
        name = "estimate" if measurement.batch_size == 1 else f"estimate_{member}"
        levels = to_grey_levels(displayed(image, measurement), measurement.value_range)
        for logger in trainer.loggers:
            log_image(logger, name, levels, pl_module.iteration)
