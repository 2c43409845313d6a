"""Bases of low-dimensional subspaces."""

from __future__ import annotations

import torch
from torch import Tensor

_PART = 1_000_000


def principal_directions(samples: Tensor, dim: int) -> Tensor:
    r"""First left singular vectors of :math:`[\theta_1 \dots \theta_S]`: the directions that the samples use most.

    The samples are not centred, as in subspace DIP (arXiv 2302.10279).

    Args:
        samples: ``[S, P]``, one row for each sample.
        dim: Number of vectors, at most the rank of the samples.

    Returns:
        ``[P, dim]`` with orthonormal columns, float32 or wider.

    Raises:
        ValueError: If the samples do not span as many dimensions.
    """
    wide = samples if samples.dtype == torch.float64 else samples.float()
    # From the Gram matrix, S x S: an SVD of [P, S] would copy the samples and take minutes. In float64, for its
    # eigenvalues are squares, and in parts, so that no float64 copy of all samples is made.
    gram = torch.stack([part.double() @ part.double().T for part in wide.split(_PART, dim=1)]).sum(0)
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(0), vectors.flip(1)
    rank = int((values > values[0] * len(samples) * torch.finfo(torch.float64).eps).sum())
    if not 1 <= dim <= rank:
        raise ValueError(f"{len(samples)} samples span {rank} dimensions, not {dim}.")
    basis = wide.T @ (vectors[:, :dim] / values[:dim].sqrt()).to(wide.dtype)
    return torch.linalg.qr(basis)[0]  # orthonormal to rounding; the span is the same
