"""What happens before the first step of a fit, and when a fit starts over."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytorch_lightning as pl
import torch
from torch import Tensor

from dip_lightning.functional.random import MemberGenerators
from dip_lightning.hooks import IterateHook, PreparesMeasurement, StopsFit, callbacks_of
from dip_lightning.measurement import Measurement
from dip_lightning.methods.checks import (
    check_length,
    check_measurement,
    check_network,
    check_one_process,
    check_precision,
    check_weights,
)
from dip_lightning.methods.fingerprint import check_of_a_fit, check_same_fit, fingerprint
from dip_lightning.methods.memory import check_memory
from dip_lightning.methods.settings import FitSettings
from dip_lightning.methods.tuning import suit_device
from dip_lightning.networks.stacked import StackedNetwork

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP

#: Added to a member's seed for the noise drawn during the fit, so that it is not the noise of its first input.
NOISE_STREAM = 1_000_003


class FitStart(FitSettings):
    """Measurement, weights, input and optimiser, as they are when the first step is made.

    Lightning calls :meth:`setup` first, with the network on the host; a checkpoint's weights and input come then, and
    the optimiser; last :meth:`on_fit_start`, with the network on its device.
    """

    #: First half of the run folder's name; the lower-case class name unless a subclass says otherwise.
    method_name: ClassVar[str] = ""

    set_network_input: Callable[[Tensor], None]  # one of the seams
    _observers: Sequence[IterateHook] = ()
    _fingerprint: dict[str, Any] | None = None

    def setup(self, stage: str) -> None:
        """Take the measurement from the DataModule; draw weights and input from the seed; check what can be checked."""
        self.measurement = self.take_measurement(self.trainer)
        check_weights(self.network)
        self.stack_network(self.measurement.batch_size)
        self._fingerprint = None
        if stage != "fit":
            return
        self._fingerprint = fingerprint(self, self.measurement, self.trainer)
        check_precision(str(self.trainer.precision))
        check_length(self.trainer)
        self.begin(self.measurement.batch_size)
        self.passes = 2 if any(hook.starts_over for hook in callbacks_of(self.trainer, StopsFit)) else 1
        for hook in callbacks_of(self.trainer, PreparesMeasurement):
            self.measurement = hook.prepare_measurement(self.measurement, cast("BaseDIP", self))
        if self.data_weighting is not None:
            self.data_weighting.check(self.measurement)
        if hasattr(self.network, "set_image_size"):  # decoders, whose input is smaller than the image
            self.network.set_image_size(self.measurement.image_shape[1:])  # type: ignore[operator]
        self._drawn_in = next(self.network.parameters()).dtype
        kept = self.network.state_dict() if self.passes > 1 and not self.reinitialise else {}
        self._first_weights = {name: value.clone() for name, value in kept.items()}
        self.stored_input = self._draw()
        self._observers = callbacks_of(self.trainer, IterateHook)
        check_network(getattr(self.network, "single", self.network), self.stored_input, self.measurement)
        if isinstance(self.network, StackedNetwork):
            check_memory(self.network.single, self.stored_input, self.trainer.strategy.root_device)
            self.network.settle(self.stored_input)

    def on_fit_start(self) -> None:
        """Bring the measurement to the device and precision of the fit."""
        dtype = torch.float64 if self.stored_input.dtype == torch.float64 else torch.float32
        self.measurement = self.measurement.to(self.device, dtype)
        self.generators = self._noise_generators()
        self.restore_generators()
        self.fall_back_to(self.measurement.initial)
        suit_device(self.network, self.device, self.trainer.optimizers[0])
        self.network.train()

    def restart(self, measurement: Measurement) -> None:
        """Start over in the middle of a fit, as a new fit with the same seed would start.

        Args:
            measurement: What is fitted from now on, on the fit's device.
        """
        self.measurement = measurement
        device, dtype = self.device, next(self.network.parameters()).dtype
        # Where and in which precision a new fit draws its weights: elsewhere the same seed gives others.
        self.network.to("cpu", self._drawn_in)
        if self._first_weights:
            self.network.load_state_dict(self._first_weights)
        first_input = self._draw()
        self.network.to(device, dtype)
        suit_device(self.network, device, self.trainer.optimizers[0])
        self.set_network_input(first_input.to(self.stored_input))
        self.generators = self._noise_generators()
        self.iteration = self.outer_step = 0
        self.reports.clear()
        self.trainer.strategy.setup_optimizers(self.trainer)

    def take_measurement(self, trainer: pl.Trainer) -> Measurement:
        """Get the measurement from the trainer's DataModule, which has been set up.

        Raises:
            ConfigurationError: If there is none, or if the trainer has several processes.
        """
        check_one_process(trainer.world_size)
        measurement = getattr(trainer.datamodule, "measurement", None)  # type: ignore[attr-defined]
        return check_measurement(measurement, type(self).__name__)

    def member_seeds(self, measurement: Measurement) -> list[int]:
        """Seed of each member of a measurement."""
        seed = self.seed if self.seed is not None else int(os.environ.get("PL_GLOBAL_SEED", "0"))
        return [seed + repetition for repetition in measurement.repetitions or [0] * measurement.batch_size]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say which fit this is; see the base class."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["dip_lightning"]["fingerprint"] = self._fingerprint

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is of this fit; see the base class.

        Raises:
            RunFolderError: If it is of none, or of another one, whose image would be recorded as that of this one.
        """
        check_of_a_fit(checkpoint)
        if self._fingerprint is not None:
            before = checkpoint["dip_lightning"].get("fingerprint")
            check_same_fit(before, self._fingerprint, str(self.trainer.ckpt_path))
        super().on_load_checkpoint(checkpoint)

    @property
    def name(self) -> str:
        """Name of the method in run folders and tables."""
        return self.method_name or type(self).__name__.lower()

    @property
    def has_observers(self) -> bool:
        """Whether callbacks see every iterate."""
        return bool(self._observers)

    @property
    def shown(self) -> int:
        """Optimiser steps whose outputs averages and stopping rules see: all, unless the method says otherwise."""
        return self.iteration

    def _draw(self) -> Tensor:
        seeds = self.member_seeds(self.measurement)
        if self.reinitialise:
            self.draw_weights(seeds)
        return self.initial_input(self.measurement, MemberGenerators(seeds)).detach()

    def _noise_generators(self) -> MemberGenerators:
        seeds = [seed + NOISE_STREAM for seed in self.member_seeds(self.measurement)]
        return MemberGenerators(seeds, self.device)
