"""Autoencoding sequential deep image prior."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.losses import distance
from dip_lightning.hooks import UpdatesNetworkInput, callbacks_of
from dip_lightning.inputs import InitialEstimate, NetworkInput
from dip_lightning.measurement import Measurement
from dip_lightning.methods.base import BaseDIP
from dip_lightning.methods.checks import demand_callback


class ASeqDIP(BaseDIP):
    r"""Autoencoding sequential DIP, aSeqDIP.

    Outer step :math:`k` makes :math:`N` optimiser steps on

    .. math:: \|A f_\theta(z_{k-1}) - y\| + \lambda \|f_\theta(z_{k-1}) - z_{k-1}\|

    after which an input update sets :math:`z_k` from :math:`f_\theta(z_{k-1})`. Weights and optimiser state carry
    over. Source: Alkhouri, Liang et al., NeurIPS 2024 (OpenReview K1EG2ABzNE).

    The paper writes squared norms; the released CT and MRI code uses norms (``reduction="norm"``) and the
    restoration code mean squares (``mse``). In the released MRI code the second term either is a statement without
    effect or compares a complex image with real channels; here it is the distance of the two-channel images.

    Args:
        regularisation: Weight :math:`\lambda` of the autoencoding term.
        initial_input: First input; by default the measurement's initial estimate.
        **kwargs: See :class:`~dip_lightning.methods.settings.FitSettings`.

    Raises:
        ConfigurationError: If the weight is negative.
    """

    static_step = True

    def __init__(self, regularisation: float = 1.0, initial_input: NetworkInput | None = None, **kwargs: Any) -> None:
        super().__init__(initial_input=initial_input or InitialEstimate(), **kwargs)
        if regularisation < 0:
            raise ConfigurationError(f"regularisation={regularisation} must not be negative.")
        self.regularisation = regularisation

    def setup(self, stage: str) -> None:
        """Check that something updates the input; see the base class.

        Raises:
            MissingCallbackError: If no callback updates the network input.
        """
        super().setup(stage)
        if stage == "fit":
            updates = callbacks_of(self.trainer, UpdatesNetworkInput)
            demand_callback(self, updates, "updates the network input", "InputUpdate")

    def objective(self, estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
        """Data term and autoencoding term; see the base class."""
        return {
            "data": self.data_distance(estimate, measurement),
            "autoencoding": self.regularisation * distance(estimate, self.stored_input, self.reduction),
        }
