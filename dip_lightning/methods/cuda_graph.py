"""Optimiser steps replayed as a CUDA graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dip_lightning.errors import DIPError
from dip_lightning.methods.engine import Engine, snapshot, warn_of_fallback

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP

#: Steps that run eagerly before a graph is captured: libraries choose their algorithms, the optimiser makes its state.
WARM_UP = 3


class CUDAGraph(Engine):
    """A captured step, replayed: the host launches one graph in place of hundreds of kernels.

    The first steps run eagerly on a stream of their own, the last of them with every wait for the device refused, then
    one step is captured without being executed. It is captured again when optimiser, measurement, members or numbers
    of the optimiser change; where such numbers change all the time, steps run eagerly. Learning rates that a scheduler
    changes are kept on the device; noise comes from generators that are registered with the graph.

    Args:
        backend: What captures; tests give another one.
    """

    def __init__(self, backend: Capture | None = None) -> None:
        self._backend = backend or Capture()
        self._failed = False
        self._warm = 0
        self._of: tuple[Any, Any] | None = None
        self._numbers: list[dict[str, Any]] = []
        self._changes = 0  # of numbers, since the last replay
        self._replay: Callable[[], None] | None = None
        self._static: dict[str, Tensor] = {}

    def step(self, method: BaseDIP) -> None:
        """Warm up, capture, replay."""
        optimizer: Any = method.optimizers(use_pl_optimizer=False)
        if self._failed:
            method.optimise()
            return
        if self._of is None or self._of[0] is not optimizer or self._of[1] is not method.measurement:
            self._forget()
            self._of = (optimizer, method.measurement)
        restore = None
        try:
            self._follow_numbers(optimizer)
            if self._warm == 0:
                _demand_static(method)
                _make_capturable(optimizer, method)
                self._numbers = _host_numbers(optimizer)
            if self._warm < WARM_UP:
                self._warm += 1
                last = self._warm == WARM_UP
                restore = snapshot(method) if last else None
                self._backend.warm_up(method.optimise, refuse_waits=last)
                return
            if self._replay is None:
                restore = snapshot(method)
                self._replay = self._backend.capture(method.optimise, method.generators.generators)
                self._static = method.outputs()
        except Exception as error:
            if isinstance(error, DIPError):
                raise
            self._fall_back(method, error, restore)
            return
        self._replay()
        self._changes = 0
        self._publish(method)

    def members_changed(self) -> None:
        """Warm up and capture anew."""
        self._forget()

    def close(self) -> None:
        """Free the graph and its memory."""
        self._forget()
        self._of = None

    def _forget(self) -> None:
        self._warm, self._replay, self._static = 0, None, {}

    def _follow_numbers(self, optimizer: Any) -> None:
        """Begin anew where numbers changed that a graph has in it; refuse where they change before it is replayed."""
        if self._warm == 0:
            return
        changed = _differences(self._numbers, _host_numbers(optimizer))
        if not changed:
            return
        self._changes += 1
        if self._changes > WARM_UP:
            raise RuntimeError(f"{', '.join(changed)} of {type(optimizer).__name__} change from step to step")
        self._forget()

    def _publish(self, method: BaseDIP) -> None:
        """Show the graph's outputs: copies where someone may keep them, for the next replay overwrites them."""
        last = (method.iteration + 1) % method.inner_steps == 0
        keep = last or method.has_observers
        method.set_outputs({name: tensor.clone() if keep else tensor for name, tensor in self._static.items()})

    def _fall_back(self, method: BaseDIP, error: Exception, restore: Callable[[], None] | None) -> None:
        self._failed = True
        self._forget()
        optimizer: Any = method.optimizers(use_pl_optimizer=False)
        optimizer.zero_grad(set_to_none=True)  # gradients may lie in the graph's memory
        for group in optimizer.param_groups:
            group["lr"] = float(group["lr"])
        if restore is not None:
            restore()
        warn_of_fallback("cuda_graph", error)
        method.optimise()


class Capture:
    """Captures CUDA graphs."""

    def __init__(self) -> None:
        self._stream: torch.cuda.Stream | None = None

    def warm_up(self, function: Callable[[], None], refuse_waits: bool = False) -> None:
        """Run a function on the stream that it will be captured on.

        Args:
            function: What will be captured.
            refuse_waits: Whether to raise an error where the host waits for the device. In a capture that is too late:
                torch before 2.13 cannot draw random numbers any more after one was broken off.
        """
        stream = self._stream = self._stream or torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(stream), _refused_waits() if refuse_waits else nullcontext():
                function()
        finally:  # what follows a step that was broken off must not overtake it
            torch.cuda.current_stream().wait_stream(stream)

    def capture(self, function: Callable[[], None], generators: list[torch.Generator]) -> Callable[[], None]:
        """Capture a function without executing it.

        Args:
            function: What to capture.
            generators: Generators that it may draw from, beside the default one.

        Returns:
            What executes it.
        """
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=self._stream):
            function()
        replay: Callable[[], None] = graph.replay
        return replay


@contextmanager
def _refused_waits() -> Iterator[None]:
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():  # of torch, that it does not see all waits
        warnings.filterwarnings("ignore", message="Synchronization debug mode")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


def _demand_static(method: BaseDIP) -> None:
    # Asked of the class itself: what a subclass adds may look at counters on the host.
    if not type(method).__dict__.get("static_step", False):
        raise RuntimeError(
            f"{type(method).__name__} does not say static_step = True, that its steps are the same device operations "
            "every time"
        )
    for physics in method.measurement.physics.modules():
        if getattr(physics, "runs_on_host", False):
            raise RuntimeError(f"{type(physics).__name__} runs on the host, which a graph cannot repeat")


def _make_capturable(optimizer: Any, method: BaseDIP) -> None:
    scheduled = bool(method.lr_schedulers())
    # Torch would advise against capturable steps that no graph runs, as the first ones are.
    optimizer._warned_capturable_if_run_uncaptured = True
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = True
        elif type(optimizer) is not torch.optim.SGD or scheduled:
            raise RuntimeError(f"{type(optimizer).__name__} cannot be captured here")
        if scheduled:  # a checkpoint brings it back on the host
            group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32).to(method.device)
    for state in optimizer.state.values():
        if isinstance(state.get("step"), Tensor):
            state["step"] = state["step"].to(method.device)


def _host_numbers(optimizer: Any) -> list[dict[str, Any]]:
    """What a graph has in it of each parameter group: numbers on the host, and which tensors it reads."""
    return [
        {name: id(value) if isinstance(value, Tensor) else value for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    ]


def _differences(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[str]:
    if len(before) != len(now):
        return ["the parameter groups"]
    groups = zip(before, now, strict=True)
    return sorted({name for a, b in groups for name in a.keys() | b.keys() if a.get(name) != b.get(name)})
