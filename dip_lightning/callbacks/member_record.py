"""What the run folder keeps of one member at the end of its fit: images and figures."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from dip_lightning.hooks import callbacks_of
from dip_lightning.methods.base import BaseDIP
from dip_lightning.records import circumstances


def member_images(method: BaseDIP, member: int) -> dict[str, Any]:
    """Images of one member as arrays ``[C, H, W]``; average, uncertainty and target where there are any."""
    measurement = method.measurement
    images: dict[str, Tensor | None] = {
        "estimate": method.estimate,
        "last": method.last_output,
        "initial": measurement.initial,
        "average": method.reports.get("average"),
        "uncertainty": method.reports.get("uncertainty"),
        "target": measurement.target,
    }
    return {name: image[member].float().cpu().numpy() for name, image in images.items() if image is not None}


def member_summary(trainer: pl.Trainer, method: BaseDIP, member: int) -> dict[str, Any]:
    """``summary.json`` of one member; callbacks with a ``summary(member) -> dict`` method have their part in it."""
    measurement, ending = method.measurement, method.ending(member)
    scores: dict[str, Any] = {"psnr": None, "ssim": None, "nmse": None, "oracle_iteration": None}
    others: dict[str, Any] = {}
    for callback in callbacks_of(trainer, pl.Callback):
        if hasattr(callback, "summary"):
            part = callback.summary(member)
            if "psnr" in part:
                scores.update(part)
            else:
                others[part.get("rule", type(callback).__name__)] = part
    return {
        "method": method.name,
        "task": measurement.task,
        "measurement": measurement.ids[member],
        "seed": method.member_seeds(measurement)[member],
        "iterations": ending.iteration,
        "stopped_by": ending.reason,
        "seconds": round(ending.seconds, 3),
        "seconds_per_iteration": ending.seconds / max(ending.iteration, 1),
        **scores,
        "callbacks": others,
        **circumstances(measurement, method.device),
    }
