"""What the tests compute methods with, written from formulas and nothing of the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tests.support import TinyNetwork

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "norm": lambda d: (d * d).sum().sqrt(),
    "mse": lambda d: (d * d).sum() / d.numel(),
    "sum": lambda d: (d * d).sum(),
}


class DirectAdam:
    """Adam from its paper (arXiv 1412.6980), tensor by tensor, each with its own rate."""

    def __init__(self, groups: Sequence[tuple[Sequence[Tensor], float]]) -> None:
        self.entries = [(p, lr, torch.zeros_like(p), torch.zeros_like(p)) for tensors, lr in groups for p in tensors]
        self.t = 0

    def step(self, loss: Tensor) -> None:
        self.t += 1
        gradients = torch.autograd.grad(loss, [entry[0] for entry in self.entries])
        with torch.no_grad():
            for (p, lr, m, v), g in zip(self.entries, gradients, strict=True):
                m.mul_(0.9).add_(0.1 * g)
                v.mul_(0.999).add_(0.001 * g * g)
                p -= lr * (m / (1 - 0.9**self.t)) / ((v / (1 - 0.999**self.t)).sqrt() + 1e-8)


def double_network(in_channels: int = 1) -> nn.Module:
    """A small network in float64, the same at every call."""
    torch.manual_seed(3)
    return TinyNetwork(in_channels).double()


def same_parameters(one: nn.Module, other: nn.Module, tolerance: float = 1e-10) -> None:
    """Assert that two networks have the same weights."""
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=tolerance)
