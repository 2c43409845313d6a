"""A device that is pretended: its tensors hold their numbers on the host, but keep the rules of a GPU.

They say that they are on ``pretend:0``, refuse to be mixed with tensors of the host, and note where the host would wait
for a GPU: where it reads a value, copies either way, or needs a number of elements that depends on values.

What it can show: that a fit leaves nothing on the host that a step needs, that steps wait for nothing, that a captured
step would contain nothing which breaks a capture, and that numbers are those of a fit on the CPU. What it cannot:
anything of cuDNN, cuFFT and cuSPARSE, of memory, of streams and of time; random numbers are the host's.

:func:`set_up` changes torch for the whole process, so tests do it in one that does nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch.utils import backend_registration

from dip_lightning.physics import sparse
from tests.pretended_tensor import NAME, DeviceGenerator, DeviceTensor, Rules

#: What torch needs for a device that is written in Python.
AVAILABLE = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")


class _Backend(backend_registration._DummyBackendModule if AVAILABLE else object):  # type: ignore[misc, unused-ignore]
    """What torch asks a device about."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.zeros(16, dtype=torch.uint8)

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        pass


def set_up() -> None:
    """Make the device known to torch, and have sparse matrices and generators work on it."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
    torch.Generator = DeviceGenerator  # type: ignore[misc]
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a tensor cannot become one of another class
    matrix, multiply = sparse.SparseMap._matrix, sparse._multiply

    def held_matrix(self: Any, name: str, shape: Any) -> Any:  # wrappers cannot be sparse
        parts = [self.get_buffer(f"{name}_{part}") for part in sparse.PARTS]
        if not isinstance(parts[0], DeviceTensor):
            return matrix(self, name, shape)
        held = torch.sparse_csr_tensor(*[part.held for part in parts], shape, check_invariants=False)
        return lambda x: DeviceTensor((held @ x.held.T.contiguous()).T.contiguous())

    sparse.SparseMap._matrix = held_matrix  # type: ignore[method-assign]
    sparse._multiply = lambda m, x: m(x) if isinstance(x, DeviceTensor) else multiply(m, x)


@contextmanager
def on_device() -> Iterator[Any]:
    """Give the options of a trainer on the device, and keep its rules meanwhile."""
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with Rules():
            yield {"accelerator": _Accelerator(), "strategy": SingleDeviceStrategy(device=torch.device(NAME, 0))}
    finally:
        torch._C._set_only_lift_cpu_tensors(False)


class _Accelerator(CPUAccelerator):
    def setup_device(self, device: torch.device) -> None:
        """Any device."""
