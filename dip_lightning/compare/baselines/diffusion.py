"""Posterior sampling with a pretrained diffusion model: baselines that have seen training data.

deepinv's samplers. Score-MRI and MCG are the same adapter with a score network of one's own, given by class path.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dip_lightning.compare.baselines.diffusion_base import Channels, DiffusionSampler
from dip_lightning.errors import ConfigurationError


class DPS(DiffusionSampler):
    """Diffusion posterior sampling (Chung et al., arXiv 2209.14687), deepinv's ``DPS``.

    Args:
        denoiser: See :class:`DiffusionSampler`.
        weights: See there.
        channels: See there.
        steps: Steps of the sampler.
        weight: Weight of the data term; deepinv's default.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        weights: str,
        channels: Channels = "as_they_are",
        steps: int = 1000,
        weight: float = 1.0,
    ) -> None:
        super().__init__(denoiser, weights, channels, steps)
        self.weight = weight

    def sample(self, y: Tensor, physics: Any, sigma: float, start: Tensor, denoiser: nn.Module) -> Tensor:
        """Run deepinv's sampler; see the base class."""
        from deepinv import sampling

        sampler = sampling.DPS(denoiser, num_steps=self.steps, weight=self.weight, device=y.device, dtype=start.dtype)
        return sampler(y, physics, x_init=start.shape)


class DiffPIR(DiffusionSampler):
    """DiffPIR (Zhu et al., arXiv 2305.08995), deepinv's ``DiffPIR``; linear physics.

    Args:
        denoiser: See :class:`DiffusionSampler`.
        weights: See there.
        channels: See there.
        steps: Steps of the sampler.
        lambda_: Weight of the data term.
        zeta: Part of the noise that is drawn anew.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        weights: str,
        channels: Channels = "as_they_are",
        steps: int = 100,
        lambda_: float = 7.0,
        zeta: float = 0.1,
    ) -> None:
        super().__init__(denoiser, weights, channels, steps)
        self.lambda_ = lambda_
        self.zeta = zeta

    def sample(self, y: Tensor, physics: Any, sigma: float, start: Tensor, denoiser: nn.Module) -> Tensor:
        """Run deepinv's sampler; see the base class."""
        from deepinv import sampling
        from deepinv.optim import data_fidelity

        sampler = sampling.DiffPIR(
            denoiser,
            data_fidelity.L2(),
            sigma=sigma,
            max_iter=self.steps,
            zeta=self.zeta,
            lambda_=self.lambda_,
            device=y.device,
        )
        return sampler(y, physics, x_init=start)


class DDRM(DiffusionSampler):
    """DDRM (Kawar et al., arXiv 2201.11793), deepinv's ``DDRM``; physics with a known singular value decomposition.

    Args:
        denoiser: See :class:`DiffusionSampler`.
        weights: See there.
        channels: See there.
        steps: Noise levels, evenly spaced from 1 to 0.
        eta: See the paper.
        etab: See the paper.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        weights: str,
        channels: Channels = "as_they_are",
        steps: int = 100,
        eta: float = 0.85,
        etab: float = 1.0,
    ) -> None:
        super().__init__(denoiser, weights, channels, steps)
        self.eta = eta
        self.etab = etab

    def sample(self, y: Tensor, physics: Any, sigma: float, start: Tensor, denoiser: nn.Module) -> Tensor:
        """Run deepinv's sampler; see the base class."""
        import numpy as np
        from deepinv import sampling
        from deepinv.physics import DecomposablePhysics

        if not isinstance(physics, DecomposablePhysics):
            raise ConfigurationError(
                f"DDRM needs physics with a known singular value decomposition; {type(physics).__name__} has none."
            )
        levels = np.linspace(1, 0, self.steps)
        return sampling.DDRM(denoiser, sigmas=levels, eta=self.eta, etab=self.etab)(y, physics)
