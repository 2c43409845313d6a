"""The loop that every deep image prior shares, and the seams at which they differ."""

from __future__ import annotations

import os
from typing import Any, ClassVar, TypeVar, get_args

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.functional.losses import Reduction
from dip_lightning.functional.metrics import score
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.hooks import AddsParameters, IterateHook, PreparesMeasurement
from dip_lightning.inputs import NetworkInput, UniformNoise
from dip_lightning.measurement import Measurement
from dip_lightning.methods.batch import BatchedFit
from dip_lightning.methods.checks import check_measurement, check_network
from dip_lightning.methods.engine import Engine, EngineName, make_engine
from dip_lightning.methods.memory import check_memory
from dip_lightning.methods.tuning import match_layout, prefer_fused, suit_device
from dip_lightning.networks.blocks import UntrainedNetwork
from dip_lightning.networks.stacked import StackedNetwork
from dip_lightning.penalties import Penalty

#: Added to a member's seed for the noise drawn during the fit, so that it is not the noise of its first input.
NOISE_STREAM = 1_000_003

Hook = TypeVar("Hook")


class BaseDIP(BatchedFit, pl.LightningModule):
    r"""Fit an untrained network :math:`f_\theta` to one measurement: :math:`\min_\theta \ell(f_\theta(z), y)`.

    One Lightning batch is one outer step: ``inner_steps`` optimiser steps on a fixed network input, after which
    callbacks may change it. A variant overrides :meth:`objective`, and seldom one of the other seams:
    :meth:`network_input`, :meth:`forward_estimate`, :meth:`after_step`, :meth:`trained_parameters`.

    Args:
        network: The untrained network, ``[B, C_in, H, W] -> [B, C, H, W]``.
        initial_input: Makes the first network input.
        optimizer: Any torch optimiser, by class path and arguments.
        lr_scheduler: Any torch scheduler; it advances at every optimiser step (``ReduceLROnPlateau`` at every outer
            step, by the loss).
        outer_steps: Outer steps to make at most, K.
        inner_steps: Optimiser steps in an outer step, N.
        reduction: How distances are reduced: ``norm``, ``mse`` or ``sum``.
        input_noise: Standard deviation of the normal noise added to the network input at every step.
        penalties: Terms to add to the objective, each a :class:`~dip_lightning.penalties.Penalty`.
        gradient_clip: Largest norm of the gradient, or ``None``.
        reinitialise: Draw the network's weights from the seed at the start of fit. ``False`` keeps them, for a
            pretrained network.
        seed: Seed of weights, input and noise. ``None`` takes ``seed_everything``'s, or 0.
        engine: What runs the optimiser steps: ``eager``; ``compile``, the network through ``torch.compile``;
            ``cuda_graph``, whole steps replayed on a CUDA device; ``auto``, CUDA graphs where there is such a device,
            else eager. What is not possible falls back to eager with a warning.

    Raises:
        ConfigurationError: If a number is out of range or the reduction is unknown.
    """

    #: First half of the run folder's name; the lower-case class name unless a subclass says otherwise.
    method_name: ClassVar[str] = ""
    #: Whether a step is the same sequence of device operations every time, so that a CUDA graph can repeat it: neither
    #: the objective nor the forward pass looks at counters or at numbers that change on the host. Not inherited.
    static_step: ClassVar[bool] = False

    def __init__(
        self,
        network: UntrainedNetwork | nn.Module,
        initial_input: NetworkInput | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        outer_steps: int = 2000,
        inner_steps: int = 1,
        reduction: Reduction = "mse",
        input_noise: float = 0.0,
        penalties: list[Penalty] | None = None,
        gradient_clip: float | None = None,
        reinitialise: bool = True,
        seed: int | None = None,
        engine: EngineName = "eager",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for name in [name for name, value in self.hparams.items() if _holds_objects(value)]:
            del self.hparams[name]  # outside the CLI: modules would be pickled into every checkpoint
        if outer_steps < 1 or inner_steps < 1:
            raise ConfigurationError(f"outer_steps={outer_steps} and inner_steps={inner_steps} must be at least 1.")
        if input_noise < 0 or (gradient_clip is not None and gradient_clip <= 0):
            raise ConfigurationError(f"input_noise={input_noise} or gradient_clip={gradient_clip} is out of range.")
        self.automatic_optimization = False
        self.network = network
        self.initial_input = initial_input or UniformNoise()
        self.optimizer_factory = optimizer
        self.scheduler_factory = lr_scheduler
        self.outer_steps = outer_steps
        self.inner_steps = inner_steps
        self.reduction: Reduction = check_option("reduction", reduction, get_args(Reduction))  # type: ignore[assignment]
        self.input_noise = input_noise
        self.penalties = penalties or []
        self.gradient_clip = gradient_clip
        self.reinitialise = reinitialise
        self.seed = seed
        self.engine: EngineName = check_option("engine", engine, get_args(EngineName))  # type: ignore[assignment]
        self._engine: Engine = Engine()
        self._observers: list[IterateHook] = []

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

    def setup(self, stage: str) -> None:
        """Take the measurement from the DataModule; draw weights and input from the seed; check what can be checked."""
        self.measurement = self.take_measurement(self.trainer)
        self.stack_network(self.measurement.batch_size)
        if stage != "fit":
            return
        self.begin(self.measurement.batch_size)
        for hook in self._hooks(PreparesMeasurement):
            self.measurement = hook.prepare_measurement(self.measurement, self)
        if hasattr(self.network, "set_image_size"):  # decoders, whose input is smaller than the image
            self.network.set_image_size(self.measurement.image_shape[1:])  # type: ignore[operator]
        self._drawn_in = next(self.network.parameters()).dtype
        self.stored_input = self._draw()
        self._observers = self._hooks(IterateHook)
        check_network(getattr(self.network, "single", self.network), self.stored_input, self.measurement)
        if isinstance(self.network, StackedNetwork):
            check_memory(self.network.single, self.stored_input, self.trainer.strategy.root_device)

    def on_fit_start(self) -> None:
        """Bring the measurement to the device and precision of the fit."""
        dtype = torch.float64 if self.stored_input.dtype == torch.float64 else torch.float32
        self.measurement = self.measurement.to(self.device, dtype)
        self.generators = self._noise_generators()
        self.restore_generators()
        self.fall_back_to(self.measurement.initial)
        suit_device(self.network, self.device)
        self.network.train()

    def configure_optimizers(self) -> Any:
        """Build the optimiser, of weights and what callbacks add, and, if asked for, its scheduler."""
        self.stored_input = self.stored_input.to(next(self.network.parameters()).dtype)
        parameters = self.trained_parameters()
        added = [group for hook in self._hooks(AddsParameters) for group in hook.parameter_groups(self)]
        if added and not isinstance(parameters[0], dict):
            parameters = [{"params": parameters}]
        optimizer = self.optimizer_factory([*parameters, *added])
        scheduler = None if self.scheduler_factory is None else self.scheduler_factory(optimizer)
        self.check_elementwise(optimizer, scheduler)
        prefer_fused(optimizer)
        return optimizer if scheduler is None else {"optimizer": optimizer, "lr_scheduler": scheduler}

    def restart(self, measurement: Measurement, weights: dict[str, Tensor] | None = None) -> None:
        """Start over in the middle of a fit, as a new fit with the same seed would start.

        Args:
            measurement: What is fitted from now on, on the fit's device.
            weights: The network's first weights, where they are not drawn from the seed.
        """
        self.measurement = measurement
        device, dtype = self.device, next(self.network.parameters()).dtype
        # Where and in which precision a new fit draws its weights: elsewhere the same seed gives others.
        self.network.to("cpu", self._drawn_in)
        if weights:
            self.network.load_state_dict(weights)
        first_input = self._draw()
        self.network.to(device, dtype)
        suit_device(self.network, device)
        self.set_network_input(first_input.to(self.stored_input))
        self.generators = self._noise_generators()
        self.iteration = self.outer_step = 0
        self.reports.clear()
        self.trainer.strategy.setup_optimizers(self.trainer)

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
        self.log("step", float(self.iteration))
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
        output = self.forward_estimate()
        with torch.autocast(self.device.type, enabled=False):
            estimate = output.to(self.measurement.initial.dtype).contiguous()
            support = getattr(self.measurement.physics, "image_support", None)
            if support is not None:  # pixels that no coil sees are zero: data say nothing there, and they would drift
                estimate = estimate * support
            terms = self.objective(estimate, self.measurement)
            terms.update({penalty.name: penalty(estimate) for penalty in self.penalties})
            loss = torch.stack(list(terms.values())).sum(0)
        loss.sum().backward()
        if self.gradient_clip is not None:
            self.clip_weight_gradients(self.gradient_clip)
        self.last_output, self.loss = estimate.detach(), loss.detach()
        self.terms = {name: term.detach() for name, term in terms.items()}
        return self.loss.sum()

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

    # Checks and helpers ----------------------------------------------------------------------------------------

    def member_seeds(self, measurement: Measurement) -> list[int]:
        """Seed of each member of a measurement."""
        seed = self.seed if self.seed is not None else int(os.environ.get("PL_GLOBAL_SEED", "0"))
        return [seed + repetition for repetition in measurement.repetitions or [0] * measurement.batch_size]

    @property
    def has_observers(self) -> bool:
        """Whether callbacks see every iterate."""
        return bool(self._observers)

    @property
    def name(self) -> str:
        """Name of the method in run folders and tables."""
        return self.method_name or type(self).__name__.lower()

    def take_measurement(self, trainer: pl.Trainer) -> Measurement:
        """Get the measurement from the trainer's DataModule, which has been set up.

        Raises:
            ConfigurationError: If there is none.
        """
        measurement = getattr(trainer.datamodule, "measurement", None)  # type: ignore[attr-defined]
        return check_measurement(measurement, type(self).__name__)

    def _draw(self) -> Tensor:
        seeds = self.member_seeds(self.measurement)
        if self.reinitialise:
            self.draw_weights(seeds)
        return self.initial_input(self.measurement, MemberGenerators(seeds)).detach()

    def _noise_generators(self) -> MemberGenerators:
        seeds = [seed + NOISE_STREAM for seed in self.member_seeds(self.measurement)]
        return MemberGenerators(seeds, self.device)

    def _hooks(self, kind: type[Hook]) -> list[Hook]:
        return [callback for callback in self.trainer.callbacks if isinstance(callback, kind)]  # type: ignore[attr-defined]


def _holds_objects(value: Any) -> bool:
    return callable(value) or (isinstance(value, list) and any(callable(item) for item in value))
