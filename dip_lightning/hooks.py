"""What a method offers to callbacks beyond Lightning's own hooks.

A callback that wants every iterate, not only every batch, subclasses :class:`IterateHook`; one that changes the
network input subclasses :class:`UpdatesNetworkInput`, so that methods can tell that they have what they need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from dip_lightning.methods.base import BaseDIP


class IterateHook:
    """Mixed into a callback that is shown the network's output at every optimiser step."""

    def on_iterate(self, trainer: pl.Trainer, pl_module: BaseDIP, output: Tensor) -> None:
        """See one iterate, inside the inner loop: no host synchronisation, no logging.

        Args:
            trainer: The running trainer.
            pl_module: The method; ``pl_module.iteration`` already counts this step.
            output: Detached network output that the step's loss was computed from, ``[B, C, H, W]``.
        """


class UpdatesNetworkInput:
    """Mixed into a callback that changes the stored network input between outer steps."""
