"""Denoiser-regularised deep image prior: plug-and-play with a network as the image."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from dip_lightning.denoisers import denoise_members, prepare
from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.functional.losses import Reduction, distance
from dip_lightning.measurement import Measurement
from dip_lightning.methods.base import BaseDIP

Splitting = Literal["admm", "hqs"]


class PnPDIP(BaseDIP):
    r"""Plug-and-play DIP: the image of a network is pulled towards what a denoiser makes of it.

    Every outer step makes ``inner_steps`` optimiser steps on

    .. math:: \tfrac12\|A f_\theta(z) - y\|^2 + \tfrac{\rho}{2}\|f_\theta(z) - (w - u)\|^2

    and then, with :math:`f = f_\theta(z)` of the last step and a denoiser :math:`D_\sigma`,

    .. math:: w \leftarrow D_\sigma(f + u), \qquad u \leftarrow u + f - w,

    which is ADMM; half-quadratic splitting (``hqs``) keeps :math:`u = 0`. It starts from the denoised initial
    estimate of the measurement and :math:`u = 0`. Source: Sun et al., ICASSP 2021 (plug-and-play DIP); the released
    code denoises after every step (``inner_steps: 1``) with :math:`\rho = 1`, Adam 1e-3 and BM3D.

    Args:
        denoiser: Any deepinv denoiser, called as ``denoiser(image, sigma)``: ``deepinv.models.TVDenoiser``
            and our ``dip_lightning.denoisers.BlockMatching`` need neither weights nor further packages; ``DRUNet``
            and others take ``pretrained`` with a file.
        sigma: Strength given to the denoiser, in image units: a standard deviation of noise, or the threshold of TV
            and wavelets.
        final_sigma: Strength in the last outer step; in between it changes geometrically. Constant unless given.
        penalty: :math:`\rho`.
        splitting: ``admm`` or ``hqs``.
        reduction: ``sum`` as above, or ``mse``, where each term is divided by its number of elements.
        **kwargs: See :class:`~dip_lightning.methods.settings.FitSettings`.

    Raises:
        ConfigurationError: If a number is out of range, or an option is unknown or does not fit.
    """

    static_step = True
    split_image: Tensor
    dual: Tensor

    def __init__(
        self,
        denoiser: nn.Module,
        sigma: float = 0.05,
        final_sigma: float | None = None,
        penalty: float = 1.0,
        splitting: Splitting = "admm",
        reduction: Reduction = "sum",
        **kwargs: Any,
    ) -> None:
        super().__init__(reduction=reduction, **kwargs)
        if min(sigma, sigma if final_sigma is None else final_sigma) <= 0 or penalty < 0:
            raise ConfigurationError(
                f"sigma={sigma} and final_sigma={final_sigma} must be positive and penalty={penalty} not negative."
            )
        if self.reduction == "norm":
            raise ConfigurationError("PnPDIP splits squared distances: set reduction to sum or mse.")
        self._denoiser = [denoiser]  # in a list: no submodule, or every checkpoint would hold its weights
        self.sigma = sigma
        self.final_sigma = sigma if final_sigma is None else final_sigma
        self.penalty = penalty
        self.splitting: Splitting = check_option("splitting", splitting, get_args(Splitting))
        self.register_buffer("split_image", torch.empty(0))
        self.register_buffer("dual", torch.empty(0))

    @property
    def denoiser(self) -> nn.Module:
        """The denoiser."""
        return self._denoiser[0]

    @property
    def current_sigma(self) -> float:
        """Strength of the denoiser at the current outer step."""
        part = min(self.outer_step / max(self.outer_steps - 1, 1), 1.0)
        return float(self.sigma ** (1 - part) * self.final_sigma**part)

    def setup(self, stage: str) -> None:
        """Make room for the splitting; see the base class."""
        super().setup(stage)
        if stage == "fit":
            self.split_image = torch.zeros_like(self.measurement.initial)
            self.dual = torch.zeros_like(self.measurement.initial)

    def on_fit_start(self) -> None:
        """Bring the denoiser to the fit's device and precision."""
        super().on_fit_start()
        initial = self.measurement.initial
        prepare(self.denoiser, initial)
        self.split_image, self.dual = self.split_image.to(initial.dtype), self.dual.to(initial.dtype)

    def objective(self, estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
        """Halves of the data term and of the distance to the denoised image; see the base class."""
        pull = distance(estimate, self.of_stack(self.split_image - self.dual), self.reduction)
        return {
            "data": 0.5 * self.data_distance(estimate, measurement),
            "splitting": 0.5 * self.penalty * pull,
        }

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Make one outer step, then denoise, before any callback can save a checkpoint."""
        before = self.outer_step
        if before == 0:
            self.split_image.copy_(self.denoise(self.measurement.initial))
            self.dual.zero_()
        super().training_step(batch, batch_idx)
        if self.outer_step > before and self.stopped_by != "nan":
            self._split()

    def denoise(self, image: Tensor) -> Tensor:
        """Denoise each member by itself.

        Args:
            image: ``[B, C, H, W]``.

        Returns:
            The same shape, without gradient.
        """
        with torch.autocast(image.device.type, enabled=False):  # mixed precision is the network's alone
            return denoise_members(self.denoiser, image, [self.current_sigma] * len(image))

    def _split(self) -> None:
        with torch.no_grad():
            noisy = self.last_output + self.dual
            self.split_image.copy_(self.denoise(noisy))
            if self.splitting == "admm":
                self.dual.copy_(noisy - self.split_image)
