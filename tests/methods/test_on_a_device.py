"""Fits on a device: nothing of a step is left on the host, no step waits, and the numbers are those of the CPU.

The device is pretended, and needs no GPU; :mod:`tests.pretended_device` says what that can show. The fits run in a
process that does nothing else.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.optim.lr_scheduler import OneCycleLR, StepLR

from dip_lightning.callbacks import (
    DataConsistentInputUpdate,
    EarlyStoppingEMV,
    HeldOutStopping,
    OutputAveraging,
    ReconstructionMetrics,
    SUREStopping,
)
from dip_lightning.data import Phantom
from dip_lightning.measurement import Measurement
from dip_lightning.members import repeat_measurement
from dip_lightning.methods import ASeqDIP, BaseDIP, cuda_graph
from dip_lightning.methods.cuda_graph import CUDAGraph
from dip_lightning.methods.engine import Engine
from dip_lightning.physics import CartesianMRI, Deblurring, Inpainting, ParallelBeamCT, SimulatedCoils, SuperResolution
from tests import pretended_device
from tests.methods.registry import METHODS
from tests.methods.test_battery import SaveAt, build, problem
from tests.methods.test_engine import FakeCapture, keep_rate, with_engine
from tests.pretended_device import on_device
from tests.pretended_tensor import NAME, WAITS, DeviceTensor
from tests.support import TinyNetwork, fit, matrix_measurement

pytestmark = pytest.mark.skipif(not pretended_device.AVAILABLE, reason="this torch takes no device written in Python")


@pytest.fixture(scope="module", name="elsewhere")
def _elsewhere() -> Iterator[Callable[..., Any]]:
    """Call a function of this file in the process that has the device."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_set_up) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


def _set_up() -> None:
    pretended_device.set_up()
    outer_step, keep_if_finite = BaseDIP.training_step, BaseDIP.keep_if_finite

    def watched(self: BaseDIP, batch: Any, batch_idx: int) -> None:
        # What is made on first use, and anew for fewer members, is copied there once.
        changing = len(self.roster.remaining) < len(self.roster.running)
        WAITS.watched = batch_idx >= 2 and not changing
        outer_step(self, batch, batch_idx)
        WAITS.watched = False

    def not_watched(self: BaseDIP) -> bool:  # the one wait that an outer step has
        WAITS.watched = False
        return keep_if_finite(self)

    BaseDIP.training_step, BaseDIP.keep_if_finite = watched, not_watched  # type: ignore[method-assign]
    cuda_graph._make_capturable = keep_rate  # capturable optimisers need a GPU


class Strict(FakeCapture):
    """An imitated capture in which every wait is an error."""

    def warm_up(self, function: Callable[[], None], refuse_waits: bool = False) -> None:
        with WAITS.refuse() if refuse_waits else nullcontext():
            super().warm_up(function)

    def capture(self, function: Callable[[], None], generators: list[torch.Generator]) -> Callable[[], None]:
        def refusing() -> None:
            with WAITS.refuse():
                function()

        return super().capture(refusing, generators)


class StopOne(pl.Callback):
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.outer_step == 3:
            pl_module.stop_members([1], "test")


Build = Callable[..., BaseDIP]
Callbacks = Callable[[], list[Any]]


def same_on_device(make: Build, measurement: Measurement, callbacks: Callbacks, engines: Sequence[str]) -> None:
    """Fit on the CPU, and on the device by each engine; compare numbers, and refuse waits inside outer steps."""
    expected = make(engine="eager")
    fit(expected, measurement, callbacks())
    for engine in engines:
        method = fit_on_device(make, measurement, callbacks, engine)
        assert isinstance(method.estimate, DeviceTensor)
        assert (method.stopped_by, method.iteration) == (expected.stopped_by, expected.iteration)
        for ours, theirs in ((method.last_output, expected.last_output), (method.estimate, expected.estimate)):
            torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-3, atol=1e-4)


def fit_on_device(
    make: Build, measurement: Measurement, callbacks: Callbacks, engine: str, ckpt_path: str | None = None
) -> BaseDIP:
    """Fit, and assert that outer steps waited for nothing, and that a graph was captured where one was asked for."""
    WAITS.found.clear()
    method = make(engine=engine)
    capture = Strict(method)
    made = CUDAGraph(capture) if engine == "cuda_graph" else Engine()
    with pytest.MonkeyPatch.context() as patch, on_device() as trainer:
        with_engine(patch, made)
        fit(method, measurement, callbacks(), ckpt_path=ckpt_path, **trainer)
    assert not WAITS.found, WAITS.found
    assert (capture.captures > 0) == (engine == "cuda_graph"), f"{engine}: {capture.captures} captures"
    return method


def of_registry(name: str, members: int) -> None:
    callbacks = METHODS[name].callbacks
    stopping: list[Any] = [ReconstructionMetrics(), *([StopOne()] if members > 1 else [])]
    static = "static_step" in vars(type(build(name)))
    same_on_device(
        partial(build, name, outer_steps=6, inner_steps=3),
        repeat_measurement(problem(), members),
        lambda: [*callbacks(), *stopping],
        ("eager", "cuda_graph") if static else ("eager",),
    )


@pytest.mark.parametrize("name", METHODS)
def test_methods(elsewhere: Callable[..., Any], name: str) -> None:
    elsewhere(of_registry, name, 1)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("oesdip", "subspacedip")])
def test_members_that_leave(elsewhere: Callable[..., Any], name: str) -> None:
    elsewhere(of_registry, name, 3)


ACQUISITIONS: dict[str, Callable[[], Any]] = {
    "ct": lambda: ParallelBeamCT(views=8),
    "mri": lambda: CartesianMRI(coils=SimulatedCoils(3)),
    "deblurring": Deblurring,
    "inpainting": Inpainting,
    "super_resolution": SuperResolution,
}


def of_acquisition(name: str, members: int) -> None:
    data = Phantom(kind="ellipses", size=32, acquisition=ACQUISITIONS[name](), batch=members)
    data.setup("fit")
    channels = data.measurement.image_shape[0]

    def make(engine: Any) -> BaseDIP:
        network = TinyNetwork(channels, channels)
        return ASeqDIP(network=network, outer_steps=5, inner_steps=3, seed=0, engine=engine)

    same_on_device(make, data.measurement, lambda: [DataConsistentInputUpdate(), StopOne()], ("eager", "cuda_graph"))


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("name", ACQUISITIONS)
def test_acquisitions(elsewhere: Callable[..., Any], name: str, members: int) -> None:
    elsewhere(of_acquisition, name, members)


WAYS: dict[str, tuple[dict[str, Any], Callbacks]] = {
    "schedule": ({"lr_scheduler": partial(StepLR, step_size=4, gamma=0.5)}, list),
    "clip": ({"gradient_clip": 0.5, "input_noise": 0.05}, list),
    "sgd": ({"optimizer": partial(torch.optim.SGD, lr=1e-2, momentum=0.9)}, list),
    "held_out": ({}, lambda: [HeldOutStopping(patience=2, refit=True)]),
    "emv": ({}, lambda: [OutputAveraging(0.9), EarlyStoppingEMV(warmup=0)]),
    "sure": ({}, lambda: [SUREStopping(noise_level=0.05)]),
}


def of_way(name: str) -> None:
    options, callbacks = WAYS[name]
    make = partial(build, "dip", outer_steps=8, inner_steps=3, **options)
    same_on_device(make, problem(), callbacks, ("eager",) if name == "sure" else ("eager", "cuda_graph"))


@pytest.mark.parametrize("name", WAYS)
def test_ways_to_fit(elsewhere: Callable[..., Any], name: str) -> None:
    elsewhere(of_way, name)


def resume(folder: Path, engine: str) -> None:
    """On the device and on the host, from a checkpoint of the device."""
    schedule = partial(StepLR, step_size=4, gamma=0.5)
    make = partial(build, "selfguideddip", inner_steps=3, lr_scheduler=schedule)
    callbacks, path = METHODS["selfguideddip"].callbacks, folder / "last.ckpt"
    whole = fit_on_device(make, problem(), lambda: [*callbacks(), SaveAt(3, path)], engine)
    there, here = fit_on_device(make, problem(), callbacks, engine, str(path)), make(engine="eager")
    fit(here, problem(), callbacks(), ckpt_path=str(path))
    for resumed in (there, here):
        torch.testing.assert_close(resumed.estimate.cpu(), whole.estimate.cpu(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("engine", ["eager", "cuda_graph"])
def test_a_fit_is_resumed(elsewhere: Callable[..., Any], tmp_path: Path, engine: str) -> None:
    elsewhere(resume, tmp_path, engine)


def fall_back() -> None:
    schedule = partial(OneCycleLR, max_lr=1e-2, total_steps=100)
    with pytest.raises(AssertionError, match="0 captures"), pytest.warns(UserWarning, match="betas of Adam change"):
        fit_on_device(partial(build, "dip", lr_scheduler=schedule), problem(), list, "cuda_graph")


def test_numbers_that_change_on_the_host_are_not_captured(elsewhere: Callable[..., Any]) -> None:
    elsewhere(fall_back)


def already_there(members: int) -> None:
    """The network, or the measurement, or both, are on the device before the fit."""
    measurement = repeat_measurement(matrix_measurement(), members)
    expected = build("dip")
    fit(expected, measurement)
    for network_there, measurement_there in ((True, False), (False, True), (True, True)):
        with on_device() as trainer:
            method = build("dip")
            if network_there:
                method.network.to(NAME)
            there = measurement.to(NAME) if measurement_there else measurement
            fit(method, there, precision="64-true", **trainer)
        torch.testing.assert_close(method.estimate.cpu(), expected.estimate, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("members", [1, 2])
def test_network_and_measurement_may_be_there_before(elsewhere: Callable[..., Any], members: int) -> None:
    elsewhere(already_there, members)
