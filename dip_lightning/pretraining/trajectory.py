"""The path of the parameters during pretraining, for subspace methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args
from uuid import uuid4

import pytorch_lightning as pl
import torch
from torch import Tensor

from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.networks.weights import read_file
from dip_lightning.run_folder import written_whole

Precision = Literal["float16", "float32"]


class ParameterTrajectory(pl.Callback):
    """Save samples of the network's parameters along the training: ``trajectory.pt`` in ``default_root_dir``.

    The file holds ``names`` and ``shapes`` of the parameters, ``samples``, ``[S, P]``, with their ``steps``, and which
    ``training`` they are of: a checkpoint of another one does not continue them. It is bounded: when ``samples`` are
    full, every second one is dropped, and half as many are taken from then on. It is written with every checkpoint and
    at the end. Source: subspace DIP, arXiv 2302.10279, which takes 1,000 samples.

    Args:
        every: Optimiser steps between two samples, at first.
        samples: Most samples to keep; ``samples`` times the number of parameters times 2 or 4 bytes are held.
        precision: ``float16`` or ``float32``.

    Raises:
        ConfigurationError: If a number is out of range or the precision unknown.
    """

    def __init__(self, every: int = 100, samples: int = 100, precision: Precision = "float16") -> None:
        if every < 1 or samples < 2:
            raise ConfigurationError(f"every={every} must be at least 1 and samples={samples} at least 2.")
        self.every = every
        self.samples = samples
        self.dtype = (
            torch.float16 if check_option("precision", precision, get_args(Precision)) == "float16" else torch.float32
        )
        self._interval = every
        self._kept: dict[int, Tensor] = {}
        self._training: str | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take up the samples of an interrupted training, up to its checkpoint; those of another stay out."""
        file = self._file(trainer)
        saved = read_file(file, "trajectory") if trainer.global_step and file.exists() else {}
        if saved and saved.get("training") == self._training:
            known = zip(saved["steps"], saved["samples"], strict=True)
            self._kept = {step: sample for step, sample in known if step <= trainer.global_step}
        else:
            self._interval, self._kept, self._training = self.every, {}, uuid4().hex

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take a sample if it is time."""
        step = trainer.global_step
        if step % self._interval or step in self._kept:
            return
        parameters = [parameter.detach().flatten() for parameter in _parameters(pl_module).values()]
        self._kept[step] = torch.cat(parameters).to("cpu", self.dtype)
        if len(self._kept) >= self.samples:
            self._interval *= 2
            self._kept = {step: sample for step, sample in self._kept.items() if step % self._interval == 0}

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: Any) -> None:
        """Bring the file up to date."""
        self._write(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file a last time."""
        self._write(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The interval, and which training this is; the samples are in their file."""
        return {"interval": self._interval, "training": self._training}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Bring the interval and the training back."""
        self._interval, self._training = state_dict["interval"], state_dict.get("training")

    def _file(self, trainer: pl.Trainer) -> Path:
        return Path(trainer.default_root_dir) / "trajectory.pt"

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not (trainer.is_global_zero and self._kept):
            return
        parameters = _parameters(pl_module)
        content = {
            "names": list(parameters),
            "shapes": [list(parameter.shape) for parameter in parameters.values()],
            "steps": list(self._kept),
            "samples": torch.stack(list(self._kept.values())),
            "training": self._training,
        }
        with written_whole(self._file(trainer)) as temporary:
            torch.save(content, temporary)


def _parameters(module: pl.LightningModule) -> dict[str, torch.nn.Parameter]:
    network: Any = module.network
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
