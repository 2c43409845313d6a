"""How optimiser steps are run: one operation after the other, compiled, or replayed as a CUDA graph.

Whatever runs them, steps give the same numbers within rounding. What cannot be compiled or captured is run eagerly,
with one warning. Engines are plain objects: nothing of them is in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn

from dip_lightning.errors import DIPError

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP

EngineName = Literal["eager", "compile", "cuda_graph", "auto"]

#: Steps that run eagerly before a graph is captured: libraries choose their algorithms, the optimiser makes its state.
WARM_UP = 3


class Engine:
    """Runs the optimiser steps of one fit: eagerly, one operation after the other."""

    def step(self, method: BaseDIP) -> None:
        """Make one optimiser step; outputs, losses and weights change, counters do not.

        Args:
            method: The method that is fitted.
        """
        method.optimise()

    def members_changed(self) -> None:
        """Hear that the network has other members than before."""

    def close(self) -> None:
        """Let go of device memory, at the end of fit."""


class Compiled(Engine):
    """The network through ``torch.compile``; physics, losses and optimiser as they are.

    The network is compiled in place: its parameters, and the names in checkpoints, stay the same, and the next fit of
    the same network object finds it compiled.
    """

    def __init__(self) -> None:
        self._proven = self._failed = False

    def step(self, method: BaseDIP) -> None:
        """Make a step; if the first one fails, make it, and all others, eagerly."""
        if self._proven or self._failed:
            method.optimise()
            return
        if getattr(method.network, "_compiled_call_impl", None) is None:
            method.network.compile(dynamic=False)
        restore = _snapshot(method)
        try:
            method.optimise()
            self._proven = True
        except Exception as error:
            if isinstance(error, DIPError):
                raise
            restore()
            method.network._compiled_call_impl = None
            self._failed = True
            _warn("compile", error)
            method.optimise()

    def members_changed(self) -> None:
        """Compile for the new shapes at the next step."""
        self._proven = False


class CUDAGraph(Engine):
    """A captured step, replayed: the host launches one graph in place of hundreds of kernels.

    The first steps run eagerly on a stream of their own, then one step is captured without being executed. It is
    captured again when optimiser, measurement or members change. Learning rates that a scheduler changes are kept on
    the device; noise comes from generators that are registered with the graph.

    Args:
        backend: What captures; tests give another one.
    """

    def __init__(self, backend: Capture | None = None) -> None:
        self._backend = backend or Capture()
        self._failed = False
        self._warm = 0
        self._of: tuple[Any, Any] | None = None
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
            if self._warm == 0:
                _demand_static(method)
                _make_capturable(optimizer, method)
            if self._warm < WARM_UP:
                self._warm += 1
                self._backend.warm_up(method.optimise)
                return
            if self._replay is None:
                restore = _snapshot(method)
                self._replay = self._backend.capture(method.optimise, method.generators.generators)
                self._static = method.outputs()
        except Exception as error:
            if isinstance(error, DIPError):
                raise
            self._fall_back(method, error, restore)
            return
        self._replay()
        self._publish(method)

    def members_changed(self) -> None:
        """Warm up and capture anew."""
        self._forget()

    def close(self) -> None:
        """Free the graph and its memory."""
        self._forget()

    def _forget(self) -> None:
        self._warm, self._of, self._replay, self._static = 0, None, None, {}

    def _publish(self, method: BaseDIP) -> None:
        """Show the graph's outputs: copies where someone may keep them, for the next replay overwrites them."""
        last = (method.iteration + 1) % method.inner_steps == 0
        keep = last or method.has_observers
        outputs = {name: tensor.clone() if keep else tensor for name, tensor in self._static.items()}
        method.last_output, method.loss = outputs.pop("output"), outputs.pop("loss")
        method.terms = outputs

    def _fall_back(self, method: BaseDIP, error: Exception, restore: Callable[[], None] | None) -> None:
        self._failed = True
        self._forget()
        optimizer: Any = method.optimizers(use_pl_optimizer=False)
        optimizer.zero_grad(set_to_none=True)  # gradients may lie in the graph's memory
        for group in optimizer.param_groups:
            group["lr"] = float(group["lr"])
        if restore is not None:
            restore()
        _warn("cuda_graph", error)
        method.optimise()


class Capture:
    """Captures CUDA graphs."""

    def __init__(self) -> None:
        self._stream: torch.cuda.Stream | None = None

    def warm_up(self, function: Callable[[], None]) -> None:
        """Run a function on the stream that it will be captured on."""
        stream = self._stream = self._stream or torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            function()
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


def make_engine(name: EngineName, device: torch.device) -> Engine:
    """Make the engine of a fit.

    Args:
        name: ``eager``, ``compile``, ``cuda_graph``; or ``auto``: CUDA graphs on a CUDA device, else eager.
        device: Where the fit is.
    """
    if name == "compile":
        return Compiled()
    if name == "cuda_graph" and device.type != "cuda":
        _warn("cuda_graph", RuntimeError(f"there are no CUDA graphs on {device}"))
        return Engine()
    return CUDAGraph() if name != "eager" and device.type == "cuda" else Engine()


def _demand_static(method: BaseDIP) -> None:
    # Asked of the class itself: what a subclass adds may look at counters on the host.
    if not type(method).__dict__.get("static_step", False):
        raise RuntimeError(
            f"{type(method).__name__} does not say static_step = True, that its steps are the same device operations "
            "every time"
        )


def _make_capturable(optimizer: Any, method: BaseDIP) -> None:
    scheduled = bool(method.lr_schedulers())
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = True
        elif type(optimizer) is not torch.optim.SGD or scheduled:
            raise RuntimeError(f"{type(optimizer).__name__} cannot be captured here")
        if scheduled and not isinstance(group["lr"], Tensor):
            group["lr"] = torch.tensor(float(group["lr"]), device=method.device)
    for state in optimizer.state.values():
        if isinstance(state.get("step"), Tensor):
            state["step"] = state["step"].to(method.device)


def _snapshot(method: BaseDIP) -> Callable[[], None]:
    """Remember what a failed step may have changed: random numbers and buffers; weights change only at its end."""
    random, own = torch.get_rng_state(), method.generators.state_dict()
    buffers = [(buffer, buffer.clone()) for buffer in _buffers(method.network)]

    def restore() -> None:
        torch.set_rng_state(random)
        method.generators.load_state_dict(own)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)

    return restore


def _buffers(network: nn.Module) -> list[Tensor]:
    return list(network.buffers())


def _warn(engine: str, error: Exception) -> None:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    rank_zero_warn(f"engine: {engine} is not possible here, steps run eagerly: {reason}")
