"""Distances between tensors, with the reduction always named.

Papers write squared norms; the aSeqDIP authors' CT and MRI code uses the norm itself and their restoration code the
mean square. A regularisation weight means something else under each, so the reduction is never implied.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from dip_lightning.errors import check_option

Reduction = Literal["norm", "mse", "sum"]


def distance(a: Tensor, b: Tensor, reduction: Reduction) -> Tensor:
    r"""Distance of each member of a batch.

    ``norm`` is :math:`\|a - b\|_2`, ``sum`` is :math:`\|a - b\|_2^2`, and ``mse`` is :math:`\|a - b\|_2^2 / n` with
    :math:`n` the number of elements of a member. Complex tensors count :math:`|a - b|`. The gradient of ``norm`` at
    zero is zero.

    Args:
        a: ``[B, ...]``, real or complex.
        b: The same shape; no broadcasting.
        reduction: ``norm``, ``mse`` or ``sum``.

    Returns:
        ``[B]``, real.

    Raises:
        ValueError: If the shapes differ.
        ConfigurationError: If the reduction is unknown.
    """
    if a.shape != b.shape:
        raise ValueError(f"Cannot compare shapes {list(a.shape)} and {list(b.shape)}: nothing is broadcast here.")
    check_option("reduction", reduction, get_args(Reduction))
    difference = (a - b).flatten(1)
    if reduction == "norm":
        return torch.linalg.vector_norm(difference, dim=1)
    squared = difference.abs().square() if difference.is_complex() else difference.square()
    return squared.mean(1) if reduction == "mse" else squared.sum(1)
