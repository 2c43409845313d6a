"""Engines: what runs the steps does not change them, and what is not possible falls back with one warning."""

from __future__ import annotations

import copy
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from dip_lightning.callbacks import EarlyStoppingEMV, InputUpdate, OutputAveraging
from dip_lightning.errors import ConfigurationError
from dip_lightning.inputs import InitialEstimate
from dip_lightning.members import repeat_measurement
from dip_lightning.methods import DIP, ASeqDIP, BaseDIP, base, cuda_graph
from dip_lightning.methods.cuda_graph import WARM_UP, Capture, CUDAGraph
from dip_lightning.methods.engine import Compiled, Engine, make_engine
from dip_lightning.networks import UNet
from tests.support import fit, matrix_measurement


def method(kind: type[BaseDIP] = ASeqDIP, **options: Any) -> BaseDIP:
    options = {
        "network": UNet(channels=(4, 4)),
        "initial_input": InitialEstimate("minmax"),
        "optimizer": partial(torch.optim.Adam, lr=1e-2),
        "lr_scheduler": partial(StepLR, step_size=5, gamma=0.5),
        "outer_steps": 4,
        "inner_steps": 3,
        "input_noise": 0.05,
        "gradient_clip": 0.5,
        "seed": 1,
        **options,
    }
    return kind(**options)


def callbacks() -> list[Any]:
    return [InputUpdate(), OutputAveraging(0.9), EarlyStoppingEMV(warmup=0)]


class FakeCapture(Capture):
    """Captures as CUDA does, without executing, and replays into the tensors that the capture made."""

    def __init__(self, method: BaseDIP) -> None:
        self.method, self.captures, self.warm_ups, self.replays = method, 0, 0, 0

    def warm_up(self, function: Callable[[], None], refuse_waits: bool = False) -> None:
        self.warm_ups += 1
        function()

    def capture(self, function: Callable[[], None], generators: list[torch.Generator]) -> Callable[[], None]:
        method, self.captures = self.method, self.captures + 1
        optimizer = method.optimizers(use_pl_optimizer=False)
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        weights, state = [parameter.detach().clone() for parameter in trained], copy.deepcopy(optimizer.state_dict())
        groups = [dict(group) for group in optimizer.param_groups]
        random = [generator.get_state() for generator in generators]
        function()
        static = method.outputs()
        with torch.no_grad():
            for parameter, weight in zip(trained, weights, strict=True):
                parameter.copy_(weight)
        optimizer.load_state_dict(state)
        for group, before in zip(optimizer.param_groups, groups, strict=True):
            group.update(before)  # the very tensors: a graph reads those that it was captured with
        for generator, before in zip(generators, random, strict=True):
            generator.set_state(before)

        def replay() -> None:
            self.replays += 1
            function()
            for name, tensor in method.outputs().items():
                static[name].copy_(tensor)

        return replay


def with_engine(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    monkeypatch.setattr(base, "make_engine", lambda name, device: engine)


def graph_on_cpu(monkeypatch: pytest.MonkeyPatch, dip: BaseDIP) -> FakeCapture:
    """A graph engine whose captures are imitated; of the optimiser only the rate changes: the rest needs a GPU."""
    capture = FakeCapture(dip)
    monkeypatch.setattr(cuda_graph, "_make_capturable", keep_rate)
    with_engine(monkeypatch, CUDAGraph(capture))
    return capture


def keep_rate(optimizer: torch.optim.Optimizer, method: BaseDIP) -> None:
    for group in optimizer.param_groups:
        if method.lr_schedulers() and not isinstance(group["lr"], Tensor):
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float64)


@pytest.mark.parametrize("members", [1, 3])
def test_replayed_steps_equal_eager_ones(monkeypatch: pytest.MonkeyPatch, members: int) -> None:
    """Input updates, noise, clipping, schedule, averaging and statistics see what they would see."""
    measurement = repeat_measurement(matrix_measurement(), members)
    eager, replayed = method(), method()
    fit(eager, measurement, callbacks())
    capture = graph_on_cpu(monkeypatch, replayed)
    fit(replayed, measurement, callbacks())
    assert (capture.warm_ups, capture.captures, capture.replays) == (WARM_UP, 1, 12 - WARM_UP)
    assert torch.equal(eager.last_output, replayed.last_output)
    assert torch.equal(eager.estimate, replayed.estimate)
    assert torch.equal(eager.record["loss"], replayed.record["loss"])


def test_records_are_not_overwritten_by_later_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[bool, list[Tensor]] = {}
    for graph in (False, True):
        dip, losses = method(outer_steps=5), kept.setdefault(graph, [])

        class Keep(InputUpdate):
            def on_train_batch_end(self, trainer: Any, pl_module: Any, *arguments: Any) -> None:
                losses.extend([pl_module.record["loss"], pl_module.record["data"], pl_module.last_output])  # noqa: B023
                super().on_train_batch_end(trainer, pl_module, *arguments)

        if graph:
            graph_on_cpu(monkeypatch, dip)
        fit(dip, matrix_measurement(), [Keep()])
    assert all(torch.equal(a, b) for a, b in zip(kept[False], kept[True], strict=True))
    assert len({float(loss) for loss in kept[True][::3]}) == 5


def test_members_that_stop_are_left_out_of_the_next_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    class StopOne(InputUpdate):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *arguments: Any) -> None:
            super().on_train_batch_end(trainer, pl_module, *arguments)
            if pl_module.outer_step == 3:
                pl_module.stop_members([1], "test")

    measurement = repeat_measurement(matrix_measurement(), 3)
    eager, replayed = method(outer_steps=7), method(outer_steps=7)
    fit(eager, measurement, [StopOne(), OutputAveraging(0.9)])
    capture = graph_on_cpu(monkeypatch, replayed)
    fit(replayed, measurement, [StopOne(), OutputAveraging(0.9)])
    assert capture.captures == 2
    assert torch.equal(eager.estimate, replayed.estimate)


class Unstable(Capture):
    """A device on which nothing can be captured."""

    def warm_up(self, function: Callable[[], None], refuse_waits: bool = False) -> None:
        function()

    def capture(self, function: Callable[[], None], generators: list[torch.Generator]) -> Callable[[], None]:
        generators[0].manual_seed(99)  # as a capture that was broken off would leave it
        raise RuntimeError("operation not permitted when stream is capturing")


class Subclass(DIP):
    """Does not say that its steps can be repeated by a graph."""


class NotCapturable(torch.optim.Adagrad):
    """An optimiser without a capturable form."""


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        (DIP, {}, "stream is capturing"),
        (Subclass, {}, "Subclass does not say static_step"),
        (DIP, {"optimizer": partial(NotCapturable, lr=1e-2)}, "NotCapturable cannot be captured"),
        (DIP, {"optimizer": partial(torch.optim.SGD, lr=1e-2)}, "SGD cannot be captured"),
    ],
)
def test_what_cannot_be_captured_runs_eagerly_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, kind: type[BaseDIP], options: dict[str, Any], reason: str
) -> None:
    eager, fallen = method(kind, **options), method(kind, **options)
    fit(eager, matrix_measurement(), [OutputAveraging(0.9)])
    if not options and kind is DIP:
        monkeypatch.setattr(cuda_graph, "_make_capturable", lambda optimizer, method: None)
    with_engine(monkeypatch, CUDAGraph(Unstable()))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(fallen, matrix_measurement(), [OutputAveraging(0.9)])
    assert [reason in str(warning.message) for warning in caught].count(True) == 1
    assert torch.equal(eager.estimate, fallen.estimate)


def test_graphs_need_a_cuda_device() -> None:
    with pytest.warns(UserWarning, match="no CUDA graphs on cpu"):
        assert type(make_engine("cuda_graph", torch.device("cpu"))) is Engine
    assert type(make_engine("auto", torch.device("cpu"))) is Engine
    assert isinstance(make_engine("auto", torch.device("cuda")), CUDAGraph)
    with pytest.raises(ConfigurationError, match="cuda_graph"):
        method(engine="cuda_grph")


def test_what_cannot_be_compiled_runs_eagerly_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(nn.Module, "compile", lambda self, **_: setattr(self, "_compiled_call_impl", broken))
    eager, fallen = method(), method(engine="compile")
    fit(eager, matrix_measurement(), callbacks())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(fallen, matrix_measurement(), callbacks())
    assert ["no compiler" in str(warning.message) for warning in caught].count(True) == 1
    assert torch.equal(eager.estimate, fallen.estimate)


def test_errors_of_the_user_are_no_reason_to_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refuses(DIP):
        static_step = True

        def objective(self, estimate: Tensor, measurement: Any) -> dict[str, Tensor]:
            raise ConfigurationError("wrong weight")

    for engine in (Compiled(), CUDAGraph(Unstable())):
        monkeypatch.setattr(nn.Module, "compile", lambda self, **_: None)
        with_engine(monkeypatch, engine)
        with pytest.raises(ConfigurationError, match="wrong weight"):
            fit(method(Refuses, lr_scheduler=None), matrix_measurement())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="torch.compile needs a C++ compiler on the CPU")
@pytest.mark.parametrize("members", [1, 2])
def test_compiled_equals_eager(members: int) -> None:
    measurement = repeat_measurement(matrix_measurement(), members)
    eager, compiled = method(), method(engine="compile")
    fit(eager, measurement, callbacks())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*steps run eagerly.*")
        fit(compiled, measurement, callbacks())
    torch.testing.assert_close(compiled.last_output, eager.last_output, rtol=0, atol=1e-8)
    torch.testing.assert_close(compiled.estimate, eager.estimate, rtol=0, atol=1e-8)
    assert compiled.network.state_dict().keys() == eager.network.state_dict().keys()
    fit(compiled, measurement, callbacks())  # weights in place: nothing is compiled again
    torch.testing.assert_close(compiled.last_output, eager.last_output, rtol=0, atol=1e-8)


def test_what_torch_will_not_compile_any_more_runs_eagerly_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch counts the blocks of all networks of a process together, and would go on eagerly without a word."""
    compile_, said = nn.Module.compile, []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **_: compile_(self, backend="eager", dynamic=False))
    monkeypatch.setattr("dip_lightning.methods.engine.RECOMPILE_LIMIT", 2)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=2):
        for size in (8, 16, 24, 32):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                fit(method(DIP, engine="compile", outer_steps=2), matrix_measurement(size))
            said.append(["limit exceeded" in str(warning.message) for warning in caught].count(True))
    assert said == [0, 0, 1, 1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_the_next_job_of_a_process_compiles_nothing() -> None:
    """Each job builds its own network; compiled code is found by the class and the shapes."""
    from torch._dynamo.utils import counters

    def graphs() -> int:
        return int(counters["stats"]["unique_graphs"])

    fit(method(engine="compile"), matrix_measurement(), callbacks())
    before = graphs()
    assert before > 0
    fit(method(engine="compile"), matrix_measurement(seed=1), callbacks())
    assert graphs() == before
