"""What is checked before the first step of a fit, so that nothing fails after hours of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from dip_lightning.errors import ConfigurationError, MissingCallbackError
from dip_lightning.measurement import Measurement


def check_measurement(measurement: Any, method: str) -> Measurement:
    """Return what a DataModule gave, if it is a measurement.

    Args:
        measurement: Anything.
        method: Name of the method, for the message.

    Raises:
        ConfigurationError: If it is not a measurement.
    """
    if not isinstance(measurement, Measurement):
        raise ConfigurationError(
            f"{method} takes its measurement from a MeasurementDataModule; "
            "call trainer.fit(method, datamodule=...) with one."
        )
    return measurement


def check_one_process(processes: int) -> None:
    """Refuse Lightning's distributed strategies: they would average the gradients of one measurement with themselves.

    Args:
        processes: How many take part in the fit, ``trainer.world_size``.

    Raises:
        ConfigurationError: If there are several.
    """
    if processes > 1:
        raise ConfigurationError(
            f"A fit runs in one process on one device, not in {processes}: leave devices at 1 and strategy at auto. "
            "`dip-lightning fit --trainer.devices N` reconstructs N measurements, each in a process of its own."
        )


def check_precision(precision: str) -> None:
    """Refuse half precision: a fit scales no loss, and small gradients would become zero.

    Args:
        precision: The trainer's, ``trainer.precision``.

    Raises:
        ConfigurationError: If it is ``16-mixed`` or ``16-true``.
    """
    if precision in ("16-mixed", "16-true"):
        raise ConfigurationError(
            f"trainer.precision={precision} would lose small gradients, for a fit does not scale its loss: take "
            "bf16-mixed, which needs no scaling, or 32-true."
        )


def check_length(trainer: pl.Trainer) -> None:
    """Check that the trainer makes steps, and is not asked to count those of the optimiser.

    These are made inside an outer step, unseen by it.

    Args:
        trainer: The trainer, before the fit.

    Raises:
        ConfigurationError: If ``max_steps`` is set, if ``max_epochs`` or ``limit_train_batches`` is 0, or if the epochs
            have been made in an earlier fit.
    """
    for option in ("max_epochs", "limit_train_batches"):
        if getattr(trainer, option) == 0:
            raise ConfigurationError(
                f"trainer.{option}=0 would end the fit before its first step: leave it out. The length of a fit is "
                "model.outer_steps."
            )
    if trainer.max_epochs is not None and 0 < trainer.max_epochs <= trainer.current_epoch:
        raise ConfigurationError(
            f"This trainer has made its epochs (max_epochs={trainer.max_epochs}) in an earlier fit, and would make no "
            "step: make a new Trainer for each fit."
        )
    if trainer.max_steps != -1 and not getattr(trainer, "fast_dev_run", False):
        raise ConfigurationError(
            f"trainer.max_steps={trainer.max_steps} would not end the fit, whose steps the trainer does not see: set "
            "model.outer_steps, each of which makes model.inner_steps optimiser steps."
        )


def check_schedule(scheduler: Any) -> None:
    """Refuse a schedule that would go by another value than the loss, the only one that it is given.

    Args:
        scheduler: The learning-rate scheduler, or ``None``.

    Raises:
        ConfigurationError: If it has another ``monitor``, as Lightning's ``ReduceLROnPlateau`` may.
    """
    monitor = getattr(scheduler, "monitor", "loss")
    if monitor != "loss":
        raise ConfigurationError(
            f"model.lr_scheduler: monitor={monitor} would be ignored, for a schedule goes by the loss alone: set it "
            "to loss, or take torch.optim.lr_scheduler.ReduceLROnPlateau."
        )


def check_weights(network: nn.Module) -> None:
    """Check that a network has weights: they are what is fitted.

    Args:
        network: The untrained network.

    Raises:
        ConfigurationError: If it has none.
    """
    if next(network.parameters(), None) is None:
        raise ConfigurationError(f"model.network: {type(network).__name__} has no weights that could be fitted.")


def check_network(network: nn.Module, z: Tensor, measurement: Measurement) -> None:
    """Check that a network takes the input and gives images of the measurement's shape.

    Args:
        network: The untrained network; of a stacked one, the single network.
        z: Its first input, ``[B, C_in, H, W]``; the first member is tried.
        measurement: What is reconstructed.

    Raises:
        ConfigurationError: If one of the two shapes does not fit, or the input is too small for the network's scales.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            shape = network(z[:1].to(next(network.parameters()))).shape[1:]
        except (RuntimeError, ValueError) as error:
            # Batch norm raises a ValueError for a single value; padding wants an input larger than itself.
            if isinstance(error, ValueError) or "padding size" in str(error).lower():
                raise ConfigurationError(
                    f"The input {list(z.shape)} is too small for the network: {str(error).rstrip('.')}. Take fewer "
                    "scales, or larger images."
                ) from error
            raise ConfigurationError(
                f"The network does not take the input {list(z.shape)}: {error} "
                "Set its in_channels to the channels of initial_input."
            ) from error
    image = measurement.image_shape
    if shape != image:
        resized = shape[:1] == image[:1]
        advice = "its output must have the image's height and width" if resized else "set its out_channels"
        raise ConfigurationError(f"The network gives {list(shape)}, but the image is {list(image)}: {advice}.")


def check_terms(terms: Any, members: int, source: str) -> None:
    """Check what is minimised, at the first step: a scalar would train, and mix members, until it is recorded.

    Args:
        terms: What an objective gave.
        members: Number of members that are fitted, ``B``.
        source: What gave it, for the message.

    Raises:
        ConfigurationError: If it is no dict of tensors ``[B]``.
    """
    if not isinstance(terms, dict) or not terms:
        found = "an empty dict" if isinstance(terms, dict) else type(terms).__name__
        raise ConfigurationError(f'{source} must return a dict of terms by name, {{"data": ...}}, not {found}.')
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.shape != (members,):
            found = f"shape {list(term.shape)}" if isinstance(term, Tensor) else f"type {type(term).__name__}"
            raise ConfigurationError(
                f"{source}: term '{name}' has {found}, not shape [B] = [{members}]: sum over all dimensions but the "
                "first, as term.flatten(1).sum(1) does."
            )


def demand_callback(method: nn.Module, found: Sequence[Any], why: str, example: str) -> None:
    """Check that a callback which a method cannot do without is there.

    Args:
        method: The method.
        found: The trainer's callbacks that will do.
        why: What it does, after "a callback that".
        example: Its class path and arguments, as in a configuration.

    Raises:
        MissingCallbackError: If there is none.
    """
    if not found:
        raise MissingCallbackError(
            f"{type(method).__name__} needs a callback that {why}; add '- class_path: {example}' to trainer.callbacks."
        )
