"""What goes into a run folder, whoever made the image: a fit or a baseline."""

from __future__ import annotations

import platform
import re
from importlib.metadata import distributions
from typing import Any

import torch

from dip_lightning.functional.metrics import METRICS
from dip_lightning.measurement import Measurement

_PACKAGES = ("dip_lightning", "torch", "pytorch-lightning", "torchmetrics", "deepinv", "numpy")


def folder_name(name: str) -> str:
    """Replace what a folder's name cannot hold."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("._") or "measurement"


def image_attributes(measurement: Measurement, member: int) -> dict[str, Any]:
    """What ``reconstruction.h5`` says beside the images of one member."""
    return {
        "measurement": measurement.ids[member],
        "task": measurement.task,
        "units": measurement.units,
        "value_range": measurement.value_range,
        "magnitude": measurement.magnitude,
    }


def circumstances(measurement: Measurement, device: torch.device) -> dict[str, Any]:
    """The end of ``summary.json``: noise, what the DataModule said, device and versions."""
    return {
        "noise_level": measurement.noise_level,
        "metadata": measurement.metadata,
        "device": device_name(device),
        "versions": versions(),
    }


def device_name(device: torch.device) -> str:
    """Name of a GPU, or the CPU with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.get_num_threads()} threads)"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    installed = {distribution.name.lower().replace("-", "_"): distribution.version for distribution in distributions()}
    names = {package: package.lower().replace("-", "_") for package in _PACKAGES}
    known = {package: installed[name] for package, name in names.items() if name in installed}
    return {"python": platform.python_version(), **known}


def summary_row(summary: dict[str, Any]) -> dict[str, Any]:
    """Flatten ``summary.json`` to the row that tables and loggers show.

    Args:
        summary: Its content.

    Returns:
        ``psnr_estimate``, ``ssim_oracle``, ..., ``iterations``, ``seconds``, ``stopped_by``; what is unknown is left
        out. ``regret`` is the PSNR of the oracle less that of the estimate.
    """
    row = {
        f"{metric}_{image}": value
        for metric in METRICS
        for image, value in (summary.get(metric) or {}).items()
        if value is not None
    }
    names = ("iterations", "seconds", "seconds_per_iteration", "oracle_iteration", "stopped_by")
    row.update({name: summary[name] for name in names if summary.get(name) is not None})
    if {"psnr_oracle", "psnr_estimate"} <= row.keys():
        row["regret"] = row["psnr_oracle"] - row["psnr_estimate"]
    return row
