"""A second fit in step with the first one, on data that differ a little: the derivative of a fit by its data."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from dip_lightning.callbacks.averaging import Averaging
from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.hooks import UpdatesNetworkInput, callbacks_of
from dip_lightning.measurement import Measurement

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP


class Twin:
    """Network, input, optimiser and reported images of the second fit.

    The method's own code makes its steps: for their time the method holds the twin's network, input, measurement,
    images and optimiser, and its generators draw the same numbers again. Callbacks that average outputs or update the
    input are called again for the twin. So both fits differ in their data alone, whatever the method minimises.

    Args:
        trainer: The running trainer.
        pl_module: The method, before its first step.
        measurement: The twin's data, on the fit's device.

    Raises:
        ConfigurationError: If the method trains something that is neither the network's weights nor its input.
    """

    def __init__(self, trainer: pl.Trainer, pl_module: BaseDIP, measurement: Measurement) -> None:
        self.trainer, self.method = trainer, pl_module
        seeds = pl_module.member_seeds(measurement)
        z = pl_module.initial_input(measurement, MemberGenerators(seeds)).to(pl_module.stored_input)
        self._held: dict[str, Any] = {
            "network": copy.deepcopy(pl_module.network),
            "stored_input": z.detach().clone(),
            "measurement": measurement,
            "reports": {},
            "last_output": None,
            "loss": None,
            "terms": None,
        }
        self._optimizers: list[Any] = trainer.strategy.optimizers
        with self._swapped():
            built = pl_module.configure_optimizers()
            optimizer = built["optimizer"] if isinstance(built, dict) else built
            own = {id(p) for p in pl_module.network.parameters()} | {id(pl_module.stored_input)}
            trained = [p for group in optimizer.param_groups for p in group["params"]]
        if any(id(parameter) not in own for parameter in trained):
            raise ConfigurationError(
                f"{type(pl_module).__name__} trains more than its network and input, which cannot be done twice at "
                "once: take another stopping rule."
            )
        self._optimizers = [optimizer]
        self.remember()

    @property
    def output(self) -> Tensor:
        """The twin's last output, ``[B, C, H, W]``."""
        output: Tensor = self._held["last_output"]
        return output

    @property
    def estimate(self) -> Tensor:
        """What the twin would report if it ended now, ``[B, C, H, W]``."""
        with self._swapped():
            return self.method.current_estimate

    def remember(self) -> None:
        """Note the random numbers and optimiser options that the next step of the first fit starts with.

        A scheduler changes the rate, and some of them the momentum too.
        """
        self._random = self.method.generators.state_dict()
        self._options = [_options(group) for group in self._main_optimizer().param_groups]

    def step(self) -> None:
        """Make the step that the first fit has just made."""
        now = self.method.generators.state_dict()
        self.method.generators.load_state_dict(self._random)
        with self._swapped():
            for group, options in zip(self._main_optimizer().param_groups, self._options, strict=True):
                group.update(options)
            self.method.optimise()
            self.method.after_step()
            for average in callbacks_of(self.trainer, Averaging):
                average.on_iterate(self.trainer, self.method, self.method.last_output)
        self.method.generators.load_state_dict(now)
        self.remember()

    def update_input(self, *batch: Any) -> None:
        """Let the callbacks that update the input do it for the twin.

        Args:
            *batch: What Lightning gives ``on_train_batch_end`` after trainer and module.
        """
        with self._swapped():
            for callback in callbacks_of(self.trainer, pl.Callback):
                if isinstance(callback, UpdatesNetworkInput):
                    callback.on_train_batch_end(self.trainer, self.method, *batch)

    def state_dict(self) -> dict[str, Any]:
        """Weights, input, images, optimiser and what comes next."""
        return {
            "network": self._held["network"].state_dict(),
            "stored_input": self._held["stored_input"].detach().clone(),
            "reports": dict(self._held["reports"]),
            "last_output": self._held["last_output"],
            "optimizer": self._optimizers[0].state_dict(),
            "random": self._random,
            "options": self._options,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self._held["network"].load_state_dict(state["network"])
        with torch.no_grad():
            self._held["stored_input"].copy_(state["stored_input"])
        device = self.method.device
        self._held["reports"] = {name: image.to(device) for name, image in state.get("reports", {}).items()}
        if state["last_output"] is not None:
            self._held["last_output"] = state["last_output"].to(device)
        self._optimizers[0].load_state_dict(state["optimizer"])
        # Older checkpoints hold learning rates alone.
        self._random, rates = state["random"], state.get("rates", [])
        self._options = state["options"] if "options" in state else [{"lr": rate} for rate in rates]

    @contextmanager
    def _swapped(self) -> Iterator[None]:
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        strategy = self.trainer.strategy
        strategy.optimizers, self._optimizers = self._optimizers, strategy.optimizers
        for name, value in self._held.items():
            self._held[name] = getattr(self.method, name, None)
            setattr(self.method, name, value)

    def _main_optimizer(self) -> Any:
        return self.trainer.strategy.optimizers[0]


def _options(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}
