"""Coil sensitivity maps from the fully sampled centre of k-space, by ESPIRiT."""

from __future__ import annotations

import torch
from torch import Tensor


def espirit(
    calibration: Tensor, image_shape: tuple[int, int], kernel: int = 6, threshold: float = 0.02, crop: float = 0.95
) -> Tensor:
    r"""Estimate sensitivity maps as eigenvectors of the calibration data's signal space.

    Windows of ``kernel x kernel`` samples of all coils span a space of low rank; the right singular vectors above
    ``threshold`` are its basis. Projecting on it, sample by sample, is a pixelwise matrix :math:`G(r)` over the coils,
    of which the maps are the eigenvectors to the eigenvalue 1. Source: Uecker et al., Magn. Reson. Med. 71(3), 2014.
    :math:`G` is computed from the correlations of the kernels, :math:`(2\,\mathrm{kernel} - 1)^2` samples for each
    pair of coils, so that the number of kernels does not matter.

    Args:
        calibration: Fully sampled centre of k-space, ``[coils, h, w]``, complex.
        image_shape: ``(H, W)`` of the maps.
        kernel: Edge of a window; cut to the calibration region where that is smaller.
        threshold: Smallest singular value that counts, as a fraction of the largest.
        crop: Smallest eigenvalue that is signal; the maps are zero elsewhere.

    Returns:
        ``[coils, H, W]``, complex; :math:`\sum_c |s_c|^2` is 1 or, outside the object, 0. The first coil is real.
    """
    coils, height, width = calibration.shape
    edge = min(kernel, height, width)
    windows = calibration.unfold(1, edge, 1).unfold(2, edge, 1)
    matrix = windows.permute(1, 2, 0, 3, 4).reshape(-1, coils * edge * edge)
    _, singular, basis = torch.linalg.svd(matrix, full_matrices=False)
    kernels = basis[singular > threshold * singular[0]].reshape(-1, coils, edge, edge)
    values, vectors = torch.linalg.eigh(_pixel_matrices(kernels, image_shape))
    maps = vectors[..., -1].movedim(-1, 0)
    first = maps[:1]
    phase = torch.where(first.abs() > 0, first / first.abs().clamp(min=torch.finfo(first.abs().dtype).tiny), 1)
    return maps * phase.conj() * (values[..., -1] > crop)


def _pixel_matrices(kernels: Tensor, image_shape: tuple[int, int]) -> Tensor:
    """Matrix over the coils at every pixel, ``[H, W, coils, coils]``, Hermitian, from kernels ``[n, coils, k, k]``."""
    coils, edge = kernels.shape[1], kernels.shape[-1]
    size = 2 * edge - 1
    spectra = torch.fft.fft2(kernels, s=(size, size))
    correlation = torch.fft.ifft2(torch.einsum("nixy,njxy->ijxy", spectra, spectra.conj()))
    grid = correlation.new_zeros(coils, coils, *image_shape)
    rows, columns = (_lags(edge, n, kernels.device) for n in image_shape)
    lags = _lags(edge, size, kernels.device)
    # Lags may coincide on a grid smaller than the kernel's correlation, so they are added up.
    flat = (rows[:, None] * image_shape[1] + columns[None, :]).flatten()
    values = correlation[:, :, lags][..., lags].flatten(2)
    grid.view(coils, coils, -1).index_add_(2, flat, values)
    product = torch.fft.fftshift(torch.fft.ifft2(grid, norm="forward"), dim=(-2, -1)) / edge**2
    return product.permute(2, 3, 0, 1)


def _lags(edge: int, size: int, device: torch.device) -> Tensor:
    return torch.arange(1 - edge, edge, device=device) % size


def calibration_block(mask: Tensor, limit: int) -> tuple[int, int]:
    """Size of the largest fully sampled block around the centre of k-space.

    Args:
        mask: Sampled points, ``[H, W]``, bool, zero frequency at ``(H // 2, W // 2)``.
        limit: Largest edge.

    Returns:
        ``(h, w)``; zeros where the centre itself is not sampled.
    """
    best, sampled = (0, 0), mask.bool()
    for height in range(min(limit, mask.shape[0]), 0, -1):
        width = min(limit, mask.shape[1])
        while width and not bool(centre(sampled, (height, width)).all()):
            width -= 1
        if height * width > best[0] * best[1]:
            best = height, width
    return best


def centre(tensor: Tensor, shape: tuple[int, int]) -> Tensor:
    """Block of ``(h, w)`` around the point ``(H // 2, W // 2)`` of the last two axes."""
    (height, width), (h, w) = tensor.shape[-2:], shape
    top, left = height // 2 - h // 2, width // 2 - w // 2
    return tensor[..., top : top + h, left : left + w]
