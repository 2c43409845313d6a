"""Where tensors and forward operators are, and in which precision."""

from __future__ import annotations

import copy
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from deepinv.physics import Physics
from torch import Tensor, nn


def move_tensor(tensor: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """Bring a tensor to a device and a floating-point precision.

    Args:
        tensor: Any; integers and booleans keep their type.
        device: Where it goes.
        dtype: ``torch.float32`` or ``torch.float64``; complex tensors get the matching complex type. ``None`` keeps
            the precision.

    Returns:
        The tensor itself where there is nothing to change.
    """
    if dtype is None or not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor.to(device)
    return tensor.to(device, dtype.to_complex() if tensor.is_complex() else dtype)


def move_physics(physics: Physics, device: torch.device | str, dtype: torch.dtype | None = None) -> Physics:
    """Bring a forward operator to a device and a floating-point precision, and leave the given one as it is.

    ``physics.to(...)`` would change the operator in place, under everyone who shares it: the second fit of a
    DataModule, and whatever compares data on the host. It would also make complex buffers real.

    Args:
        physics: The operator.
        device: See :func:`move_tensor`.
        dtype: See :func:`move_tensor`.

    Returns:
        The operator itself where there is nothing to change. Otherwise a copy, which shares those tensors with it
        that do not change. An operator that cannot be copied, because it holds what belongs to another library, is
        moved in place.
    """
    move = partial(move_tensor, device=device, dtype=dtype)
    tensors: list[Tensor] = [*physics.parameters(), *physics.buffers()]
    moved: dict[int, Any] = {id(tensor): _as_before(tensor, move(tensor)) for tensor in tensors}
    if all(moved[id(tensor)] is tensor for tensor in tensors):
        return physics
    with suppress(Exception):  # whatever a foreign object says when it cannot be copied
        # The moved tensors stand for copies: no tensor is twice where the operator was.
        physics = copy.deepcopy(physics, moved)
    physics._apply(move)  # operators that keep tensors elsewhere than in buffers move them here
    return physics


def _as_before(tensor: Tensor, moved: Tensor) -> Tensor:
    """A parameter again, if it was one."""
    if moved is tensor or not isinstance(tensor, nn.Parameter):
        return moved
    return nn.Parameter(moved.detach(), tensor.requires_grad)
