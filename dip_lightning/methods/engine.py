"""How optimiser steps are run: one operation after the other, compiled, or replayed as a CUDA graph.

Whatever runs them, steps give the same numbers within rounding. What cannot be compiled or captured is run eagerly,
with one warning. Engines are plain objects: nothing of them is in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
import torch._dynamo
from pytorch_lightning.utilities import rank_zero_warn

from dip_lightning.errors import DIPError

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP

EngineName = Literal["eager", "compile", "cuda_graph", "auto"]

#: For how many kinds of network and shapes one process compiles: torch's own limit, 8, is soon reached in a comparison,
#: for blocks of all networks count together.
RECOMPILE_LIMIT = 64


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

    The network is compiled in place: its parameters, and the names in checkpoints, stay the same. The next fit of the
    same network object finds it compiled, and so does, in the same process, another one of the same class and shapes.
    What comes after :data:`RECOMPILE_LIMIT` of them runs eagerly, with a warning.
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
        restore = snapshot(method)
        config = torch._dynamo.config
        config.recompile_limit = max(config.recompile_limit, RECOMPILE_LIMIT)
        try:
            with config.patch(fail_on_recompile_limit_hit=True):  # else torch goes on eagerly, with a note in its log
                method.optimise()
            self._proven = True
        except Exception as error:
            if isinstance(error, DIPError):
                raise
            restore()
            method.network._compiled_call_impl = None
            self._failed = True
            warn_of_fallback("compile", error)
            method.optimise()

    def members_changed(self) -> None:
        """Compile for the new shapes at the next step."""
        self._proven = False


def make_engine(name: EngineName, device: torch.device) -> Engine:
    """Make the engine of a fit.

    Args:
        name: ``eager``, ``compile``, ``cuda_graph``; or ``auto``: CUDA graphs on a CUDA device, else eager.
        device: Where the fit is.
    """
    from dip_lightning.methods.cuda_graph import CUDAGraph  # here, because it stands on this module

    if name == "compile":
        return Compiled()
    if name == "cuda_graph" and device.type != "cuda":
        warn_of_fallback("cuda_graph", RuntimeError(f"there are no CUDA graphs on {device}"))
        return Engine()
    return CUDAGraph() if name != "eager" and device.type == "cuda" else Engine()


def snapshot(method: BaseDIP) -> Callable[[], None]:
    """Remember what a failed step may have changed: random numbers and buffers; weights change only at its end.

    Args:
        method: The method that is fitted.

    Returns:
        What puts it back.
    """
    random, own = torch.get_rng_state(), method.generators.state_dict()
    buffers = [(buffer, buffer.clone()) for buffer in method.network.buffers()]

    def restore() -> None:
        torch.set_rng_state(random)
        method.generators.load_state_dict(own)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)

    return restore


def warn_of_fallback(engine: str, error: Exception) -> None:
    """Say that steps run eagerly, and why.

    Args:
        engine: What was asked for.
        error: What came of it; the first line of its message is given, and that of the error which it followed.
    """
    first: BaseException = error
    while first.__context__ is not None:  # what broke a capture off, not that it was broken off
        first = first.__context__
    reason = _first_line(error) + (f" (after: {_first_line(first)})" if first is not error else "")
    rank_zero_warn(f"engine: {engine} is not possible here, steps run eagerly: {reason}")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
