"""``dip-lightning pretrain``: train a network on simulated pairs."""

from __future__ import annotations

import sys
from pathlib import Path

from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

import dip_lightning.networks
import dip_lightning.physics  # noqa: F401  (importing a class makes its short name known)
from dip_lightning.errors import ConfigurationError, RunFolderError
from dip_lightning.pretraining import EllipsePairs, SupervisedPretraining
from dip_lightning.pretraining.saver import MovableModelCheckpoint

TRAINER_DEFAULTS = {
    "max_epochs": 100,
    "default_root_dir": "runs/pretraining",
    "logger": False,
    "enable_model_summary": False,
    "reload_dataloaders_every_n_epochs": 1,  # every epoch has images of its own
    "num_sanity_val_steps": 0,
}


class PretrainCLI(LightningCLI):
    """LightningCLI of one command, with ``best.ckpt`` by validation loss and ``last.ckpt`` of the last epoch."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the checkpoint to continue from, whether weights may be replaced, and what writes checkpoints.

        There are two: since Lightning 2.6, ``save_last`` writes ``last.ckpt`` with a new best alone.
        """
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="Checkpoint to continue, or 'last'.")
        parser.add_argument("--overwrite", type=bool, default=False, help="Whether trained weights may be replaced.")
        parser.add_lightning_class_args(MovableModelCheckpoint, "checkpoint")
        parser.add_lightning_class_args(MovableModelCheckpoint, "last_checkpoint")
        parser.link_arguments("checkpoint.dirpath", "last_checkpoint.dirpath")
        parser.set_defaults(
            {
                "checkpoint.monitor": "val_loss",
                "checkpoint.filename": "best",
                "checkpoint.save_on_train_epoch_end": True,
                "checkpoint.enable_version_counter": False,
                "last_checkpoint.filename": "last",
                "last_checkpoint.save_on_train_epoch_end": True,
                "last_checkpoint.enable_version_counter": False,
            }
        )

    def train(self) -> None:
        """Train, from the beginning or from a checkpoint.

        Raises:
            ConfigurationError: If there is no such checkpoint.
            RunFolderError: If trained weights are in the way, and neither replacing nor continuing them was asked for.
        """
        checkpoint = self._checkpoint()
        there = [path for path in self._written() if path.exists()]
        folders = {path.parent.resolve() for path in there}
        continued = checkpoint is not None and checkpoint.parent.resolve() in folders
        if there and not continued and not self.config["overwrite"]:
            raise RunFolderError(
                f"{there[0].parent} holds trained weights ({', '.join(path.name for path in there)}). Set --overwrite "
                "true to replace them, --ckpt_path last to continue their training, or another "
                "--trainer.default_root_dir."
            )
        self.trainer.fit(self.model, datamodule=self.datamodule, ckpt_path=checkpoint)
        best, last = (callback.best_model_path for callback in self._savers())
        print(f"Weights: {best} (best), {last} (last)")

    def _checkpoint(self) -> Path | None:
        """The checkpoint to continue from; ``last`` means the one that this training would write, if it is there."""
        given = self.config["ckpt_path"]
        if given is None:
            return None
        path = self._written()[1] if given == "last" else Path(given)
        if path.is_file():
            return path
        if given != "last":
            raise ConfigurationError(f"--ckpt_path: there is no checkpoint {path}; give its path, or 'last'.")
        print(f"No checkpoint {path} yet: starting from the beginning.", file=sys.stderr)
        return None

    def _savers(self) -> list[ModelCheckpoint]:
        return [self.config_init[name] for name in ("checkpoint", "last_checkpoint")]

    def _written(self) -> list[Path]:
        folder = Path(self.trainer.default_root_dir) / "checkpoints"
        return [Path(saver.dirpath or folder) / f"{saver.filename}.ckpt" for saver in self._savers()]


def main(arguments: list[str]) -> int:
    """Pretrain.

    Args:
        arguments: What follows ``dip-lightning pretrain``.

    Returns:
        0; errors are raised.
    """
    cli = PretrainCLI(
        SupervisedPretraining,
        EllipsePairs,
        run=False,
        save_config_kwargs={"overwrite": True},
        seed_everything_default=0,
        trainer_defaults=dict(TRAINER_DEFAULTS),
        auto_configure_optimizers=False,
        parser_kwargs={
            "prog": "dip-lightning pretrain",
            "description": "Train a network on simulated pairs, for methods that start from trained weights.",
            "exit_on_error": False,
            "allow_abbrev": False,
        },
        args=arguments,
    )
    cli.train()
    return 0
