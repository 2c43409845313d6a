"""The network input as something that is optimised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from dip_lightning.errors import ConfigurationError
from dip_lightning.hooks import LearnsNetworkInput

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP


class LearnedInput(pl.Callback, LearnsNetworkInput):
    r"""Optimise the network input together with the weights, as a parameter group of the same optimiser.

    The stored input itself becomes the group's parameter, so it is checkpointed and restored as ever, and its
    optimiser state with the optimiser's. It is not decayed: weight decay would pull an image to zero. The method's
    ``gradient_clip`` looks at the weights alone. Self-Guided DIP needs this callback; the first DIP paper
    (arXiv 1711.10925) has it as the option ``net,input``.

    Args:
        lr: Learning rate of the input; 0.1 is that of the released Self-Guided DIP code (arXiv 2402.04097).

    Raises:
        ConfigurationError: If the learning rate is not positive.
    """

    def __init__(self, lr: float = 0.1) -> None:
        if lr <= 0:
            raise ConfigurationError(f"lr={lr} of LearnedInput must be positive.")
        self.lr = lr

    def parameter_groups(self, pl_module: BaseDIP) -> list[dict[str, Any]]:
        """Make the stored input a leaf with gradient, and give it as a group; see the base class."""
        return [{"params": [pl_module.stored_input.requires_grad_()], "lr": self.lr, "weight_decay": 0.0}]

    def on_fit_end(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Leave an ordinary buffer behind; moved off a GPU by now, it is no leaf that could be told to be one."""
        pl_module.stored_input = pl_module.stored_input.detach()
