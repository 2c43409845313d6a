"""What is done to raw multi-coil data before the coils are combined: noise whitening and coil compression."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dip_lightning.array_files import read_array
from dip_lightning.errors import MeasurementError
from dip_lightning.paths import expand_path


def noise_covariance(kspace: Tensor, mask: Tensor, corner: int) -> Tensor:
    r"""Covariance of the coils' noise, :math:`\langle n_i \bar n_j\rangle`, from the corners of k-space.

    There, the object's signal has fallen below the noise.

    Args:
        kspace: ``[N, H, W]``, complex.
        mask: Sampled points, ``[H, W]``, bool; others are not counted.
        corner: Edge of the four squares.

    Returns:
        ``[N, N]``, Hermitian; of the complex noise, so that its real and imaginary parts have half of it each.

    Raises:
        MeasurementError: If fewer than four samples a coil are found there, or if the coils are not independent.
    """
    height, width = mask.shape
    rows = (torch.arange(height) < corner) | (torch.arange(height) >= height - corner)
    columns = (torch.arange(width) < corner) | (torch.arange(width) >= width - corner)
    noise = kspace[:, rows[:, None] & columns[None, :] & mask]
    coils, samples = noise.shape
    if samples < 4 * coils:
        raise MeasurementError(
            f"whiten={corner}: the corners of k-space hold {samples} samples, too few for the noise of {coils} coils; "
            "take a larger corner, or leave whitening out."
        )
    covariance = noise @ noise.conj().T / samples
    if torch.linalg.cholesky_ex(covariance).info != 0:
        raise MeasurementError(f"whiten={corner}: the noise in the corners of k-space is zero, or coils repeat others.")
    return covariance


def read_covariance(path: str, coils: int) -> Tensor:
    """Covariance of the coils' noise from a file.

    Args:
        path: An array ``[N, N]``, the covariance, or ``[N, S]`` with S > N, noise samples from a scan without signal.
        coils: Number of coils, N.

    Returns:
        ``[N, N]``, complex64.

    Raises:
        MeasurementError: If the file cannot be read, has another shape, or holds no covariance.
    """
    file = expand_path(path)
    values = torch.from_numpy(np.asarray(read_array(file), dtype=np.complex64))
    if values.ndim != 2 or values.shape[0] != coils or values.shape[1] < coils:
        raise MeasurementError(
            f"whiten: {file} has shape {list(values.shape)}; {coils} coils need a covariance [{coils}, {coils}] or "
            f"noise samples [{coils}, samples]."
        )
    covariance = values if values.shape[1] == coils else values @ values.conj().T / values.shape[1]
    hermitian = torch.allclose(covariance, covariance.conj().T, rtol=1e-3, atol=1e-3 * float(covariance.abs().max()))
    if not hermitian or torch.linalg.cholesky_ex(covariance).info != 0:
        raise MeasurementError(f"whiten: {file} holds no covariance; it must be Hermitian and positive definite.")
    return covariance


def whitening(covariance: Tensor) -> Tensor:
    r"""Matrix :math:`L^{-1}` with :math:`L L^H` the covariance: the coils' noise becomes independent, of variance 1.

    Args:
        covariance: ``[N, N]``.

    Returns:
        ``[N, N]``, lower triangular.
    """
    factor = torch.linalg.cholesky(covariance)
    identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, identity, upper=False)


def compression(kspace: Tensor, coils: int) -> Tensor:
    """Matrix that combines the coils to fewer virtual ones, by the singular value decomposition of the data.

    Source: Buehrer et al., Magn. Reson. Med. 57(6), 2007.

    Args:
        kspace: ``[N, H, W]``, complex, zero where not sampled.
        coils: Number of virtual coils, at most N.

    Returns:
        ``[coils, N]``, with orthonormal rows: white noise stays white.

    Raises:
        MeasurementError: If there are fewer coils.
    """
    if coils > len(kspace):
        raise MeasurementError(f"virtual_coils={coils}, but the data have {len(kspace)} coils.")
    samples = kspace.flatten(1)
    _, vectors = torch.linalg.eigh(samples @ samples.conj().T)
    return vectors[:, -coils:].flip(1).conj().T


def mix(matrix: Tensor, kspace: Tensor) -> Tensor:
    """Apply a matrix over the coils, ``[V, N]`` on ``[N, H, W]``."""
    return torch.einsum("vn,nhw->vhw", matrix, kspace)
