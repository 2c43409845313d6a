"""Supervised training of a network from first estimate to image."""

from __future__ import annotations

import os
from typing import Any, get_args

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.functional.losses import Reduction, distance
from dip_lightning.networks.blocks import UntrainedNetwork
from dip_lightning.networks.initialise import reinitialise


class SupervisedPretraining(pl.LightningModule):
    r"""Train a network on pairs: :math:`\min_\theta E \|f_\theta(x_0) - x\|`, :math:`x_0` the first estimate of x.

    Source: educated DIP, Barbano et al., arXiv 2111.11926.

    Args:
        network: The network, ``[B, C, H, W] -> [B, C, H, W]``. Batch norm is refused, unless batches are of one: it
            would normalise over many images here, and over one image in the fit that follows.
        optimizer: Any torch optimiser, by class path and arguments.
        lr_scheduler: Any torch scheduler; it advances at every optimiser step.
        reduction: How distances are reduced: ``norm``, ``mse`` or ``sum``.
        seed: Seed of the weights. ``None`` takes ``seed_everything``'s, or 0.

    Raises:
        ConfigurationError: If the reduction is unknown.
    """

    def __init__(
        self,
        network: UntrainedNetwork | nn.Module,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        reduction: Reduction = "mse",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer_factory = optimizer
        self.scheduler_factory = lr_scheduler
        self.reduction: Reduction = check_option("reduction", reduction, get_args(Reduction))
        self.seed = seed

    def setup(self, stage: str) -> None:
        """Draw the weights from the seed.

        Raises:
            ConfigurationError: If a batch norm would see several images at once.
        """
        if stage != "fit":
            return
        norms = [name for name, module in self.network.named_modules() if isinstance(module, nn.BatchNorm2d)]
        if norms and getattr(self.trainer.datamodule, "batch_size", 1) > 1:  # type: ignore[attr-defined]
            raise ConfigurationError(
                f"model.network normalises over the batch ({norms[0]}, ...), which has many images here and one in "
                "the fit that follows: set norm: group, or data.batch_size: 1."
            )
        seed = self.seed if self.seed is not None else int(os.environ.get("PL_GLOBAL_SEED", "0"))
        reinitialise(self.network, seed)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Mean distance over the batch."""
        loss = self._loss(batch)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``val_loss`` and ``val_psnr``, the mean of images' PSNR for a data range of 1."""
        first, image = batch
        self.log("val_loss", self._loss(batch), prog_bar=True, batch_size=len(image))
        psnr = -10 * torch.log10(distance(self.network(first), image, "mse"))
        self.log("val_psnr", psnr.mean(), prog_bar=True, batch_size=len(image))

    def configure_optimizers(self) -> Any:
        """Build the optimiser and, if asked for, its scheduler."""
        optimizer = self.optimizer_factory(self.network.parameters())
        if self.scheduler_factory is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.scheduler_factory(optimizer), "interval": "step"},
        }

    def _loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        first, image = batch
        return distance(self.network(first), image, self.reduction).mean()
