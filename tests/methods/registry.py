"""Every method that the battery runs: add a line for yours, and it is held to what holds for all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from deepinv.models import TVDenoiser
from torch import nn

from dip_lightning.callbacks import (
    DenoisedInputUpdate,
    EarlyStoppingWMV,
    InputUpdate,
    LearnedInput,
    OutputAveraging,
    PosteriorSamples,
    ProximalInputUpdate,
)
from dip_lightning.inputs import InitialEstimate, UniformNoise
from dip_lightning.methods import (
    DIP,
    DRPDIP,
    EDIP,
    ESDIP,
    OESDIP,
    SGLDDIP,
    TVDIP,
    ASeqDIP,
    BaseDIP,
    PnPDIP,
    RefGuidedDIP,
    RethinkingDIP,
    SelfGuidedDIP,
    SubspaceDIP,
    TVDIPSplitting,
)
from dip_lightning.networks import reinitialise
from tests.support import TinyNetwork


@lru_cache
def pretrained() -> dict[str, str]:
    """Files of weights and of a trajectory for two small convolutions."""
    folder = Path(tempfile.mkdtemp())
    network = TinyNetwork()
    reinitialise(network, 1)
    parameters = dict(network.named_parameters())
    samples = torch.randn(4, sum(p.numel() for p in parameters.values()), generator=torch.Generator().manual_seed(2))
    shapes = [list(p.shape) for p in parameters.values()]
    torch.save(network.state_dict(), folder / "weights.pt")
    torch.save({"names": list(parameters), "shapes": shapes, "samples": samples}, folder / "trajectory.pt")
    return {"pretrained": str(folder / "weights.pt"), "trajectory": str(folder / "trajectory.pt")}


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
    "aseqdip_proximal": Entry(
        ASeqDIP,
        lambda: [OutputAveraging(0.9), ProximalInputUpdate(iterations=3)],
        {"initial_input": InitialEstimate("minmax")},
    ),
    "aseqdip_denoised": Entry(
        ASeqDIP,
        lambda: [OutputAveraging(0.9, corrected=True), DenoisedInputUpdate(TVDenoiser(n_it_max=5), output="average")],
        {"initial_input": InitialEstimate("minmax")},
    ),
    "tvdip": Entry(TVDIP, options={"initial_input": UniformNoise(1), "tv_weight": 1e-3}),
    "tvdipsplitting": Entry(TVDIPSplitting, options={"initial_input": UniformNoise(1), "inner_steps": 3}),
    "esdip": Entry(ESDIP, lambda: [EarlyStoppingWMV(window=4, patience=500)], {"initial_input": UniformNoise(1)}),
    "sglddip": Entry(
        SGLDDIP,
        lambda: [PosteriorSamples(burn_in=4, every=2)],
        {"initial_input": UniformNoise(1), "optimizer": partial(torch.optim.Adam, lr=1e-2, weight_decay=5e-8)},
    ),
    "selfguideddip": Entry(SelfGuidedDIP, lambda: [LearnedInput(0.05)]),
    "edip": Entry(
        lambda **options: EDIP(pretrained=pretrained()["pretrained"], **options),
        options={"initial_input": UniformNoise(1), "encoder": ("first",), "encoder_lr": 1e-3},
    ),
    "subspacedip": Entry(
        lambda **options: SubspaceDIP(**pretrained(), dim=3, **options), options={"initial_input": UniformNoise(1)}
    ),
    "oesdip": Entry(
        OESDIP, options={"initial_input": UniformNoise(1), "keep": 0.3, "mask_steps": 2, "input_noise": 0.01}
    ),
    "drpdip": Entry(DRPDIP, lambda: [LearnedInput(0.05)]),
    "pnpdip": Entry(
        lambda **options: PnPDIP(TVDenoiser(n_it_max=5), sigma=0.05, **options),
        options={"initial_input": UniformNoise(1)},
    ),
    "rethinkingdip": Entry(RethinkingDIP),
    "rethinkingdip_difference": Entry(RethinkingDIP, lambda: [OutputAveraging(0.9)], {"divergence": "difference"}),
    "refguideddip": Entry(RefGuidedDIP, options={"structure_weight": 0.1}),
}
