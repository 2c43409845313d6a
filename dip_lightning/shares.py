"""How ``--trainer.devices N`` deals measurements out to the devices."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.accelerators import CPUAccelerator, CUDAAccelerator

from dip_lightning.devices import cuda_environment
from dip_lightning.errors import ConfigurationError, naming


@dataclass(frozen=True)
class Share:
    """What one of the processes reconstructs, and where.

    Attributes:
        index: First measurement of its group.
        arguments: What it is told beside the user's arguments.
        environment: What it finds in its environment beside what is there: the one CUDA device that it sees.
    """

    index: int
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def shares(config: Any) -> list[Share]:
    """Deal the measurements from ``data.index`` on to the devices, ``data.batch`` to each.

    Args:
        config: The resolved configuration of a command: ``trainer``, ``data``, ``record``, ``ckpt_path``.

    Returns:
        One share a device; none where there is one device, and everything happens in this process.

    Raises:
        ConfigurationError: If the configuration cannot be dealt out.
    """
    if config.trainer.num_nodes != 1:  # with one device as well Lightning would wait for the other machines
        raise ConfigurationError(
            f"trainer.num_nodes={config.trainer.num_nodes}: a fit runs on one machine; for several, see "
            "docs/cluster.md."
        )
    places = _places(config.trainer)
    if len(places) < 2:
        return []
    _check(config, len(places))
    data = config.data.init_args
    indices = [data.index + number * data.get("batch", 1) for number in range(len(places))]
    run_dir = config.record.run_dir
    return [
        Share(
            index,
            (
                f"--trainer.devices={devices}",
                f"--data.index={index}",
                *([] if run_dir is None else [f"--record.run_dir={os.path.join(run_dir, f'index{index}')}"]),
            ),
            environment,
        )
        for index, (devices, environment) in zip(indices, places, strict=True)
    ]


def _places(trainer: Any) -> list[tuple[str, dict[str, str]]]:
    """What each process says for ``trainer.devices``, and what is added to its environment."""
    if str(trainer.devices) == "1":
        return [("1", {})]
    silent: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    with naming("trainer"):
        probe = pl.Trainer(
            accelerator=trainer.accelerator, devices=trainer.devices, enable_model_summary=False, **silent
        )
    if isinstance(probe.accelerator, CPUAccelerator):
        return [("1", {})] * probe.num_devices
    if isinstance(probe.accelerator, CUDAAccelerator):
        # One that sees all devices takes memory on all of them as soon as deepinv is imported.
        return [("1", cuda_environment(device)) for device in probe.device_ids]
    return [(f"[{device}]", {}) for device in probe.device_ids]


def _check(config: Any, devices: int) -> None:
    where = f"trainer.devices={config.trainer.devices} reconstructs {devices} measurements in {devices} processes"
    if config.trainer.strategy != "auto":
        raise ConfigurationError(f"{where}, which exchange nothing: leave trainer.strategy at auto.")
    if "index" not in config.data.init_args:
        raise ConfigurationError(f"{where}, but {config.data.class_path} has no option 'index' to tell them apart.")
    if config.get("ckpt_path") not in (None, "last"):
        raise ConfigurationError(f"{where}: only --ckpt_path last gives each its own checkpoint.")
    for logger in _listed(config.trainer.logger):
        given = logger.get("init_args") if hasattr(logger, "get") else None
        for name in ("id", "version"):
            if given is not None and given.get(name) is not None:
                raise ConfigurationError(f"{where}, each with a logger of its own: leave out the logger's {name}.")


def _listed(logger: Any) -> list[Any]:
    return logger if isinstance(logger, list) else [logger]
