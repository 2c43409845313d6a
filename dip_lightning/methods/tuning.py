"""Settings that make steps faster without changing what they compute; ``docs/performance.md`` has the figures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dip_lightning.networks.stacked import StackedNetwork

_FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)


def prefer_fused(optimizer: torch.optim.Optimizer) -> None:
    """Have torch update all weights in one pass, where the user left the choice to torch.

    On a CPU torch would loop over the parameters, and read a counter from each.

    Args:
        optimizer: Changed in place; left alone unless it is plain Adam, AdamW or SGD.
    """
    if type(optimizer) not in _FUSED:
        return
    for group in optimizer.param_groups:
        chosen = any(group.get(option) for option in ("foreach", "differentiable", "capturable"))
        plain = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in group["params"])
        if group.get("fused") is None and not chosen and plain:
            group["fused"] = True


def suit_device(network: nn.Module, device: torch.device, optimizer: torch.optim.Optimizer) -> None:
    """Lay the weights out channels last on a CPU: its single-precision convolutions are faster so.

    Args:
        network: Changed in place; its parameters stay the same objects. A stacked network is left alone.
        device: Where it is.
        optimizer: What trains it: L-BFGS takes weights and gradients as vectors, and needs them contiguous.
    """
    first = next(network.parameters())
    if device.type != "cpu" or first.dtype != torch.float32 or isinstance(network, StackedNetwork):
        return
    trained = any(parameter.ndim == 4 and parameter.requires_grad for parameter in network.parameters())
    as_vectors = isinstance(optimizer, torch.optim.LBFGS) and trained
    lay_out(network, torch.contiguous_format if as_vectors else torch.channels_last)


def match_layout(optimizer: torch.optim.Optimizer) -> None:
    """Lay out restored optimiser state as the weights are: fused optimisers walk through both in the order of memory.

    Args:
        optimizer: Its state is changed in place, where a checkpoint from another device brought another layout.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def lay_out(network: nn.Module, memory_format: torch.memory_format) -> None:
    """Change the memory format of a network's four-dimensional weights, in place.

    Args:
        network: The network; its parameters stay the same objects.
        memory_format: ``torch.channels_last`` or ``torch.contiguous_format``.
    """
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)
