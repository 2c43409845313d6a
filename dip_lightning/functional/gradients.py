"""Gradients of stacked parameters, member by member."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def clip_member_gradients(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    r"""Scale the gradients of each member, in place, to a norm of at most ``max_norm``.

    For each member what :func:`torch.nn.utils.clip_grad_norm_` does for a single network:
    :math:`g_b \leftarrow g_b \min(1, c / (\|g_b\|_2 + 10^{-6}))` with the norm over all parameters. Nothing waits for
    the device.

    Args:
        parameters: Parameters ``[B, ...]``; those without a gradient are left out.
        max_norm: Largest norm :math:`c`.

    Returns:
        The norms before, ``[B]``.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    squares = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients])
    norms = torch.linalg.vector_norm(squares, dim=0)
    factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)).to(gradient.dtype))
    return norms
