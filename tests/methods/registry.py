"""Every method that the battery runs: add a line for yours, and it is held to what holds for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from dip_lightning.callbacks import EarlyStoppingWMV, InputUpdate, LearnedInput, PosteriorSamples
from dip_lightning.inputs import InitialEstimate, UniformNoise
from dip_lightning.methods import (
    DIP,
    ESDIP,
    SGLDDIP,
    TVDIP,
    ASeqDIP,
    BaseDIP,
    RefGuidedDIP,
    SelfGuidedDIP,
    TVDIPSplitting,
)


@dataclass(frozen=True)
class Entry:
    """How the battery builds a method.

    Attributes:
        factory: Builds the method from ``network`` and further keyword arguments; all must have defaults.
        callbacks: Builds the callbacks that the method demands, and those that belong to it.
        options: Arguments of the factory, where its defaults do not suit a 6x6 image.
        network: Builds the untrained network, one channel to one channel, without batch norm if it can do without;
            ``None`` takes two small convolutions.
    """

    factory: Callable[..., BaseDIP]
    callbacks: Callable[[], list[pl.Callback]] = list
    options: dict[str, Any] = field(default_factory=dict)
    network: Callable[[], nn.Module] | None = None


METHODS: dict[str, Entry] = {
    "dip": Entry(DIP, options={"initial_input": UniformNoise(1), "input_noise": 1 / 30}),
    "aseqdip": Entry(ASeqDIP, lambda: [InputUpdate()], {"initial_input": InitialEstimate("minmax")}),
    "tvdip": Entry(TVDIP, options={"initial_input": UniformNoise(1), "tv_weight": 1e-3}),
    "tvdipsplitting": Entry(TVDIPSplitting, options={"initial_input": UniformNoise(1), "inner_steps": 3}),
    "esdip": Entry(ESDIP, lambda: [EarlyStoppingWMV(window=4, patience=500)], {"initial_input": UniformNoise(1)}),
    "sglddip": Entry(
        SGLDDIP,
        lambda: [PosteriorSamples(burn_in=4, every=2)],
        {"initial_input": UniformNoise(1), "optimizer": partial(torch.optim.Adam, lr=1e-2, weight_decay=5e-8)},
    ),
    "selfguideddip": Entry(SelfGuidedDIP, lambda: [LearnedInput(0.05)]),
    "refguideddip": Entry(RefGuidedDIP, options={"structure_weight": 0.1}),
}
