"""The input update of the released aSeqDIP code for MRI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytorch_lightning as pl
from deepinv.physics import MRI, MultiCoilMRI
from torch import Tensor

from dip_lightning.callbacks.input_update import Output, _InputUpdate
from dip_lightning.errors import ConfigurationError

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP


class KSpaceInputUpdate(_InputUpdate):
    r"""Fill k-space: sampled points as measured, the others as the network made them; combine the coils.

    .. math:: z_k = \sum_c \bar S_c F^H\big((1 - M) F S_c f + y_c\big) = \sum_c |S_c|^2\, f + A^H(y - A f)

    as in the released aSeqDIP code for MRI (OpenReview K1EG2ABzNE). Where all sensitivity maps are zero, outside the
    object, the new input is zero, and the autoencoding term draws the network's output there to zero as well. With
    :class:`~dip_lightning.callbacks.input_update.DataConsistentInputUpdate`, which is the same elsewhere, nothing
    would: no data depend on those pixels, and they drift.

    Args:
        output: ``last`` or ``recomputed``, as in :class:`~dip_lightning.callbacks.input_update.InputUpdate`.
        every: Outer steps between two updates.

    Raises:
        ConfigurationError: If an option is out of range.
    """

    def __init__(self, output: Output = "last", every: int = 1) -> None:
        super().__init__(output, every)

    def on_train_start(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Check that the physics is Cartesian MRI; see the base class.

        Raises:
            ConfigurationError: If it is not.
        """
        super().on_train_start(trainer, pl_module)
        physics = pl_module.measurement.physics
        if not isinstance(physics, MRI | MultiCoilMRI) or getattr(physics, "samples", None) is not None:
            raise ConfigurationError(
                f"KSpaceInputUpdate fills Cartesian k-space, which {type(physics).__name__} has not: use InputUpdate."
            )

    def new_input(self, pl_module: BaseDIP, output: Tensor) -> Tensor:
        """Fill k-space with the output's; see the class."""
        physics, y = pl_module.measurement.physics, pl_module.measurement.y
        known: Tensor = physics.A_adjoint(y - physics.A(output))
        if not isinstance(physics, MultiCoilMRI):
            return output + known
        return physics.coil_maps.abs().square().sum(1, keepdim=True) * output + known
