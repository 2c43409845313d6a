"""Plug-and-play reconstruction without a network: what the denoised input update does by itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dip_lightning.callbacks import DenoisedInputUpdate
from dip_lightning.compare.baselines.base import Baseline, Watch, linear
from dip_lightning.denoisers import denoise_members, prepare
from dip_lightning.errors import ConfigurationError
from dip_lightning.measurement import Measurement


class PlugAndPlay(Baseline):
    r"""Half-quadratic splitting with a denoiser (Zhang et al., arXiv 2008.13751).

    .. math:: z_{k} = D_{\sigma_k}\Bigl(\arg\min_z \|A z - y\|^2 + \mu \|A\|^2 \|z - z_{k-1}\|^2\Bigr)

    from the initial estimate; :math:`\sigma_k` follows the residual as in
    :class:`~dip_lightning.callbacks.DenoisedInputUpdate`, of which this is the sequence with :math:`z_{k-1}` itself in
    place of a network that is fitted to it. The comparison shows what the network adds.

    Args:
        denoiser: Any deepinv denoiser, called as ``denoiser(image, sigma)``; block matching unless given.
        strength: Noise in the image relative to that of the data over :math:`\|A\|`.
        largest: Cap of :math:`\sigma_k`, in image units.
        weight: :math:`\mu`.
        iterations: How many :math:`z_k`.
        inner_iterations: Iterations of conjugate gradients for each.
        spread: Gives :math:`\mu` from the noise; see :class:`~dip_lightning.callbacks.DenoisedInputUpdate`.

    Raises:
        ConfigurationError: If an option is out of range.
    """

    def __init__(
        self,
        denoiser: nn.Module | None = None,
        strength: float = 2.7,
        largest: float = 0.1,
        weight: float = 0.1,
        iterations: int = 60,
        inner_iterations: int = 8,
        spread: float | None = None,
    ) -> None:
        if iterations < 1:
            raise ConfigurationError(f"iterations={iterations} must be at least 1.")
        self.update = DenoisedInputUpdate(denoiser, strength, largest, weight, inner_iterations, spread=spread)
        self.iterations = iterations

    def reconstruct(self, measurement: Measurement, seed: int, watch: Watch) -> Tensor:
        """Solve and denoise in turn; see the base class."""
        linear(measurement, self)
        image, update = measurement.initial, self.update
        denoiser = prepare(update.denoiser, image)
        noise = weight = torch.empty(0)
        with torch.no_grad():
            for k in range(self.iterations):
                noise = update.noise(image, measurement)
                weight = torch.as_tensor(update.weight_for(noise))
                image = denoise_members(denoiser, update.solve(image, measurement, weight), noise.tolist())
                watch(k + 1, image)
        self.settings = {"iterations": self.iterations, "weight": weight.max().item(), "last_sigma": noise[0].item()}
        return image
