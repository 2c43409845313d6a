"""Self-guided deep image prior."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.functional.losses import Reduction, distance
from dip_lightning.hooks import LearnsNetworkInput, callbacks_of
from dip_lightning.inputs import NetworkInput, UniformNoise
from dip_lightning.measurement import Measurement
from dip_lightning.methods.base import BaseDIP
from dip_lightning.methods.checks import demand_callback
from dip_lightning.networks.stacked import StackedNetwork

InputNoise = Literal["uniform", "centred_uniform", "gaussian"]


class SelfGuidedDIP(BaseDIP):
    r"""Self-guided DIP: weights and network input are optimised together.

    .. math:: \min_{\theta, z} \|A\,E_\eta f_\theta(z + \eta) - y\| + \alpha \|E_\eta f_\theta(z + \eta) - z\|

    The expectation is the mean of ``draws`` outputs, and that mean is the estimate. The input's amplitude of noise is
    :math:`a = \rho \max z`, anew at every step. Source: Liang et al., ICASSP 2023 and IEEE TCI 2025
    (arXiv 2402.04097); the released code has :math:`\rho = 1/2`, three draws, noise uniform on :math:`[0, a)`,
    :math:`\alpha = 2` and norms that are not squared. It needs the callback
    :class:`~dip_lightning.callbacks.learned_input.LearnedInput`; without it, ``z`` would stay what it was drawn as.

    Args:
        regularisation: Weight :math:`\alpha` of the self-guidance.
        draws: Outputs in the mean.
        noise: ``uniform`` on :math:`[0, a)` as released, whose mean is not zero; ``centred_uniform`` on
            :math:`[-a/2, a/2)`; or ``gaussian`` of standard deviation :math:`a`.
        noise_amplitude: :math:`\rho`, the amplitude relative to the input's largest value.
        detach_amplitude: Whether the amplitude is a constant to the gradient. The released code differentiates it.
        batched: Whether all draws go through the network in one forward pass. ``None`` does it where no batch norm
            mixes the statistics of the draws.
        initial_input: First input; by default uniform on [0, 1), in the image's channels.
        reduction: How both distances are reduced.
        **kwargs: See :class:`~dip_lightning.methods.settings.FitSettings`.

    Raises:
        ConfigurationError: If a number is out of range or the noise unknown.
    """

    static_step = True

    def __init__(
        self,
        regularisation: float = 2.0,
        draws: int = 3,
        noise: InputNoise = "uniform",
        noise_amplitude: float = 0.5,
        detach_amplitude: bool = False,
        batched: bool | None = None,
        initial_input: NetworkInput | None = None,
        reduction: Reduction = "norm",
        **kwargs: Any,
    ) -> None:
        first = initial_input or UniformNoise(channels=None, scale=1.0)
        super().__init__(initial_input=first, reduction=reduction, **kwargs)
        if regularisation < 0 or draws < 1 or noise_amplitude < 0:
            raise ConfigurationError(
                f"regularisation={regularisation} and noise_amplitude={noise_amplitude} must not be negative, and "
                f"draws={draws} must be at least 1."
            )
        self.regularisation = regularisation
        self.draws = draws
        self.noise: InputNoise = check_option("noise", noise, get_args(InputNoise))
        self.noise_amplitude = noise_amplitude
        self.detach_amplitude = detach_amplitude
        self.batched = not _mixes_statistics(self.network) if batched is None else batched

    def setup(self, stage: str) -> None:
        """Check that the input is learned and can be compared with the image; see the base class.

        Raises:
            MissingCallbackError: If no callback learns the input.
            ConfigurationError: If the input has another shape than the image.
        """
        if stage == "fit":
            learning = callbacks_of(self.trainer, LearnsNetworkInput)
            demand_callback(self, learning, "learns the network input", "LearnedInput")
        super().setup(stage)
        if stage == "fit" and self.stored_input.shape != self.measurement.initial.shape:
            raise ConfigurationError(
                f"{type(self).__name__} compares its input {list(self.stored_input.shape)} with the image "
                f"{list(self.measurement.initial.shape)}: give the input, and in_channels of the network, its channels."
            )

    def forward_estimate(self) -> Tensor:
        """Mean of the outputs over the draws; see the base class."""
        z = self.network_input()
        noisy = [z + self.input_perturbation(z) for _ in range(self.draws)]
        if self.batched and not isinstance(self.network, StackedNetwork):
            return self.network(torch.cat(noisy)).mean(0, keepdim=True)
        return torch.stack([self.network(each) for each in noisy]).mean(0)

    def input_perturbation(self, z: Tensor) -> Tensor:
        r"""Draw :math:`\eta` for an input.

        Args:
            z: ``[B, C, H, W]``.

        Returns:
            The same shape; with a gradient to ``z`` through its amplitude unless that is detached.
        """
        amplitude = self.noise_amplitude * z.amax(dim=(1, 2, 3), keepdim=True)
        if self.detach_amplitude:
            amplitude = amplitude.detach()
        if self.noise == "gaussian":
            return amplitude * self.generators.normal(z.shape[1:], z.dtype)
        uniform = self.generators.uniform(z.shape[1:], z.dtype)
        return amplitude * (uniform - 0.5 if self.noise == "centred_uniform" else uniform)

    def objective(self, estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
        """Data term and self-guidance, both of the mean; see the base class."""
        z = self.stored_input.to(estimate.dtype)
        return {
            "data": self.data_distance(estimate, measurement),
            "self_guidance": self.regularisation * distance(estimate, z, self.reduction),
        }


def _mixes_statistics(network: nn.Module) -> bool:
    return any(isinstance(module, _BatchNorm) for module in network.modules())
