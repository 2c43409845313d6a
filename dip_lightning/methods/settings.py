"""The arguments that every method has."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn

from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.functional.losses import Reduction
from dip_lightning.functional.random import check_seed
from dip_lightning.inputs import NetworkInput, UniformNoise
from dip_lightning.methods.batch import BatchedFit
from dip_lightning.methods.engine import EngineName
from dip_lightning.networks.blocks import UntrainedNetwork
from dip_lightning.penalties import Penalty
from dip_lightning.weighting import DataWeighting


class FitSettings(BatchedFit):
    """What a user sets. Arguments are attributes of the same name; of optimiser and scheduler, ``..._factory``.

    Args:
        network: The untrained network, ``[B, C_in, H, W] -> [B, C, H, W]``.
        initial_input: Makes the first network input.
        optimizer: Any torch optimiser, by class path and arguments.
        lr_scheduler: Any torch scheduler; it advances at every optimiser step (``ReduceLROnPlateau`` at every outer
            step, by the loss alone).
        outer_steps: Outer steps to make at most, K.
        inner_steps: Optimiser steps in an outer step, N.
        reduction: How distances are reduced: ``norm``, ``mse`` or ``sum``.
        input_noise: Standard deviation of the normal noise added to the network input at every step.
        data_weighting: Weighs the residual in the data term, a :class:`~dip_lightning.weighting.DataWeighting`.
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

    #: Whether the data term is a distance that ``data_weighting`` can weigh.
    weighs_data: ClassVar[bool] = True

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
        data_weighting: DataWeighting | None = None,
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
        if seed is not None:
            check_seed(seed, "seed")
        if data_weighting is not None and not self.weighs_data:
            raise ConfigurationError(f"{type(self).__name__} has no data term that data_weighting could weigh.")
        self.automatic_optimization = False
        self.network = network
        self.initial_input = initial_input or UniformNoise()
        self.optimizer_factory = optimizer
        self.scheduler_factory = lr_scheduler
        self.outer_steps = outer_steps
        self.inner_steps = inner_steps
        self.reduction: Reduction = check_option("reduction", reduction, get_args(Reduction))
        self.input_noise = input_noise
        self.data_weighting = data_weighting
        self.penalties = penalties or []
        self.gradient_clip = gradient_clip
        self.reinitialise = reinitialise
        self.seed = seed
        self.engine: EngineName = check_option("engine", engine, get_args(EngineName))


def _holds_objects(value: Any) -> bool:
    return callable(value) or (isinstance(value, list) and any(callable(item) for item in value))
