"""What a CUDA graph has in it must not change unseen, and what cannot be captured is found before a capture."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.optim.lr_scheduler import OneCycleLR, StepLR

from dip_lightning.callbacks import OutputAveraging
from dip_lightning.measurement import Measurement
from dip_lightning.methods import DIP, BaseDIP, cuda_graph
from dip_lightning.methods.cuda_graph import Capture, CUDAGraph
from tests.methods.test_engine import FakeCapture, graph_on_cpu, keep_rate, method, with_engine
from tests.support import MatrixPhysics, fit, matrix_measurement


class HalveRate(pl.Callback):
    """Changes the learning rate on the host, as a callback of a user may."""

    def __init__(self, at: tuple[int, ...]) -> None:
        self.at = at

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.outer_step in self.at:
            for group in pl_module.optimizers(use_pl_optimizer=False).param_groups:
                group["lr"] = group["lr"] / 2


def fallen(dip: BaseDIP, measurement: Measurement, *callbacks: pl.Callback) -> str:
    """Fit, and give the one warning that steps run eagerly."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(dip, measurement, list(callbacks))
    (said,) = [str(warning.message) for warning in caught if "steps run eagerly" in str(warning.message)]
    return said


def test_numbers_that_change_on_the_host_are_captured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    eager, replayed = (method(DIP, lr_scheduler=None, outer_steps=9) for _ in range(2))
    fit(eager, matrix_measurement(), [HalveRate(at=(3, 6))])
    capture = graph_on_cpu(monkeypatch, replayed)
    fit(replayed, matrix_measurement(), [HalveRate(at=(3, 6))])
    assert capture.captures == 3
    assert torch.equal(eager.last_output, replayed.last_output)


def test_numbers_that_change_at_every_step_are_no_work_for_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = partial(OneCycleLR, max_lr=1e-2, total_steps=100)
    eager, cycled = (method(DIP, lr_scheduler=schedule) for _ in range(2))
    fit(eager, matrix_measurement())
    capture = graph_on_cpu(monkeypatch, cycled)
    assert "betas of Adam change from step to step" in fallen(cycled, matrix_measurement())
    assert capture.captures == 0
    assert torch.equal(eager.last_output, cycled.last_output)


def test_a_scheduled_rate_from_a_checkpoint_goes_to_the_device() -> None:
    """Lightning brings the parameter groups of a checkpoint to the host."""
    network = torch.nn.Conv2d(1, 1, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=torch.tensor(1e-2), capturable=True)
    schedule = StepLR(optimizer, 1)
    elsewhere: Any = SimpleNamespace(device=torch.device("meta"), lr_schedulers=lambda: schedule)
    cuda_graph._make_capturable(optimizer, elsewhere)
    assert optimizer.param_groups[0]["lr"].device.type == "meta"


def test_torch_is_kept_from_advising_against_capturable_steps() -> None:
    """That no warning comes is tested on a device, ``test_engine_gpu.py``."""
    optimizer = torch.optim.Adam(torch.nn.Conv2d(1, 1, 3).parameters())
    unscheduled: Any = SimpleNamespace(device=torch.device("cpu"), lr_schedulers=lambda: None)
    cuda_graph._make_capturable(optimizer, unscheduled)
    assert optimizer._warned_capturable_if_run_uncaptured


class Waiting(FakeCapture):
    """A step waits for the device, which is seen in the last step before the capture."""

    def warm_up(self, function: Callable[[], None], refuse_waits: bool = False) -> None:
        if refuse_waits:
            self.method.generators.generators[0].manual_seed(99)  # noise was drawn before the wait
            raise RuntimeError("called a synchronizing CUDA operation")
        super().warm_up(function)


class BrokenOff(FakeCapture):
    """A capture in which something is not allowed ends with an error of its own."""

    def capture(self, function: Callable[[], None], generators: list[torch.Generator]) -> Callable[[], None]:
        try:
            raise RuntimeError("cusparse is not captured")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")


@pytest.mark.parametrize(("kind", "reason"), [(Waiting, "synchronizing"), (BrokenOff, "after: cusparse is not")])
def test_what_breaks_a_capture_is_said_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, kind: type[FakeCapture], reason: str
) -> None:
    eager, broken = method(DIP), method(DIP)
    fit(eager, matrix_measurement(), [OutputAveraging(0.9)])
    monkeypatch.setattr(cuda_graph, "_make_capturable", keep_rate)
    capture = kind(broken)
    with_engine(monkeypatch, CUDAGraph(capture))
    assert reason in fallen(broken, matrix_measurement(), OutputAveraging(0.9))
    assert capture.captures == 0
    assert torch.equal(eager.estimate, broken.estimate)


def test_an_operator_on_the_host_is_not_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnHost(MatrixPhysics):
        runs_on_host = True

    measurement, dip = matrix_measurement(), method(DIP)
    measurement.physics.__class__ = OnHost
    capture = graph_on_cpu(monkeypatch, dip)
    assert "OnHost runs on the host" in fallen(dip, measurement)
    assert capture.warm_ups == 0


def test_waits_are_refused_for_one_step_and_the_stream_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    stream = SimpleNamespace(wait_stream=lambda other: done.append("join"))
    for name, function in {
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": lambda stream: nullcontext(),
        "get_sync_debug_mode": lambda: 0,
        "set_sync_debug_mode": done.append,
    }.items():
        monkeypatch.setattr(torch.cuda, name, function)
    capture = Capture()
    capture.warm_up(lambda: done.append("step"))
    assert done == ["join", "step", "join"]
    done.clear()
    with pytest.raises(ZeroDivisionError):
        capture.warm_up(lambda: done.append(1 / 0), refuse_waits=True)
    assert done == ["join", "error", 0, "join"]
