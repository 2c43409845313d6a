"""Educated deep image prior: start from pretrained weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from dip_lightning.errors import ConfigurationError
from dip_lightning.inputs import InitialEstimate, NetworkInput
from dip_lightning.methods.dip import DIP
from dip_lightning.networks.stacked import StackedNetwork
from dip_lightning.networks.weights import load_weights

#: Encoders of the networks of this package, by the names of their submodules.
ENCODERS = ("entry", "down", "encoders")


class EDIP(DIP):
    r"""Educated DIP: vanilla DIP on :math:`\theta`, started from weights that were trained on simulated pairs.

    Source: Barbano et al., arXiv 2111.11926. The published fits use Adam 1e-4, the total variation as a penalty, clip
    the gradient's norm at 1, take the filtered back-projection (or noise) as input, and optionally keep the encoder
    fixed (EDIP-FE) or give it a learning rate of its own. A warm-up is an ``lr_scheduler`` such as ``LinearLR``.

    Args:
        pretrained: Checkpoint of ``dip-lightning pretrain``, of another fit, or a ``state_dict``.
        freeze_encoder: Whether the encoder keeps its weights.
        encoder_lr: Learning rate of the encoder; the optimiser's unless given.
        decoder_lr: Learning rate of everything else; the optimiser's unless given.
        encoder: Names of the network's submodules that are its encoder.
        initial_input: First input; by default the measurement's initial estimate, as in pretraining.
        **kwargs: See :class:`~dip_lightning.methods.settings.FitSettings`.

    Raises:
        ConfigurationError: If the encoder is frozen and given a learning rate, or a rate is not positive.
    """

    static_step = True

    def __init__(
        self,
        pretrained: str,
        freeze_encoder: bool = False,
        encoder_lr: float | None = None,
        decoder_lr: float | None = None,
        encoder: tuple[str, ...] = ENCODERS,
        initial_input: NetworkInput | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(initial_input=initial_input or InitialEstimate(), reinitialise=False, **kwargs)
        if freeze_encoder and encoder_lr is not None:
            raise ConfigurationError(f"A frozen encoder has no learning rate: leave out encoder_lr={encoder_lr}.")
        if any(lr is not None and lr <= 0 for lr in (encoder_lr, decoder_lr)):
            raise ConfigurationError(f"encoder_lr={encoder_lr} and decoder_lr={decoder_lr} must be positive.")
        self.pretrained = pretrained
        self.freeze_encoder = freeze_encoder
        self.encoder_lr = encoder_lr
        self.decoder_lr = decoder_lr
        self.encoder = encoder

    def setup(self, stage: str) -> None:
        """Load the weights; see the base class.

        Raises:
            ConfigurationError: If the checkpoint cannot be read or is another network's, or if the network has no
                encoder but one was asked for.
        """
        if stage == "fit":
            load_weights(getattr(self.network, "single", self.network), self.pretrained)
            if isinstance(self.network, StackedNetwork):  # of an earlier fit
                self.network.resize(self.take_measurement(self.trainer).batch_size)
            if self.freeze_encoder:
                for parameter in self._split()[0]:
                    parameter.requires_grad_(False)
        super().setup(stage)

    def trained_parameters(self) -> list[Any]:
        """Encoder and the rest as two groups where they differ; see the base class."""
        if self.encoder_lr is None and self.decoder_lr is None:
            return super().trained_parameters()
        encoder, decoder = self._split()
        groups = [_group(encoder, self.encoder_lr), _group(decoder, self.decoder_lr)]
        return [group for group in groups if group["params"]]

    def _split(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        encoder: list[nn.Parameter] = []
        decoder: list[nn.Parameter] = []
        for name, parameter in self.network.named_parameters():
            part = name.removeprefix("network.").partition(".")[0]  # a stacked network keeps its own as "network"
            (encoder if part in self.encoder else decoder).append(parameter)
        if not encoder:
            parts = ", ".join(name for name, _ in self.network.named_children())
            raise ConfigurationError(
                f"None of encoder={list(self.encoder)} is a part of {type(self.network).__name__}: name those of its "
                f"parts that are the encoder, among {parts}."
            )
        return encoder, decoder


def _group(parameters: list[nn.Parameter], lr: float | None) -> dict[str, Any]:
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return {"params": trained} if lr is None else {"params": trained, "lr": lr}
