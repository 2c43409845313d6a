"""Linear maps whose derivative is their exact adjoint."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class LinearMap(nn.Module):
    """A linear map on every member of a batch, and its transpose; gradients, of any order, go through the transpose.

    Attributes:
        shape: Values out and values in, ``(M, N)``.
    """

    shape: tuple[int, int]

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Precision in which it is applied."""

    @abstractmethod
    def direct(self, x: Tensor) -> Tensor:
        """Apply the map without autograd: ``[B, N] -> [B, M]``."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the transpose without autograd: ``[B, M] -> [B, N]``."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map: ``[B, N] -> [B, M]``."""
        return _Apply.apply(x.to(self.dtype), self.direct, self.adjoint)

    def transposed(self, y: Tensor) -> Tensor:
        """Apply the transpose: ``[B, M] -> [B, N]``."""
        return _Apply.apply(y.to(self.dtype), self.adjoint, self.direct)


class _Apply(torch.autograd.Function):
    """A linear map whose derivative is given; it is linear too, so that gradients of gradients work."""

    @staticmethod
    def forward(x: Tensor, direct: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor]) -> Tensor:
        return direct(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.direct, ctx.adjoint = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Apply.apply(gradient, ctx.adjoint, ctx.direct), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return _Apply.apply(tangent, ctx.direct, ctx.adjoint)
