"""Tensors of a pretended device: their numbers are on the host, but they keep the rules of a GPU."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "pretend"

_aten = torch.ops.aten
_Generator = torch._C.Generator
#: Operations whose result the host reads, or whose result's shape depends on values.
_READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "linalg_eigh")
_INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")


class Waits:
    """Where the host waited for the device while :attr:`watched`."""

    def __init__(self) -> None:
        self.watched = self.refused = False
        self.found: Counter[str] = Counter()

    def note(self, what: str) -> None:
        """Hear of a wait.

        Raises:
            RuntimeError: If waits are refused, as in a capture.
        """
        if not (self.watched or self.refused):
            return
        frames = [frame for frame in traceback.extract_stack() if "dip_lightning/" in frame.filename]
        place = f"{what} at {frames[-1].filename}:{frames[-1].lineno} {frames[-1].line}" if frames else what
        if self.refused:
            raise RuntimeError(f"the host waits for the device: {place}")
        self.found[place] += 1

    @contextmanager
    def refuse(self) -> Iterator[None]:
        """Raise an error at every wait."""
        self.refused = True
        try:
            yield
        finally:
            self.refused = False


WAITS = Waits()


class DeviceTensor(torch.Tensor):
    """A tensor of the device.

    Args:
        held: Its numbers, on the host.
        requires_grad: As for any tensor.
    """

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor, requires_grad: bool = False) -> DeviceTensor:
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=torch.device(NAME, 0),
            requires_grad=requires_grad,
        )
        tensor.held = held
        return tensor

    def __init__(self, held: torch.Tensor, requires_grad: bool = False) -> None:
        pass

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})

    @property
    def data(self) -> torch.Tensor:
        return self.detach()

    @data.setter
    def data(self, new: DeviceTensor) -> None:
        torch.Tensor.data.__set__(self, new)  # type: ignore[attr-defined]
        self.held = new.held

    def __setitem__(self, index: Any, value: Any) -> None:
        if not isinstance(value, torch.Tensor):  # torch fills, and copies no number there
            value = torch.full((), value, dtype=self.dtype, device=self.device)
        super().__setitem__(index, value)

    def __deepcopy__(self, memo: Any) -> Any:
        with torch.no_grad():
            twin = self.detach().clone()
        return torch.nn.Parameter(twin, self.requires_grad) if isinstance(self, torch.nn.Parameter) else twin

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"can't convert {self.device} device type tensor to numpy.")

    def tolist(self) -> Any:
        WAITS.note("tolist")
        return self.held.tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:  # Lightning reads every checkpoint to the host
        return self.held.__reduce_ex__(protocol)

    def is_shared(self) -> bool:
        return False

    def __repr__(self, **_: Any) -> str:
        return f"DeviceTensor({self.held})"


class DeviceGenerator(_Generator):  # type: ignore[misc]
    """A generator that draws on the host, and knows which device it was made for."""

    def __new__(cls, device: Any = "cpu") -> DeviceGenerator:
        generator = super().__new__(cls, "cpu")
        generator.made_for = torch.device(device).type
        return generator

    def __init__(self, device: Any = "cpu") -> None:
        pass


class Rules(TorchDispatchMode):
    """Has every operation pass :func:`_run`, also those that make tensors."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do an operation on the host, if a GPU would do it."""
    leaves = tree_leaves((args, kwargs))
    here = [leaf for leaf in leaves if isinstance(leaf, DeviceTensor)]
    hosts = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu"]
    name = function.name().split("::")[-1].split(".")[0]
    asked = None if kwargs.get("device") is None else torch.device(kwargs["device"]).type
    made_here = asked == NAME if asked is not None else bool(here)
    if function is _aten.copy_.default:
        made_here = isinstance(args[0], DeviceTensor)
    _note_waits(name, args, here, hosts, made_here)
    _refuse_mixes(name, args, here, hosts)
    _refuse_generators(leaves, made_here, bool(here) or asked is not None)
    if not here and not made_here:
        return function(*args, **kwargs)
    args, kwargs = tree_map(lambda x: x.held if isinstance(x, DeviceTensor) else x, (args, kwargs))
    if asked == NAME:
        kwargs["device"] = "cpu"
    result = function(*args, **kwargs)
    known = {id(tensor.held): tensor for tensor in here}  # what is changed in place stays the same tensor

    def wrap(x: Any) -> Any:
        if id(x) in known:
            return known[id(x)]
        if not made_here or not isinstance(x, torch.Tensor):
            return x
        return DeviceTensor(x.resolve_conj().resolve_neg())  # a wrapper has no conjugate bit for torch to heed

    return result if name == "_local_scalar_dense" else tree_map(wrap, result)


def _note_waits(name: str, args: Any, here: list[Any], hosts: list[Any], made_here: bool) -> None:
    if (name == "_to_copy" and isinstance(args[0], DeviceTensor) != made_here) or (name == "copy_" and here and hosts):
        WAITS.note("copy to the device" if made_here else "copy to the host")
    elif here and name in _READS:
        WAITS.note(name)
    elif here and name in _INDEXING:
        indices = [index for index in args[1] if isinstance(index, torch.Tensor)]
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
            WAITS.note("boolean index")
        if any(not isinstance(index, DeviceTensor) for index in indices):
            WAITS.note("index from the host")


def _refuse_mixes(name: str, args: Any, here: list[Any], hosts: list[Any]) -> None:
    if name in ("_to_copy", "copy_") or not here:
        return
    if name in _INDEXING and isinstance(args[0], DeviceTensor):
        return
    if any(host.ndim for host in hosts):  # numbers on the host go along with a kernel
        raise RuntimeError(f"Expected all tensors to be on the same device, but {name} got cpu and {NAME}.")


def _refuse_generators(leaves: list[Any], made_here: bool, placed: bool) -> None:
    for leaf in leaves:
        wanted = NAME if made_here else "cpu"
        if isinstance(leaf, _Generator) and placed and getattr(leaf, "made_for", wanted) != wanted:
            raise RuntimeError(f"Expected a '{wanted}' device type for generator but found '{leaf.made_for}'.")
