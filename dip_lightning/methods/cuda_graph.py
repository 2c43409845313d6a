"""Optimiser steps replayed as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
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
                restore = snapshot(method)
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
        warn_of_fallback("cuda_graph", error)
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
