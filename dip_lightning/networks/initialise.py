"""Fresh weights from a seed, in place, so that compiled networks and optimisers keep their tensors."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

#: A message names this many parameters at most.
_MOST_NAMED = 5


def reinitialise(network: nn.Module, seed: int, warn: bool = True) -> None:
    """Draw all weights again from a seed of their own.

    The result depends on the seed and the architecture alone, not on what was built or drawn before. A network with
    a ``reset_parameters`` method of its own is asked to do it; otherwise every submodule that has one is, in order.
    Parameters that no ``reset_parameters`` reaches keep their values, with a warning unless they are constants.

    Args:
        network: The network to reset.
        seed: Seed of the draw; the global generator is left as it was.
        warn: Whether to warn of parameters that do not depend on the seed.
    """
    before = {name: (p._version, p.detach().clone()) for name, p in network.named_parameters()} if warn else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _reset(network) if hasattr(network, "reset_parameters") else reset_children(network)
    kept = [name for name, p in network.named_parameters() if name in before and _kept(p, *before[name])]
    if kept:
        more = [f"and {len(kept) - _MOST_NAMED} more"] if len(kept) > _MOST_NAMED else []
        warnings.warn(
            f"{type(network).__name__}: {', '.join(kept[:_MOST_NAMED] + more)} would be the same with every seed, for "
            "no reset_parameters() draws what __init__ drew: give the module that holds it one.",
            stacklevel=2,
        )


def reset_children(network: nn.Module) -> None:
    """Call ``reset_parameters`` on every submodule that has it, in registration order.

    Args:
        network: The network whose submodules are reset.
    """
    for module in network.modules():
        if module is not network and hasattr(module, "reset_parameters"):
            _reset(module)


def _kept(parameter: nn.Parameter, version: int, value: Tensor) -> bool:
    """Whether a parameter was left alone; constants may be: they are what they would be set to."""
    untouched = parameter._version == version and torch.equal(parameter, value)  # changes of .data make no version
    return untouched and bool((value != value.flatten()[:1]).any())


def _reset(module: Any) -> None:
    module.reset_parameters()


def normal_weights(network: nn.Module, std: float = 0.02) -> None:
    r"""Draw weights as the aSeqDIP authors do (the pix2pix initialisation).

    Convolutions get :math:`\mathcal N(0, \mathrm{std}^2)` weights, affine norm layers
    :math:`\mathcal N(1, \mathrm{std}^2)`, and all biases are zero.

    Args:
        network: The network whose weights are drawn.
        std: Standard deviation.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, std)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.InstanceNorm2d) and module.weight is not None:
            nn.init.normal_(module.weight, 1.0, std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
