"""A saver of checkpoints that knows its folder again."""

from __future__ import annotations

import os
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint


class MovableModelCheckpoint(ModelCheckpoint):
    """Lightning's ``ModelCheckpoint``, which goes on in its folder also where that was moved, or is spelt otherwise.

    Lightning compares the spellings, and where they differ it forgets the best score: the next epoch, however bad,
    replaces ``best.ckpt``.
    """

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Respell the saved paths, if the checkpoint is out of this folder and the best one is there too."""
        state = checkpoint["callbacks"].get(self.state_key)
        if state is None or self.dirpath is None or trainer.ckpt_path is None:
            return
        here = _respelt(state, str(self.dirpath))
        own = os.path.realpath(os.path.dirname(trainer.ckpt_path)) == os.path.realpath(self.dirpath)
        if own and os.path.isfile(here["best_model_path"]):
            checkpoint["callbacks"][self.state_key] = here


def _respelt(state: dict[str, Any], folder: str) -> dict[str, Any]:
    def moved(path: str) -> str:
        return os.path.normpath(os.path.join(folder, os.path.relpath(path, state["dirpath"]))) if path else path

    paths = {name: moved(state[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
    best = {moved(path): score for path, score in state["best_k_models"].items()}
    return {**state, **paths, "best_k_models": best, "dirpath": folder}
