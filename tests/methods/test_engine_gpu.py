"""Fits and engines on a CUDA device; skipped where there is none."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.optim.lr_scheduler import StepLR

from dip_lightning.callbacks import InputUpdate, OutputAveraging, ResultWriter
from dip_lightning.data import InMemory, Phantom
from dip_lightning.inputs import InitialEstimate
from dip_lightning.measurement import Measurement
from dip_lightning.members import repeat_measurement
from dip_lightning.methods import ASeqDIP
from dip_lightning.networks import SmallUNet
from dip_lightning.physics import ParallelBeamCT
from tests.methods.test_battery import SaveAt
from tests.support import fit

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(name="measurement")
def _measurement() -> Measurement:
    data = Phantom(acquisition=ParallelBeamCT(views=12), size=64)
    data.setup("fit")
    return data.measurement


def reconstruct(measurement: Measurement, engine: Any, callbacks: list[Any] | None = None, **options: Any) -> ASeqDIP:
    options = {
        "network": SmallUNet(),
        "initial_input": InitialEstimate("minmax"),
        "optimizer": partial(torch.optim.Adam, lr=1e-3),
        "reduction": "norm",
        "outer_steps": 4,
        "inner_steps": 5,
        "seed": 0,
        **options,
    }
    method = ASeqDIP(engine=engine, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*steps run eagerly.*|.*capturable=True.*")
        fit(
            method, measurement, [InputUpdate(), OutputAveraging(0.9), *(callbacks or [])], accelerator="gpu", devices=1
        )
    return method


def same(one: ASeqDIP, other: ASeqDIP, tolerance: float = 2e-3) -> None:
    for a, b in ((one.last_output, other.last_output), (one.estimate, other.estimate)):
        assert torch.linalg.vector_norm(a - b) <= tolerance * torch.linalg.vector_norm(a)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"input_noise": 0.05},
        {"gradient_clip": 0.5},
        {"lr_scheduler": partial(StepLR, step_size=4, gamma=0.5)},
        {"optimizer": partial(torch.optim.SGD, lr=1e-4, momentum=0.9)},
    ],
    ids=["plain", "noise", "clip", "schedule", "sgd"],
)
def test_graphs_equal_eager(measurement: Measurement, members: int, options: dict[str, Any]) -> None:
    measurement = repeat_measurement(measurement, members)
    same(reconstruct(measurement, "eager", **options), reconstruct(measurement, "cuda_graph", **options))


class StopOne(pl.Callback):
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.outer_step == 2:
            pl_module.stop_members([1], "test")


def test_members_that_stop_are_left_out(measurement: Measurement) -> None:
    measurement = repeat_measurement(measurement, 3)
    eager = reconstruct(measurement, "eager", [StopOne()])
    graph = reconstruct(measurement, "cuda_graph", [StopOne()])
    same(eager, graph)
    assert graph.ending(1).iteration == 10


def test_mixed_precision_sees_new_weights_at_every_step(measurement: Measurement) -> None:
    def run(engine: str) -> ASeqDIP:
        method = ASeqDIP(
            engine=engine,  # type: ignore[arg-type]
            network=SmallUNet(),
            initial_input=InitialEstimate("minmax"),
            optimizer=partial(torch.optim.Adam, lr=1e-3),
            outer_steps=2,
            inner_steps=10,
        )
        fit(method, measurement, [InputUpdate()], accelerator="gpu", devices=1, precision="bf16-mixed")
        return method

    same(run("eager"), run("cuda_graph"), tolerance=5e-2)


def test_a_fit_leaves_the_measurement_on_the_host_and_can_be_scored(measurement: Measurement, tmp_path: Path) -> None:
    data = InMemory(repeat_measurement(measurement, 2))
    method = ASeqDIP(network=SmallUNet(), initial_input=InitialEstimate("minmax"), outer_steps=3, seed=0)
    options: dict[str, Any] = {"accelerator": "gpu", "devices": 1, "logger": False, "max_epochs": 1}
    callbacks = [InputUpdate(), OutputAveraging(0.9), ResultWriter(preview=False), StopOne()]
    trainer = pl.Trainer(callbacks=callbacks, default_root_dir=tmp_path, enable_checkpointing=True, **options)
    trainer.fit(method, datamodule=data)
    assert {tensor.device.type for tensor in data.measurement.physics.buffers()} == {"cpu"}
    assert trainer.test(method, datamodule=data)[0]["psnr"] > 0


@pytest.mark.parametrize(("first", "second"), [("cpu", "gpu"), ("gpu", "cpu"), ("gpu", "gpu")])
def test_a_checkpoint_is_continued_on_either_device(
    measurement: Measurement, tmp_path: Path, first: str, second: str
) -> None:
    def build() -> ASeqDIP:
        options = {"initial_input": InitialEstimate("minmax"), "input_noise": 0.01, "outer_steps": 4, "seed": 0}
        return ASeqDIP(network=SmallUNet(), optimizer=partial(torch.optim.Adam, lr=1e-3), **options)

    path = tmp_path / "last.ckpt"
    whole, rest = build(), build()
    fit(whole, measurement, [InputUpdate(), SaveAt(2, path)], accelerator=first, devices=1)
    with nullcontext() if first == second else pytest.warns(UserWarning, match="another kind"):
        fit(rest, measurement, [InputUpdate()], accelerator=second, devices=1, ckpt_path=str(path))
    assert rest.outer_step == 4
    assert rest.last_output.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("members", [1, 3])
def test_compiled_equals_eager(measurement: Measurement, members: int) -> None:
    measurement = repeat_measurement(measurement, members)
    same(reconstruct(measurement, "eager"), reconstruct(measurement, "compile"))
