"""How much memory a fit of several members will take, before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dip_lightning.errors import ConfigurationError

#: Weights, gradient and two moments of Adam.
_COPIES_OF_WEIGHTS = 4
#: Peak over what is kept for the gradient, measured: gradients of activations, workspaces, fragmentation.
_MARGIN = 2.5
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def member_bytes(network: nn.Module, z: Tensor) -> int | None:
    """Estimate what one member of a fit takes: weights, optimiser state and what is kept for the gradient.

    Nothing is computed: the network runs on tensors without memory.

    Args:
        network: The single network.
        z: Its input, ``[1, C_in, H, W]``.

    Returns:
        Bytes; ``None`` where the network cannot run without memory.
    """
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    weights: dict[str, Any] = {
        name: tensor.detach().to("meta").requires_grad_(tensor.requires_grad)
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }
    own = {weight.untyped_storage()._cdata for weight in weights.values()}
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            functional_call(network, weights, (z.to("meta", next(network.parameters()).dtype),))
    except (RuntimeError, NotImplementedError, TypeError):
        return None
    activations = sum(t.untyped_storage().nbytes() for storage, t in kept.items() if storage not in own)
    of_weights = sum(weight.numel() * weight.element_size() for weight in weights.values())
    return round(_MARGIN * activations) + _COPIES_OF_WEIGHTS * of_weights


def free_bytes(device: torch.device) -> int | None:
    """Memory that is free on a device; ``None`` where that cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    found = [value for value in (_available_in_system(), *map(_available_in_cgroup, _CGROUPS)) if value is not None]
    return min(found, default=None)


def check_memory(network: nn.Module, z: Tensor, device: torch.device) -> None:
    """Refuse a fit of several members that will not fit into memory.

    Args:
        network: The single network.
        z: First input of all members, ``[B, C_in, H, W]``.
        device: Where the fit will be.

    Raises:
        ConfigurationError: If the estimate is more than what is free; the message says how many members fit.
    """
    each, free = member_bytes(network, z[:1]), free_bytes(device)
    if each is None or free is None or each * len(z) <= free:
        return
    fitting = max(free // each, 1)
    raise ConfigurationError(
        f"{len(z)} members at once need about {_gib(each * len(z))}, {_gib(each)} each, but {_gib(free)} are free on "
        f"{device}: set data.batch times data.repeat to at most {fitting}, or take a smaller network or image."
    )


def _available_in_system() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def _available_in_cgroup(files: tuple[str, str]) -> int | None:
    try:
        limit, used = (int(Path(file).read_text(encoding="ascii")) for file in files)
    except (OSError, ValueError):  # no such group, or no limit ("max")
        return None
    return max(limit - used, 0)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
