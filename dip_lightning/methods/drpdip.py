"""Deep random projector: the input is trained, the filters are not."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dip_lightning.functional.losses import distance
from dip_lightning.hooks import LearnsNetworkInput, callbacks_of
from dip_lightning.inputs import GaussianNoise, NetworkInput
from dip_lightning.measurement import Measurement
from dip_lightning.methods.base import BaseDIP
from dip_lightning.methods.checks import demand_callback
from dip_lightning.penalties import TotalVariation


class DRPDIP(BaseDIP):
    r"""Deep random projector (DRP): trains the input and the norm layers of a network with frozen random filters.

    .. math:: \min_{z, \gamma} \sqrt{\tfrac1n \|A f_\gamma(z) - y\|^2} + \lambda\,\mathrm{TV}(f_\gamma(z))

    with TV the mean over pixels of the absolute differences. Source: Li et al., CVPR 2023, and its released code:
    :math:`\lambda` 0.45 and Adam 0.1 for denoising, 0.75 and 0.5 for super-resolution, 0.01 and 0.05 for inpainting,
    with one rate for input and norm layers.

    It needs the callback :class:`~dip_lightning.callbacks.learned_input.LearnedInput`, and is meant for the network
    :class:`~dip_lightning.networks.random_projector.RandomProjectorNet`; on another network it trains every weight.

    Args:
        tv_weight: :math:`\lambda`.
        initial_input: First input; by default normal with standard deviation 0.1 in the image's channels.
        **kwargs: See :class:`~dip_lightning.methods.settings.FitSettings`; ``reduction`` has no effect.

    Raises:
        ConfigurationError: If the weight is negative.
    """

    static_step = True
    weighs_data = False

    def __init__(self, tv_weight: float = 0.45, initial_input: NetworkInput | None = None, **kwargs: Any) -> None:
        super().__init__(initial_input=initial_input or GaussianNoise(channels=None, scale=0.1), **kwargs)
        self.total_variation = TotalVariation(tv_weight, isotropic=False, reduction="mean")

    def setup(self, stage: str) -> None:
        """Check that the input is learned; see the base class.

        Raises:
            MissingCallbackError: If no callback learns the input.
        """
        if stage == "fit":
            learning = callbacks_of(self.trainer, LearnsNetworkInput)
            demand_callback(self, learning, "learns the network input", "LearnedInput")
        super().setup(stage)

    def objective(self, estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
        """Root of the mean square, and total variation; see the base class."""
        predicted = measurement.physics.A(estimate)
        # The norm, not the root of the mean square: its gradient at zero is zero instead of NaN.
        data = distance(predicted, measurement.y, "norm") / predicted[0].numel() ** 0.5
        return {"data": data, "tv": self.total_variation(estimate)}
