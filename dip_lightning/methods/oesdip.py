"""Optimal Eye Surgeon: learn which weights to keep, then train those alone."""

from __future__ import annotations

import warnings
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.hooks import RemovableHandle

from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.masks import bernoulli_divergence, largest, soft_mask
from dip_lightning.hooks import callbacks_of
from dip_lightning.methods.dip import DIP
from dip_lightning.networks.masked import apply_mask, load_mask, parts, save_mask, trained

#: Name of the mask's file in the run folder.
MASK = "mask.pt"


class OESDIP(DIP):
    r"""Optimal Eye Surgeon (OES): DIP with a sparse sub-network that is found at initialisation.

    The first ``mask_steps`` outer steps leave the random weights :math:`\theta_0` as they are and learn the
    log-odds :math:`l` of keeping each,

    .. math:: \min_l E_m \|A f_{m \circ \theta_0}(z) - y\| + \beta\,\mathrm{KL}(\sigma(l) \,\|\, s),

    with :math:`m` a Gumbel-softmax sample at every optimiser step. Then the share ``keep`` with the largest log-odds
    stays, all other weights are zero for good, and the remaining outer steps train what is left. Source: Ghosh et al.,
    ICML 2024 (arXiv 2406.05288); settings as released, which learns for 60,000 steps and trains for 40,000.

    Stopping rules and averages see no iterate of the first phase. The mask is written into the run folder as
    ``mask.pt``; given as ``mask_path``, it replaces the first phase, also for another image.

    Args:
        keep: Share :math:`s` of the weights that stays, rounded down to a whole number; also the prior probability.
        mask_steps: Outer steps that learn the mask, of the ``outer_steps`` in all.
        mask_path: Mask file to use instead of learning one.
        mask_lr: Learning rate of Adam on the log-odds.
        kl_weight: :math:`\beta`.
        temperature: Temperature of the Gumbel-softmax.
        **kwargs: See :class:`~dip_lightning.methods.settings.FitSettings`; optimiser and scheduler are those of the
            second phase, penalties act in it alone.

    Raises:
        ConfigurationError: If a number is out of range.
    """

    mask: Tensor

    def __init__(
        self,
        keep: float = 0.05,
        mask_steps: int = 1000,
        mask_path: str | None = None,
        mask_lr: float = 0.01,
        kl_weight: float = 1e-9,
        temperature: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < keep < 1 or min(mask_lr, temperature) <= 0 or kl_weight < 0:
            raise ConfigurationError(
                f"keep={keep} must be in (0, 1), mask_lr={mask_lr} and temperature={temperature} positive, and "
                f"kl_weight={kl_weight} not negative."
            )
        self.mask_steps = mask_steps if mask_path is None else 0
        if not 0 <= self.mask_steps < self.outer_steps or (mask_path is None and mask_steps == 0):
            raise ConfigurationError(
                f"mask_steps={mask_steps} must be at least 1 and below outer_steps={self.outer_steps}, which counts "
                "both phases; or give a mask_path."
            )
        self.keep = keep
        self.mask_path = mask_path
        self.mask_lr = mask_lr
        self.kl_weight = kl_weight
        self.temperature = temperature
        self.mask_logits = nn.Parameter(torch.empty(0))
        self.register_buffer("mask", torch.empty(0, dtype=torch.bool))
        self._saved_optimizer: dict[str, Any] | None = None
        self._hooks_on_gradients: list[RemovableHandle] = []

    @property
    def learning_mask(self) -> bool:
        """Whether the fit is in its first phase."""
        return self.outer_step < self.mask_steps

    @property
    def shown(self) -> int:
        """Optimiser steps of the second phase; see the base class."""
        return max(self.iteration - self.mask_steps * self.inner_steps, 0)

    # Start and end ---------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Make room for the mask, or read it; see the base class.

        Raises:
            ConfigurationError: If there are several members, nothing would be kept, or the mask file does not fit.
        """
        super().setup(stage)
        if stage != "fit":
            return
        if self.measurement.batch_size > 1:
            raise ConfigurationError("OESDIP learns one mask for one measurement: set data.batch and data.repeat to 1.")
        count = sum(parameter.numel() for parameter in trained(self.network).values())
        if int(self.keep * count) == 0:
            raise ConfigurationError(f"keep={self.keep} leaves none of {count} weights.")
        dtype = next(self.network.parameters()).dtype
        self.mask_logits = nn.Parameter(torch.zeros(count, dtype=dtype))
        self.mask = torch.ones(count, dtype=torch.bool)
        if self.mask_path is not None:
            self.mask, seed = load_mask(self.mask_path, self.network)
            if seed != self.member_seeds(self.measurement)[0] and self.reinitialise:
                warnings.warn(
                    f"The mask {self.mask_path} was learned on the weights of seed {seed}: set model.seed to it.",
                    stacklevel=2,
                )

    def on_fit_start(self) -> None:
        """Prepare both phases; see the base class."""
        super().on_fit_start()
        self._new_mask_optimizer()
        if self._saved_optimizer is not None:
            self.mask_optimizer.load_state_dict(self._saved_optimizer)
            self._saved_optimizer = None
        masks = parts(self.mask, self.network)  # views: they follow the mask
        self._hooks_on_gradients = [
            parameter.register_hook(lambda gradient, mask=masks[name]: gradient * mask)
            for name, parameter in trained(self.network).items()
        ]

    def on_fit_end(self) -> None:
        """Leave an ordinary network behind; its masked weights are zero."""
        super().on_fit_end()
        for handle in self._hooks_on_gradients:
            handle.remove()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the state of the mask's optimiser; see the base class."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["mask_optimizer"] = self.mask_optimizer.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Bring the state of the mask's optimiser back; see the base class."""
        super().on_load_checkpoint(checkpoint)
        self._saved_optimizer = checkpoint["mask_optimizer"]

    # Steps -----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Make an outer step of the phase that the fit is in; see the base class."""
        if self.outer_step == 0 and self.learning_mask:
            with torch.no_grad():
                self.mask_logits.zero_()
                self.mask.fill_(True)
            self._new_mask_optimizer()
        if self.outer_step == self.mask_steps:
            self._cut()
        super().training_step(batch, batch_idx)

    def after_step(self) -> None:
        """Keep the masked weights at zero, whatever the optimiser does; see the base class."""
        super().after_step()
        apply_mask(self.mask, self.network)

    def _inner_step(self) -> None:
        if self.learning_mask:
            self._mask_step()
        else:
            super()._inner_step()

    def _mask_step(self) -> None:
        self.mask_optimizer.zero_grad(set_to_none=True)
        uniform = self.generators.uniform(self.mask_logits.shape, self.mask_logits.dtype)[0]
        masks = parts(soft_mask(self.mask_logits, uniform, self.temperature), self.network)
        weights = {name: weight.detach() * masks[name] for name, weight in trained(self.network).items()}
        output = functional_call(self.network, weights, (self.network_input(),))
        estimate = self.measurement.as_image(output)
        with torch.autocast(self.device.type, enabled=False):
            terms = self.objective(estimate, self.measurement)
            terms["kl"] = (self.kl_weight * bernoulli_divergence(self.mask_logits, self.keep)).view(1)
            loss = torch.stack(list(terms.values())).sum(0)
        loss.sum().backward()
        self.mask_optimizer.step()
        self.iteration += 1
        self.last_output, self.loss = estimate.detach(), loss.detach()
        self.terms = {name: term.detach() for name, term in terms.items()}

    def _new_mask_optimizer(self) -> None:
        self.mask_optimizer = torch.optim.Adam([self.mask_logits], lr=self.mask_lr)

    def _cut(self) -> None:
        if self.mask_path is None:
            ties = self.generators.uniform(self.mask.shape)[0]
            self.mask.copy_(largest(self.mask_logits.detach(), int(self.keep * len(self.mask)), ties))
        apply_mask(self.mask, self.network)
        seed = self.member_seeds(self.measurement)[0]
        for callback in callbacks_of(self.trainer, pl.Callback):
            for folder in getattr(callback, "run_folders", ()):
                with folder.writing(MASK) as path:
                    save_mask(path, self.mask, self.network, seed)
