"""``dip-lightning pretrain``: train a network on simulated pairs."""

from __future__ import annotations

import sys
from pathlib import Path

from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

import dip_lightning.networks
import dip_lightning.physics  # noqa: F401  (importing a class makes its short name known)
from dip_lightning.pretraining import EllipsePairs, SupervisedPretraining

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
        """Add the checkpoint to continue from, and the callbacks that write checkpoints.

        There are two: since Lightning 2.6, ``save_last`` writes ``last.ckpt`` with a new best alone.
        """
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="Checkpoint to continue, or 'last'.")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_lightning_class_args(ModelCheckpoint, "last_checkpoint")
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

    def checkpoint(self) -> Path | None:
        """The checkpoint to continue from; ``last`` means the one in ``default_root_dir``, if there is one yet."""
        path = self.config["ckpt_path"]
        if path != "last":
            return None if path is None else Path(path)
        last = Path(self.trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        if last.exists():
            return last
        print(f"No checkpoint {last} yet: starting from the beginning.", file=sys.stderr)
        return None


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
    cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.checkpoint())
    best, last = (cli.config_init[name].best_model_path for name in ("checkpoint", "last_checkpoint"))
    print(f"Weights: {best} (best), {last} (last)")
    return 0
