"""A sparse matrix and its stored transpose as a differentiable linear map."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dip_lightning.physics.linear_map import LinearMap

PARTS = ("pointers", "indices", "values")


class SparseMap(LinearMap):
    """Applies a sparse matrix, or its transpose, to every member of a batch.

    Both are stored in compressed rows, so that each application reads memory in order and is bitwise reproducible on
    CPU; gradients, of any order, go through the stored transpose, which is the exact adjoint. The matrix follows from
    its geometry: it is no part of the state dict, and so of no checkpoint.

    Args:
        matrix: ``scipy.sparse`` matrix ``[M, N]``.
        scale: Factor on every entry.
    """

    def __init__(self, matrix: Any, scale: float = 1.0) -> None:
        super().__init__()
        self.shape: tuple[int, int] = tuple(matrix.shape)
        matrix = matrix.tocsr()
        for name, part in (("direct", matrix), ("adjoint", matrix.T.tocsr())):
            self.register_buffer(f"{name}_pointers", _index_tensor(part.indptr, part.nnz), persistent=False)
            self.register_buffer(f"{name}_indices", _index_tensor(part.indices, part.nnz), persistent=False)
            values = torch.from_numpy(np.asarray(part.data * part.data.dtype.type(scale)))
            self.register_buffer(f"{name}_values", values, persistent=False)
        self._built: dict[str, Tensor] = {}

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the entries."""
        return self.get_buffer("direct_values").dtype

    def direct(self, x: Tensor) -> Tensor:
        """Apply the matrix without autograd."""
        return _multiply(self._matrix("direct", self.shape), x)

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the transpose without autograd."""
        return _multiply(self._matrix("adjoint", self.shape[::-1]), y)

    def _matrix(self, name: str, shape: tuple[int, ...]) -> Tensor:
        if name not in self._built:  # views of the buffers, made on first use after each move
            pointers, indices, values = (self.get_buffer(f"{name}_{part}") for part in PARTS)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
                self._built[name] = torch.sparse_csr_tensor(pointers, indices, values, shape, check_invariants=False)
        return self._built[name]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SparseMap:
        self._built = {}
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_built": {}}  # copies and pickles build their own views


def _multiply(matrix: Tensor, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):  # line integrals in bfloat16 are of no use
        if x.shape[0] == 1 and _has_vector_product(x.device):
            return (matrix @ x[0])[None]
        return (matrix @ x.T).T.contiguous()


def _has_vector_product(device: torch.device) -> bool:
    # Without MKL, torch multiplies sparse matrices on CPU by matrices only. With it, vectors take half the time.
    return device.type != "cpu" or torch.backends.mkl.is_available()


def _index_tensor(indices: Any, entries: int) -> Tensor:
    # MKL and cuSPARSE take 32-bit indices as they are; 64-bit ones are converted at every product.
    return torch.from_numpy(indices.astype(np.int32 if entries < 2**31 else np.int64))
