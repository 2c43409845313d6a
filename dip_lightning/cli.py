"""The command line: ``dip-lightning fit | validate | test | predict``."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

import dip_lightning.callbacks
import dip_lightning.data
import dip_lightning.methods
import dip_lightning.networks
import dip_lightning.physics  # noqa: F401  (importing a class makes its short name known)
from dip_lightning import __version__
from dip_lightning.callbacks.checkpoint import ResumeCheckpoint
from dip_lightning.callbacks.logger_record import LoggerRecord
from dip_lightning.callbacks.metrics import ReconstructionMetrics
from dip_lightning.callbacks.progress import DIPProgress
from dip_lightning.callbacks.result_writer import ResultWriter
from dip_lightning.callbacks.saved_config import SaveRunConfig
from dip_lightning.callbacks.wandb_run import is_wandb, without_unreachable
from dip_lightning.cli_checks import check_checkpoint
from dip_lightning.cli_errors import explanation
from dip_lightning.cli_names import COMMANDS
from dip_lightning.companion import Companion
from dip_lightning.data.base import MeasurementDataModule
from dip_lightning.errors import naming
from dip_lightning.functional.random import check_seed
from dip_lightning.hooks import callbacks_of
from dip_lightning.locks import one_at_a_time
from dip_lightning.methods.base import BaseDIP
from dip_lightning.shares import Share, shares
from dip_lightning.side_by_side import run_side_by_side

TRAINER_DEFAULTS = {
    "max_epochs": 1,
    "devices": 1,  # Lightning's own default takes every GPU that there is
    "logger": False,
    "log_every_n_steps": 10,
    "default_root_dir": "runs",
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


class DIPCLI(LightningCLI):
    """LightningCLI whose trainer always has the run folder, metrics, progress and checkpoints of this suite.

    Args:
        companion: What keeps this process in step with others, where several measurements are reconstructed.
        **kwargs: As for ``LightningCLI``, with ``args``; they take the place of what is set here.
    """

    def __init__(self, companion: Companion | None = None, **kwargs: Any) -> None:
        self.companion = companion
        self.shares: list[Share] = []
        fixed = {"subclass_mode_model": True, "subclass_mode_data": True, "auto_configure_optimizers": False}
        super().__init__(BaseDIP, MeasurementDataModule, **{**fixed, **kwargs})

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and check what Lightning itself would only fail at."""
        super().parse_arguments(parser, args)
        config = self.config[self.config["subcommand"]]
        check_seed(config.seed_everything)
        check_checkpoint(config.get("ckpt_path"))

    def before_instantiate_classes(self) -> None:
        """See whether the work is for several processes, each of which builds its own objects."""
        self.shares = shares(self.config[str(self.subcommand)])

    def instantiate_classes(self) -> None:
        """Build model, data and trainer, unless others do the work."""
        if not self.shares:
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer; see the base class.

        Raises:
            ConfigurationError: If Lightning refuses an option's value.
        """
        with naming("trainer"):
            return super().instantiate_trainer(**kwargs)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """Leave the progress out where no bar is wanted: Lightning refuses one together with that."""
        if config.get("enable_progress_bar") is False:
            callbacks = [callback for callback in callbacks if not isinstance(callback, DIPProgress)]
        return super()._instantiate_trainer(config, callbacks)

    def _parse_ckpt_path(self) -> None:
        """Keep what was asked for: Lightning would put the checkpoint's settings over it, a raised number of steps too.

        Whether they go together is found out when the checkpoint is read.
        """

    def _run_subcommand(self, subcommand: str) -> None:
        if not self.shares:
            super()._run_subcommand(subcommand)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Give the callbacks that every run has a short name of their own."""
        parser.add_lightning_class_args(ReconstructionMetrics, "metrics")
        parser.add_lightning_class_args(DIPProgress, "progress")  # after the metrics, whose PSNR it shows
        parser.add_lightning_class_args(ResultWriter, "record")
        parser.add_lightning_class_args(ResumeCheckpoint, "checkpoint")  # after the record, whose row it saves

    def fit(self, model: BaseDIP, ckpt_path: str | None = None, **kwargs: Any) -> None:
        """Fit; ``ckpt_path="last"`` means the last checkpoint in the run folder, if there is one yet."""
        if ckpt_path == "last":
            ckpt_path = self._last_checkpoint(model)
        if self.companion is not None:
            self._join_company(self.companion)
        self._prepare_loggers()
        self.trainer.fit(model, ckpt_path=ckpt_path, **kwargs)
        self._say_where()

    def test(self, model: BaseDIP, **kwargs: Any) -> None:
        """Score the stored reconstruction of the run folder."""
        self.trainer.test(model, **kwargs)

    def predict(self, model: BaseDIP, return_predictions: bool = False, **kwargs: Any) -> None:
        """Write the stored reconstruction of the run folder as an array and a picture."""
        self.trainer.predict(model, return_predictions=return_predictions, **kwargs)
        self._say_where()

    def _writer(self) -> ResultWriter:
        return callbacks_of(self.trainer, ResultWriter)[0]

    def _last_checkpoint(self, model: BaseDIP) -> str | None:
        self.datamodule.setup("fit")
        folder = self._writer().place(self.trainer, model, self.datamodule.measurement)[0]
        if folder.checkpoint.exists():
            return str(folder.checkpoint)
        print(f"No checkpoint in {folder.path} yet: starting from the beginning.", file=sys.stderr)
        return None

    def _join_company(self, companion: Companion) -> None:
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]
        callbacks.insert(0, companion)  # before the record removes the files of the run that is replaced
        for progress in callbacks_of(self.trainer, DIPProgress):
            progress.join_company(companion.first)
        with one_at_a_time(Path(self.trainer.default_root_dir) / ".loggers.lock"):
            loggers: list[Any] = self.trainer.loggers
            for logger in loggers:  # those that number their folders look for the next free number
                if not is_wandb(logger):
                    _ = logger.experiment

    def _prepare_loggers(self) -> None:
        """Give loggers the resolved configuration and the whole record; leave out a W&B that cannot be reached."""
        if not self.trainer.loggers:
            return
        self.trainer.loggers = without_unreachable(self.trainer.loggers, job_type=self.model.name)
        config = self.config[str(self.subcommand)].clone()
        config.pop("config", None)
        text = self._parser(self.subcommand).dump(config)
        self.trainer.callbacks.append(LoggerRecord(yaml.safe_load(text)))  # type: ignore[attr-defined]

    def _say_where(self) -> None:
        for folder in (*self._writer().folders, *self._writer().seed_folders):
            print(f"Results: {folder}")


def main(args: Sequence[str] | None = None, companion: Companion | None = None) -> int:
    """Run the command line.

    Args:
        args: Arguments; those of the process by default.
        companion: What keeps this process in step with others, where it is one of several.

    Returns:
        The exit code: 0, or 2 with one line on the standard error where the user can mend something. ``compare``
        returns the number of jobs that failed.
    """
    arguments = sys.argv[1:] if args is None else list(args)
    _quieten()
    if (here := os.getcwd()) not in sys.path:  # as with ``python -m``, but behind everything that is installed
        sys.path.append(here)
    try:
        if arguments and arguments[0] in COMMANDS:
            command: Callable[[list[str]], int] = importlib.import_module(COMMANDS[arguments[0]]).main
            return command(arguments[1:])
        return run(arguments, companion)
    except Exception as error:
        text = explanation(error)
        if text is None:
            raise
        return _refuse(text)


def run(arguments: list[str], companion: Companion | None = None) -> int:
    """Run one of Lightning's commands, and let errors through.

    Args:
        arguments: ``["fit", "--config", ...]``.
        companion: What keeps this process in step with others, where it is one of several.

    Returns:
        0, or the exit code of a process that failed where several were started.
    """
    _quieten()
    cli = DIPCLI(
        save_config_callback=SaveRunConfig,
        seed_everything_default=0,
        trainer_defaults=dict(TRAINER_DEFAULTS),
        parser_kwargs={
            "prog": "dip-lightning",
            "version": __version__,
            "description": "Reconstruct an image from one measurement with a deep image prior. "
            f"Further commands, each with its own --help: {', '.join(sorted(COMMANDS))}.",
            "exit_on_error": False,
            "allow_abbrev": False,
        },
        args=arguments,
        companion=companion,
    )
    return run_side_by_side(main, arguments, cli.shares) if cli.shares else 0


def _quieten() -> None:
    """Keep what Lightning says to the warnings that a user can act on."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LightningCLI's args parameter.*")  # main(args) is made to be called
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning 2.6 with torch 2.12 and later
    warnings.filterwarnings("ignore", message=".*`tensorboardX` has been removed.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # the loader only counts


def _refuse(message: str) -> int:
    print(f"dip-lightning: error: {message}", file=sys.stderr)
    return 2
