"""The record of a fit: the run folder of each member."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from dip_lightning.callbacks.member_record import member_images, member_summary
from dip_lightning.callbacks.metric_rows import MetricRows
from dip_lightning.callbacks.preview import preview_figure, write_prediction
from dip_lightning.callbacks.repetitions import write_repetitions
from dip_lightning.callbacks.trainer_limits import ended_by
from dip_lightning.hooks import callbacks_of
from dip_lightning.measurement import Measurement
from dip_lightning.methods.base import BaseDIP
from dip_lightning.records import folder_name, image_attributes
from dip_lightning.run_folder import PREVIEW, RunFolder, check_distinct

_LOG = logging.getLogger(__name__)


class ResultWriter(Checkpoint):
    """Write the run folder: ``metrics.csv``, ``reconstruction.h5``, ``preview.png`` and, last, ``summary.json``.

    It is a Lightning ``Checkpoint`` so that it runs after all other callbacks, and so that Lightning adds no
    checkpoint callback of its own. Callbacks with a ``summary(member) -> dict`` method get a part of ``summary.json``.

    Args:
        run_dir: The run's folder; by default ``<default_root_dir>/<method>_<task>/<measurement id>/seed<k>``. With
            several measurements at once, each gets a subfolder of it named by its id, and in that one for each seed
            where measurements are repeated; those also get a folder with mean and standard deviation over the seeds.
        overwrite: Whether a finished run in that folder may be replaced.
        flush_seconds: How often ``metrics.csv`` is brought up to date.
        preview: Whether ``preview.png`` is drawn.
    """

    def __init__(
        self, run_dir: str | None = None, overwrite: bool = False, flush_seconds: float = 10.0, preview: bool = True
    ) -> None:
        super().__init__()
        self.run_dir = run_dir
        self.overwrite = overwrite
        self.preview = preview
        self.rows = MetricRows(flush_seconds)
        self.run_folders: list[RunFolder] = []
        self.seed_folders: list[Path] = []
        self._begun = False

    @property
    def folders(self) -> list[Path]:
        """The run folder of each member."""
        return [folder.path for folder in self.run_folders]

    def place(self, trainer: pl.Trainer, method: BaseDIP, measurement: Measurement) -> list[RunFolder]:
        """Say where each member's run folder is.

        Args:
            trainer: Gives ``default_root_dir``.
            method: Gives the method's name and the seeds.
            measurement: Gives the task and the ids.

        Raises:
            RunFolderError: If two members would share a folder.
        """
        folders = self._places(trainer, method, measurement)
        check_distinct(folders, measurement.ids)
        return folders

    def _places(self, trainer: pl.Trainer, method: BaseDIP, measurement: Measurement) -> list[RunFolder]:
        if self.run_dir is not None:
            root = Path(self.run_dir)
            if measurement.batch_size == 1:
                return [RunFolder(root)]
            if measurement.repetitions is None:
                return [RunFolder(root / folder_name(name)) for name in measurement.ids]
        else:
            root = Path(trainer.default_root_dir) / f"{method.name}_{measurement.task}"
        seeds = method.member_seeds(measurement)
        return [
            RunFolder(root / folder_name(name) / f"seed{seed}")
            for name, seed in zip(measurement.ids, seeds, strict=True)
        ]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find the folders; forget the rows of an earlier fit; for test and predict, read what is stored there."""
        assert isinstance(pl_module, BaseDIP)
        measurement = pl_module.take_measurement(trainer)
        self.run_folders = self.place(trainer, pl_module, measurement)
        if stage == "fit":
            self.rows.reset()
            self.seed_folders, self._begun = [], False
            if trainer.fast_dev_run:  # type: ignore[attr-defined]
                self.run_folders = []  # a trial leaves nothing behind: no record, and no checkpoint
        elif trainer.ckpt_path is None:
            stored = [torch.from_numpy(folder.read_image()) for folder in self.run_folders]
            pl_module.report("selected", torch.stack(stored))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Claim the folders before anything is fitted; only here does Lightning tell that a fit is continued."""
        for folder in self.run_folders:
            folder.claim(self.overwrite, resume=trainer.ckpt_path is not None)
            if folder.checkpoint.exists() and not folder.finished and trainer.ckpt_path is None:
                _LOG.warning(
                    "%s holds an interrupted run; --ckpt_path last would continue it, until the first checkpoint of "
                    "this fit takes the place of its own.",
                    folder.path,
                )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the files of a run that is being replaced, now that everything has been checked."""
        for folder in self.run_folders:
            if trainer.ckpt_path is None:
                folder.clear()
            else:
                folder.reopen()
        self._begun = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a row to ``metrics.csv``."""
        assert isinstance(pl_module, BaseDIP)
        fitted = list(pl_module.roster.running) if pl_module.roster.partial else None
        self.rows.add(pl_module.iteration, pl_module.seconds, pl_module.record, fitted)
        self.rows.flush_if_due(self.run_folders)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note where it was the trainer that ended the fit; this comes before every ``on_train_end``."""
        assert isinstance(pl_module, BaseDIP)
        pl_module.stopped_by = pl_module.stopped_by or ended_by(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write the rows so far."""
        if self._begun:
            with suppress(OSError, RuntimeError):  # a full disk or a lost device is what may have ended the fit
                self.rows.flush(self.run_folders)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write everything; ``summary.json`` last."""
        assert isinstance(pl_module, BaseDIP)
        self.rows.flush(self.run_folders)
        for member, folder in enumerate(self.run_folders):
            images = member_images(pl_module, member)
            summary = member_summary(trainer, pl_module, member)
            folder.write_images(images, image_attributes(pl_module.measurement, member))
            if self.preview:
                try:
                    figure = preview_figure(images, pl_module.measurement, summary, self.rows.curves(member))
                    with folder.writing(PREVIEW) as path:
                        figure.savefig(path, dpi=110, format="png")
                except Exception as error:  # whatever the drawing library says: the fit is worth more than its picture
                    _LOG.warning("No %s in %s: %s", PREVIEW, folder.path, error)
            folder.drop_earlier_checkpoint()
            folder.write_summary(summary)
        self.seed_folders = [folder.path for folder in write_repetitions(pl_module, self.run_folders)]

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the stored reconstruction as ``prediction.npy`` and ``prediction.png``."""
        assert isinstance(pl_module, BaseDIP)
        for member, folder in enumerate(self.run_folders):
            write_prediction(folder, pl_module.estimate[member], pl_module.measurement)

    def state_dict(self) -> dict[str, Any]:
        """Rows so far, so that a resumed run has all of them."""
        return {"rows": self.rows.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Bring the rows back."""
        self.rows.load_state_dict(state_dict["rows"])


def run_folders(trainer: pl.Trainer) -> list[RunFolder]:
    """Run folders of the fit, one for each member; none where no :class:`ResultWriter` is among the callbacks."""
    writers = callbacks_of(trainer, ResultWriter)
    return list(writers[0].run_folders) if writers else []
