"""The loop that every deep image prior shares, and the seams at which they differ."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from dip_lightning.errors import ConfigurationError, naming
from dip_lightning.functional.losses import distance
from dip_lightning.functional.metrics import score
from dip_lightning.hooks import AddsParameters, callbacks_of
from dip_lightning.measurement import Measurement
from dip_lightning.methods.checks import check_schedule, check_terms
from dip_lightning.methods.engine import Engine, make_engine
from dip_lightning.methods.start import FitStart
from dip_lightning.methods.tuning import match_layout, prefer_fused
from dip_lightning.penalties import own_name


class BaseDIP(FitStart):
    r"""Fit an untrained network :math:`f_\theta` to one measurement: :math:`\min_\theta \ell(f_\theta(z), y)`.

    One Lightning batch is one outer step: ``inner_steps`` optimiser steps on a fixed network input, after which
    callbacks may change it. A variant overrides :meth:`objective`, and seldom one of the other seams:
    :meth:`network_input`, :meth:`forward_estimate`, :meth:`after_step`, :meth:`trained_parameters`.

    What is not in this file: arguments and their checks (:class:`~dip_lightning.methods.settings.FitSettings`), what
    comes before the first step (:class:`~dip_lightning.methods.start.FitStart`), several measurements at once
    (:class:`~dip_lightning.methods.batch.BatchedFit`), and counters, images and checkpoints
    (:class:`~dip_lightning.methods.state.FitState`).

    Args:
        **kwargs: See :class:`~dip_lightning.methods.settings.FitSettings`.
    """

    #: Whether a step is the same sequence of device operations every time, so that a CUDA graph can repeat it: neither
    #: the objective nor the forward pass looks at counters or at numbers that change on the host. Not inherited.
    static_step: ClassVar[bool] = False

    _engine = Engine()

    # The seams -------------------------------------------------------------------------------------------------

    def objective(self, estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
        """Name the terms that are minimised.

        Args:
            estimate: Network output, ``[B, C, H, W]``, in the measurement's precision.
            measurement: What is fitted. ``measurement.target`` must not be read.

        Returns:
            Terms of shape ``[B]``; their sum is minimised.
        """
        raise NotImplementedError(f"{type(self).__name__} must say what it minimises: override objective().")

    def data_distance(self, estimate: Tensor, measurement: Measurement) -> Tensor:
        """How far the estimate is from the data, by ``reduction`` and ``data_weighting``; for :meth:`objective`.

        Args:
            estimate: ``[B, C, H, W]``.
            measurement: What is fitted.

        Returns:
            ``[B]``.
        """
        predicted, y = measurement.physics.A(estimate), measurement.y
        if self.data_weighting is None:
            return distance(predicted, y, self.reduction)
        weighted = self.data_weighting(predicted - y)
        value = distance(weighted, torch.zeros_like(weighted), self.reduction)
        # The mean is over the data: a weighting may give more values than there are, as a padded filter does.
        return value * (weighted.numel() / y.numel()) if self.reduction == "mse" else value

    def network_input(self) -> Tensor:
        """What the network is given at this step: the stored input, plus noise where the method has it.

        Returns:
            ``[B, C_in, H, W]``.
        """
        if self.input_noise == 0:
            return self.stored_input
        noise = self.generators.normal(self.stored_input.shape[1:], self.stored_input.dtype)
        return self.stored_input + self.input_noise * noise

    def forward_estimate(self) -> Tensor:
        """Make the image that the objective sees: one forward pass, unless a method averages several.

        Returns:
            ``[B, C, H, W]``, with gradients.
        """
        return self.network(self.network_input())

    def after_step(self) -> None:
        """Act after every optimiser step, before callbacks see its output; nothing, unless a method overrides it."""

    def set_network_input(self, z: Tensor) -> None:
        """Replace the stored input: the only way to change it.

        Args:
            z: ``[B, C_in, H, W]``, detached and copied.

        Raises:
            ConfigurationError: If the shape differs; an output with other channels cannot become the input.
        """
        if z.shape != self.stored_input.shape:
            raise ConfigurationError(
                f"The new network input {list(z.shape)} must have the shape of the old one "
                f"{list(self.stored_input.shape)}: give the network as many input as output channels."
            )
        with torch.no_grad():
            self.stored_input.copy_(z)

    def trained_parameters(self) -> list[Any]:
        """Parameters, or parameter groups, that the optimiser gets."""
        return [parameter for parameter in self.network.parameters() if parameter.requires_grad]

    # The loop --------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Build the optimiser, of weights and what callbacks add, and, if asked for, its scheduler.

        Raises:
            ConfigurationError: If torch refuses a value, such as a negative learning rate; if the schedule goes by
                another value than the loss.
        """
        self.stored_input = self.stored_input.to(next(self.network.parameters()).dtype)
        parameters = self.trained_parameters()
        added = [group for hook in callbacks_of(self.trainer, AddsParameters) for group in hook.parameter_groups(self)]
        if added and not isinstance(parameters[0], dict):
            parameters = [{"params": parameters}]
        with naming("model.optimizer"):
            optimizer = self.optimizer_factory([*parameters, *added])
        with naming("model.lr_scheduler"):
            scheduler = None if self.scheduler_factory is None else self.scheduler_factory(optimizer)
        check_schedule(scheduler)
        self.check_elementwise(optimizer, scheduler)
        prefer_fused(optimizer)
        return optimizer if scheduler is None else {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_train_start(self) -> None:
        """Start the clock; make no step if all were made before the fit was interrupted."""
        super().on_train_start()
        self.restore_members()
        match_layout(self.optimizers(use_pl_optimizer=False))  # type: ignore[arg-type]
        self._engine = make_engine(self.engine, self.device)
        if self.outer_step >= self.outer_steps:
            self.stop("outer_steps")

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Make one outer step; the batch carries nothing but its index."""
        if self.outer_step >= self.outer_steps:
            self.stop("outer_steps")
            return
        if self.leave_out_stopped():
            self._engine.members_changed()
        for _ in range(self.inner_steps):
            self._inner_step()
        self.outer_step += 1
        self.record = {"loss": self.loss, **self.terms}
        self.log_dict({name: self.mean_of_running(value) for name, value in self.record.items()})
        # Made on the device: a number from the host would be copied there, and the host would wait.
        self.log("step", torch.full((), float(self.iteration), device=self.device))
        self.keep_if_finite()
        if self.outer_step >= self.outer_steps:
            self.stop("outer_steps")

    def _inner_step(self) -> None:
        before = self.outputs() if self.roster.partial else None
        self._engine.step(self)
        self.iteration += 1
        with self.stack_only():
            self.after_step()
        if before is not None:
            self.keep_stopped(before)
        self._advance_scheduler()
        for observer in self._observers:
            observer.on_iterate(self.trainer, self, self.last_output)

    def optimise(self) -> None:
        """Make one optimiser step: device operations and nothing else, for an engine may compile or capture it."""
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        with self.stack_only():
            optimizer.step(self._closure)

    def _closure(self) -> Tensor:
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        optimizer.zero_grad(set_to_none=True)
        torch.clear_autocast_cache()  # Lightning before 2.6 keeps low-precision copies of changed weights
        estimate = self.measurement.as_image(self.forward_estimate())
        with torch.autocast(self.device.type, enabled=False):
            terms = self._all_terms(estimate)
            loss = torch.stack(list(terms.values())).sum(0)
        loss.sum().backward()
        if self.gradient_clip is not None:
            self.clip_weight_gradients(self.gradient_clip)
        self.last_output, self.loss = estimate.detach(), loss.detach()
        self.terms = {name: term.detach() for name, term in terms.items()}
        return self.loss.sum()

    def _all_terms(self, estimate: Tensor) -> dict[str, Tensor]:
        first = self.iteration == 0
        terms = self.objective(estimate, self.measurement)
        if first:
            check_terms(terms, len(estimate), f"{type(self).__name__}.objective")
        for penalty in self.penalties:
            name = own_name(penalty.name, terms)
            terms[name] = penalty(estimate)
            if first:
                check_terms({name: terms[name]}, len(estimate), type(penalty).__name__)
        return terms

    def _advance_scheduler(self) -> None:
        scheduler: Any = self.lr_schedulers()
        if scheduler is None:
            return
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()
        elif self.iteration % self.inner_steps == 0:
            scheduler.step(self.loss.sum())

    def on_train_end(self) -> None:
        """Free what the engine holds; see the base class."""
        super().on_train_end()
        self._engine.close()

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Score the stored reconstruction; no network runs."""
        for name, value in score(self.measurement, self.estimate).items():
            self.log(name, value.mean(), batch_size=1)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the stored reconstruction, ``[B, C, H, W]``; no network runs."""
        return self.estimate
