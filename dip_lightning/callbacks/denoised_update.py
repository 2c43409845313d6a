"""Input updates that denoise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from dip_lightning.callbacks.input_update import Output
from dip_lightning.callbacks.proximal_update import ProximalInputUpdate
from dip_lightning.denoisers import BlockMatching, denoise_members, prepare
from dip_lightning.errors import ConfigurationError
from dip_lightning.measurement import Measurement
from dip_lightning.physics.masked import measured

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP

#: A smaller weight would only cost iterations: the equation is no better conditioned than the operator then.
_LEAST_WEIGHT = 1e-6


class DenoisedInputUpdate(ProximalInputUpdate):
    r"""Make the next input what a denoiser makes of the image near the output that explains the data.

    .. math:: z_k = D_{\sigma_k}\Bigl(\arg\min_z \|A z - y\|^2 + \mu \|A\|^2 \|z - f\|^2\Bigr), \qquad
        \sigma_k = \min\Bigl(\kappa \, \frac{\mathrm{rms}(A f - y)}{\|A\|},\, \sigma_{\max}\Bigr)

    with the output :math:`f`; in :math:`\sigma_k` its average where outputs are averaged, because what the last
    optimiser steps put into an output is no noise of the data. This is a step of plug-and-play half-quadratic splitting
    (Zhang et al., arXiv 2008.13751) at the place of aSeqDIP's input update: its autoencoding term then pulls the
    network towards an image that has what the data say and that the denoiser lets pass. The strength follows the
    residual, so that the noise level need not be known: it falls while the network learns the image, stays at the noise
    where there is some, and goes to nothing where there is none. Ours; the aSeqDIP authors do not use it.

    Args:
        denoiser: Any deepinv denoiser, called as ``denoiser(image, sigma)``; block matching unless given.
        strength: :math:`\kappa`: how much larger the noise is in the image than a datum's over the operator's norm.
            About 1 for coil images and photographs, more where :math:`A` is far from orthogonal (2.7 for 30 views).
        largest: :math:`\sigma_{\max}`, in image units: holds back the first updates, whose residual is no noise.
        weight: :math:`\mu`; see :class:`ProximalInputUpdate`.
        iterations: Iterations of conjugate gradients at each update.
        report: Whether the estimate is data-consistent too (not denoised); see :class:`ProximalInputUpdate`.
        output: ``last``, ``recomputed`` or ``average``, as in :class:`InputUpdate`.
        every: Outer steps between two updates.
        spread: How far the output is thought to be from the truth, as a standard deviation in image units. Then
            :math:`\mu = (\sigma_k / \mathrm{spread})^2`, what Bayes' rule makes of two Gaussian errors, takes the place
            of ``weight``: data with noise are weighed against the output, and data without are solved for.
        share: Share of the new input in the estimate, from 0 to 1; the rest is the average of the outputs (the
            output, where they are not averaged), or what ``report`` makes of it. The input is ahead of the network, and
            the two err in different ways. With a share, put this callback behind the averaging and before stopping
            rules.

    Raises:
        ConfigurationError: If an option is out of range.
    """

    def __init__(
        self,
        denoiser: nn.Module | None = None,
        strength: float = 1.0,
        largest: float = 0.1,
        weight: float = 0.1,
        iterations: int = 5,
        report: bool = False,
        output: Output = "last",
        every: int = 1,
        share: float = 0.0,
        spread: float | None = None,
    ) -> None:
        super().__init__(weight, iterations, report, output, every)
        if strength <= 0 or largest <= 0:
            raise ConfigurationError(f"strength={strength} and largest={largest} must be positive.")
        if not 0 <= share <= 1:
            raise ConfigurationError(f"share={share} must be from 0 to 1.")
        if spread is not None and spread <= 0:
            raise ConfigurationError(f"spread={spread} must be positive.")
        self.share = share
        self.spread = spread
        self.denoiser = BlockMatching() if denoiser is None else denoiser
        self.strength = strength
        self.largest = largest
        self._known: tuple[Measurement, Tensor] | None = None

    @property
    def makes_estimate(self) -> bool:
        """Whether the estimate is made here; see the base class."""
        return super().makes_estimate or self.share > 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Bring the denoiser to the fit's device; see the base class.

        Raises:
            ConfigurationError: If the physics has no adjoint.
        """
        super().on_train_start(trainer, pl_module)
        prepare(self.denoiser, pl_module.measurement.initial)

    def new_input(self, pl_module: BaseDIP, output: Tensor) -> Tensor:
        """Solve from the output, denoise; report."""
        average = pl_module.reports.get("average", output)
        noise = self.noise(average, pl_module.measurement)
        solved = self._solved(pl_module, output, self.weight_for(noise))
        denoised = denoise_members(self.denoiser, solved, noise.tolist())
        if self.share:
            rest = pl_module.reports["consistent"] if self.report else average
            pl_module.report("consistent", torch.lerp(rest, denoised, self.share))
        return denoised

    def weight_for(self, noise: Tensor) -> float | Tensor:
        r"""Give :math:`\mu` for the noise in the image, ``[B]``: ``weight``, or what ``spread`` makes of the noise."""
        if self.spread is None:
            return self.weight
        return (noise / self.spread).square().clamp_min(_LEAST_WEIGHT)

    def noise(self, image: Tensor, measurement: Measurement) -> Tensor:
        """Say how strongly to denoise.

        Args:
            image: ``[B, C, H, W]``.
            measurement: Gives the residual; entries that do not depend on the image are not counted.

        Returns:
            Standard deviations, ``[B]``, in image units.
        """
        physics: Any = measurement.physics
        if self._known is None or self._known[0] is not measurement:
            self._known = (measurement, measured(physics, image).flatten(1).sum(1).clamp_min(1))
        with torch.no_grad():
            residual = torch.linalg.vector_norm((physics.A(image) - measurement.y).flatten(1), dim=1)
        size = (residual.square() / self._known[1] / self.squared_norm(measurement)).sqrt()
        return (self.strength * size).clamp_max(self.largest)
