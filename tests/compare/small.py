"""Comparisons small enough to be run in tests."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from dip_lightning.measurement import Measurement
from dip_lightning.methods import DIP

METHOD: dict[str, Any] = {
    "model": {
        "class_path": "DIP",
        "init_args": {
            "network": {"class_path": "tests.support.TinyNetwork", "init_args": {"in_channels": 1}},
            "initial_input": "InitialEstimate",
            "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01}},
            "outer_steps": 6,
        },
    },
    "trainer": {"accelerator": "cpu"},
    "record": {"preview": False},
}
DATA: dict[str, Any] = {
    "class_path": "Phantom",
    "init_args": {
        "kind": "ellipses",
        "size": 16,
        "acquisition": {"class_path": "ParallelBeamCT", "init_args": {"views": 6}},
    },
}


def write_plan(folder: Path, **changes: Any) -> Path:
    """Write a comparison of one tiny method on one tiny phantom, with the given changes."""
    content = {
        "root": str(folder / "root"),
        "methods": [{"name": "dip", "config": METHOD}],
        "data": [{"name": "ct", "config": DATA}],
        **changes,
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


class Failing(DIP):
    """Raises in the middle of the fit."""

    def objective(self, estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
        if self.iteration == 3:
            raise RuntimeError("the fit went <wrong>")
        return super().objective(estimate, measurement)


class Hungry(DIP):
    """Ends as a process does that the system kills for its memory."""

    def objective(self, estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().objective(estimate, measurement)


class Signalled(DIP):
    """Is sent a signal in the middle of the fit, once: a fit that goes on from its checkpoint is past it."""

    def __init__(self, signal_number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.signal_number = signal_number

    def objective(self, estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
        if self.iteration == 3:
            signal.raise_signal(self.signal_number)
        return super().objective(estimate, measurement)


class Slow(DIP):
    """Takes its time, so that it can be interrupted."""

    def objective(self, estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
        time.sleep(0.05)
        return super().objective(estimate, measurement)


def with_class(name: str, **arguments: Any) -> dict[str, Any]:
    """The tiny method's configuration with a class of this file."""
    model = {**METHOD["model"], "class_path": f"tests.compare.small.{name}"}
    return {**METHOD, "model": {**model, "init_args": {**model["init_args"], **arguments}}}
