"""Deep image prior with noise on its weights."""

from __future__ import annotations

from typing import Any

import torch

from dip_lightning.errors import ConfigurationError
from dip_lightning.methods.dip import DIP
from dip_lightning.networks.stacked import StackedNetwork


class SGLDDIP(DIP):
    r"""SGLD-DIP: vanilla DIP whose weights are shaken after every step, so that its outputs sample a posterior.

    After each optimiser step every four-dimensional parameter (the convolutions' weights) gets noise
    :math:`\mathcal N(0, (\kappa\,\mathrm{lr})^2)` with the current learning rate of its group. Source: Cheng et al.,
    CVPR 2019. Their released code does this with Adam, :math:`\kappa = 2` and a learning rate of 0.01; it is like
    stochastic gradient Langevin dynamics, but neither its drift (Adam's) nor its standard deviation (not
    :math:`\sqrt{2\,\mathrm{lr}}`) is that of the theory. The callback ``PosteriorSamples`` takes mean and standard
    deviation of the outputs after a burn-in.

    Args:
        param_noise_sigma: :math:`\kappa`, in units of the learning rate.
        **kwargs: See :class:`~dip_lightning.methods.settings.FitSettings`.

    Raises:
        ConfigurationError: If it is negative.
    """

    def __init__(self, param_noise_sigma: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if param_noise_sigma < 0:
            raise ConfigurationError(f"param_noise_sigma={param_noise_sigma} must not be negative.")
        self.param_noise_sigma = param_noise_sigma

    def after_step(self) -> None:
        """Add the noise; see the base class."""
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        stacked = isinstance(self.network, StackedNetwork)  # its parameters have a row for each member
        weights = {id(parameter) for parameter in self.network.parameters() if parameter.ndim == 4 + stacked}
        with torch.no_grad():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if id(parameter) in weights:
                        shape = parameter.shape[1:] if stacked else parameter.shape
                        noise = self.generators.normal(shape, parameter.dtype).view_as(parameter)
                        parameter.add_(noise, alpha=self.param_noise_sigma * float(group["lr"]))
