"""Problems that the benchmark programs share: sparse-view CT of a phantom, networks, steps written out by hand."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, ProgressBar
from torch import Tensor, nn

from dip_lightning.callbacks import InputUpdate
from dip_lightning.data import InMemory, Phantom
from dip_lightning.inputs import InitialEstimate, minmax
from dip_lightning.measurement import Measurement
from dip_lightning.methods import ASeqDIP, BaseDIP
from dip_lightning.methods.tuning import prefer_fused, suit_device
from dip_lightning.networks import MediumUNet, SkipNet, SmallUNet
from dip_lightning.physics import ParallelBeamCT

NETWORKS: dict[str, Callable[[], nn.Module]] = {"small": SmallUNet, "medium": MediumUNet, "skip": lambda: SkipNet(1)}


def ct_data(size: int, views: int = 30, **options: Any) -> Phantom:
    """DataModule of a phantom seen from few views."""
    return Phantom(acquisition=ParallelBeamCT(views=views), size=size, **{"kind": "ellipses", **options})


def ct_measurement(size: int, views: int = 30, **options: Any) -> Measurement:
    """The measurement of :func:`ct_data`."""
    data = ct_data(size, views, **options)
    data.setup("fit")
    return data.measurement


def bare_loop(
    network: nn.Module,
    physics: Any,
    y: Tensor,
    z: Tensor,
    steps: int,
    inner: int = 10,
    lr: float = 1e-3,
    tuned: bool = False,
) -> Tensor:
    """The released form of aSeqDIP, written out: norms, Adam, the output becomes the input after every outer step.

    Args:
        network: The network.
        physics: Anything with ``A``.
        y: Data.
        z: First input, ``[1, 1, H, W]``.
        steps: Optimiser steps.
        inner: Steps between two updates of the input.
        lr: Learning rate.
        tuned: Whether the optimiser is fused and the weights lie as they do in a fit.

    Returns:
        The last output.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    if tuned:
        prefer_fused(optimizer)
        suit_device(network, z.device, optimizer)
    output = z
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        output = network(z)
        loss = torch.linalg.vector_norm(physics.A(output) - y) + torch.linalg.vector_norm(output - z)
        loss.backward()
        optimizer.step()
        if (step + 1) % inner == 0:
            z = output.detach()
    return output.detach()


def ct_step(
    network: str,
    size: int,
    channels_last: bool = False,
    fused: bool | None = None,
    autocast: bool = False,
    physics: Any = None,
    device: str = "cpu",
) -> Callable[[], None]:
    """One optimiser step of aSeqDIP on CT, ready to be timed.

    Args:
        network: Name in :data:`NETWORKS`.
        size: Image height and width.
        channels_last: Whether weights and input lie channels last.
        fused: Adam's own option.
        autocast: Whether the network runs in bfloat16.
        physics: Forward operator in place of the suite's; it makes its own data.
        device: Where.
    """
    torch.manual_seed(0)
    measurement = ct_measurement(size).to(device)
    physics = physics or measurement.physics
    image = measurement.target
    assert image is not None
    with torch.no_grad():
        y = physics.A(image)
    model, z = NETWORKS[network]().to(device), minmax(measurement.initial)
    if channels_last:
        model, z = model.to(memory_format=torch.channels_last), z.to(memory_format=torch.channels_last)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-3, fused=fused)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, cache_enabled=False) if autocast else nullcontext():
            output = model(z)
        output = output.float()
        loss = torch.linalg.vector_norm(physics.A(output) - y) + torch.linalg.vector_norm(output - z)
        loss.backward()
        optimizer.step()

    return step


def fit(
    network: nn.Module,
    measurement: Measurement,
    steps: int,
    kind: type[BaseDIP] = ASeqDIP,
    callbacks: list[Any] | None = None,
    device: str = "cpu",
    folder: str | None = None,
    precision: Any = "32-true",
    **options: Any,
) -> BaseDIP:
    """Fit as a user does from Python: a new method and trainer.

    Args:
        network: The network; its weights are drawn anew.
        measurement: What is reconstructed.
        steps: Optimiser steps, a multiple of the inner steps.
        kind: The method.
        callbacks: Beside the input update that aSeqDIP needs.
        device: ``cpu`` or ``cuda``.
        folder: Where run folders go, for callbacks that write.
        precision: The trainer's.
        **options: Further arguments of the method.
    """
    inner = options.pop("inner_steps", 10)
    options = {
        "initial_input": InitialEstimate("minmax"),
        "reduction": "norm",
        "optimizer": partial(torch.optim.Adam, lr=1e-3),
        "seed": 0,
        **options,
    }
    method = kind(network=network, outer_steps=steps // inner, inner_steps=inner, **options)
    updates = [InputUpdate()] if kind is ASeqDIP else []
    writes = any(isinstance(callback, Checkpoint) for callback in callbacks or [])
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        precision=precision,
        logger=False,
        enable_checkpointing=writes,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks or []),
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[*updates, *(callbacks or [])],
    )
    trainer.fit(method, datamodule=InMemory(measurement))
    return method


def quieten() -> None:
    """Keep Lightning's notes out of the figures."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
