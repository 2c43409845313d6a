"""Coil sensitivity maps from the fully sampled centre of k-space, by ESPIRiT."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

_ROWS = 32  # rows of pixels whose matrices are held at once


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
    maps = calibration.new_empty(coils, *image_shape)
    signal = torch.empty(image_shape, dtype=singular.dtype, device=calibration.device)
    correlations, waves = _correlations(kernels), _waves(edge, image_shape[1], calibration)
    along_rows = torch.einsum("ijde,rd->rije", correlations, _waves(edge, image_shape[0], calibration))

    def strongest(rows: Tensor) -> tuple[Tensor, Tensor]:
        matrices = torch.einsum("rije,ce->rcij", along_rows[rows], waves) / edge**2
        values, vectors = torch.linalg.eigh(matrices)
        return vectors[..., -1].movedim(-1, 0), values[..., -1]

    parts = torch.arange(image_shape[0], device=calibration.device).split(_ROWS)  # as many as memory holds
    for rows, (vectors, values) in zip(parts, _side_by_side(strongest, parts, calibration.device), strict=True):
        maps[:, rows], signal[rows] = vectors, values
    first = maps[:1]
    phase = torch.where(first.abs() > 0, first / first.abs().clamp(min=torch.finfo(signal.dtype).tiny), 1)
    return maps * phase.conj() * (signal > crop)


def _side_by_side(
    function: Callable[[Tensor], tuple[Tensor, Tensor]], parts: Sequence[Tensor], device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Map a function over parts: on a CPU with one thread for each, not with all threads for every tiny matrix."""
    threads = torch.get_num_threads()
    if device.type != "cpu":
        yield from map(function, parts)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(function, parts)
    finally:
        torch.set_num_threads(threads)  # the threads of the pool have set it for others, too


def _correlations(kernels: Tensor) -> Tensor:
    """Correlations of each two coils, summed over the kernels ``[n, N, k, k]``: ``[N, N, 2k-1, 2k-1]``."""
    edge = kernels.shape[-1]
    spectra = torch.fft.fft2(kernels, s=(2 * edge - 1, 2 * edge - 1))
    products = torch.einsum("nixy,njxy->ijxy", spectra, spectra.conj())
    return torch.fft.fftshift(torch.fft.ifft2(products), dim=(-2, -1))


def _waves(edge: int, size: int, like: Tensor) -> Tensor:
    """Waves of the lags from ``1 - edge`` to ``edge - 1`` along an axis of ``size`` pixels, ``[size, 2 edge - 1]``."""
    lags, pixels = torch.arange(1 - edge, edge), torch.arange(size) - size // 2
    angles = 2 * math.pi / size * torch.outer(pixels, lags).double()
    return torch.polar(torch.ones_like(angles), angles).to(like)


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
