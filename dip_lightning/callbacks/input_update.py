"""Changes of the network input between outer steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytorch_lightning as pl
import torch
from torch import Tensor

from dip_lightning.callbacks.averaging import Averaging
from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.hooks import UpdatesNetworkInput, callbacks_of
from dip_lightning.physics.least_squares import pseudo_inverse

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP

Output = Literal["last", "recomputed", "average"]
Correction = Literal["adjoint", "pseudo_inverse"]


class _InputUpdate(pl.Callback, UpdatesNetworkInput, ABC):
    def __init__(self, output: Output, every: int) -> None:
        if every < 1:
            raise ConfigurationError(f"every={every} must be at least 1.")
        self.output: Output = check_option("output", output, get_args(Output))
        self.every = every

    @abstractmethod
    def new_input(self, pl_module: BaseDIP, output: Tensor) -> Tensor:
        """Make the new input from the network's output, both ``[B, C, H, W]``."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Check that an output can be an input, and that there is an average where it is asked for.

        Raises:
            ConfigurationError: If their shapes differ, or nothing averages.
        """
        if self.output == "average" and not callbacks_of(trainer, Averaging):
            raise ConfigurationError(f"{type(self).__name__}: output: average needs the callback OutputAveraging.")
        if pl_module.stored_input.shape != pl_module.measurement.initial.shape:
            raise ConfigurationError(
                f"{type(self).__name__} makes the network's output {list(pl_module.measurement.initial.shape)} its "
                f"input, but that is {list(pl_module.stored_input.shape)}: choose an initial_input, and in_channels "
                "of the network, with the image's channels."
            )

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, pl_module: BaseDIP, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the input, unless the fit broke down; members that have stopped keep theirs."""
        if pl_module.stopped_by == "nan" or pl_module.outer_step % self.every:
            return
        with torch.no_grad():
            new = self.new_input(pl_module, self._output(trainer, pl_module))
            pl_module.set_network_input(pl_module.unless_stopped(new, pl_module.stored_input))

    def _output(self, trainer: pl.Trainer, pl_module: BaseDIP) -> Tensor:
        if self.output == "recomputed":
            with trainer.precision_plugin.forward_context():
                return pl_module.recomputed_output()
        last = pl_module.last_output
        return last if self.output == "last" else pl_module.reports.get("average", last)


class InputUpdate(_InputUpdate):
    r"""Make the network's output its next input, :math:`z_k = f_\theta(z_{k-1})`.

    Source: aSeqDIP, Alkhouri, Liang et al., NeurIPS 2024 (OpenReview K1EG2ABzNE).

    Args:
        output: ``last`` takes the output that the last optimiser step's loss was computed from, as the released code
            does; its weights are one step older than :math:`\theta_k`. ``recomputed`` takes :math:`f_{\theta_k}` of
            the paper by one more forward pass on the stored input, in train mode: running statistics of batch norm
            layers see it too, which changes nothing here, for nothing reads them. ``average`` takes the average that
            :class:`OutputAveraging` reports: steadier, and later; ours.
        every: Outer steps between two updates.

    Raises:
        ConfigurationError: If an option is out of range.
    """

    def __init__(self, output: Output = "last", every: int = 1) -> None:
        super().__init__(output, every)

    def new_input(self, pl_module: BaseDIP, output: Tensor) -> Tensor:
        """Take the output as it is."""
        return output


class DataConsistentInputUpdate(_InputUpdate):
    r"""Put the measured part back before the output becomes the input, :math:`z_k = f + A^+ (y - A f)`.

    Where :math:`A A^+` is the identity on the data, :math:`A z_k = A f + A A^+ (y - A f) = y`: the new input agrees
    with the measurement, and where :math:`A^+ A` projects on the measured part, the rest is left as the network made
    it: :math:`z_k = A^+ y + (I - A^+ A) f`. For masks and for single-coil MRI :math:`A^+ = A^H`, and this is the
    :math:`z = A^H(M y + (1 - M) F f)` of the released aSeqDIP MRI code (OpenReview K1EG2ABzNE) and the
    :math:`z = M y + (1 - M) f` of its inpainting code. For CT, :math:`A^+` is the filtered back-projection, and the
    agreement is as good as that is an inverse. Noise on the data is put back as well.

    Args:
        correction: ``adjoint`` for operators with :math:`A A^H = I` (masks, orthonormal Fourier samples);
            ``pseudo_inverse`` for the others, by the physics' ``A_dagger``.
        output: ``last``, ``recomputed`` or ``average``, as in :class:`InputUpdate`.
        every: Outer steps between two updates.

    Raises:
        ConfigurationError: If an option is out of range.
    """

    def __init__(self, correction: Correction = "adjoint", output: Output = "last", every: int = 1) -> None:
        super().__init__(output, every)
        self.correction: Correction = check_option("correction", correction, get_args(Correction))

    @property
    def _operator(self) -> str:
        return "A_adjoint" if self.correction == "adjoint" else "A_dagger"

    def on_train_start(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Check that the physics has the operator; see the base class.

        Raises:
            ConfigurationError: If it has not.
        """
        super().on_train_start(trainer, pl_module)
        physics = pl_module.measurement.physics
        if not hasattr(physics, self._operator):
            raise ConfigurationError(f"The physics {type(physics).__name__} has no {self._operator}: use InputUpdate.")

    def new_input(self, pl_module: BaseDIP, output: Tensor) -> Tensor:
        """Correct the output by the measured part of its residual."""
        physics: Any = pl_module.measurement.physics
        residual = pl_module.measurement.y - physics.A(output)
        if self.correction == "adjoint":
            return output + physics.A_adjoint(residual)
        return output + pseudo_inverse(physics, residual)
