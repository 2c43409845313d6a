"""Volumes in the schema of the fastMRI release, small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <encoding>
    <encodedSpace><matrixSize><x>{height}</x><y>{width}</y><z>1</z></matrixSize></encodedSpace>
    <reconSpace><matrixSize><x>{size}</x><y>{size}</y><z>1</z></matrixSize></reconSpace>
  </encoding>
</ismrmrdHeader>"""


def coil_images(slices: int, coils: int, height: int, width: int) -> NDArray[np.complex64]:
    """A disc with a hole, another for each slice, seen by coils around it."""
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    images = []
    for number in range(slices):
        radius = np.hypot(rows, columns)
        disc = (radius < 0.55 + 0.05 * number) - 0.5 * (np.hypot(rows - 0.2, columns) < 0.2)
        smooth = disc * np.exp(0.7j * columns)
        angles = 2 * np.pi * np.arange(coils)[:, None, None] / coils
        away = np.hypot(rows - np.sin(angles), columns - np.cos(angles))
        images.append(smooth * np.exp(-(away**2) / 2 + 0.5j * away))
    noise = np.random.default_rng(0).normal(0, 1e-3, (2, slices, coils, height, width))
    return 1e-4 * (np.array(images) + noise[0] + 1j * noise[1]).astype(np.complex64)


def centred_fft(images: NDArray[Any]) -> NDArray[np.complex64]:
    """Independent of the code under test: numpy."""
    axes = (-2, -1)
    spectra = np.fft.fft2(np.fft.ifftshift(images, axes=axes), norm="ortho")
    return np.fft.fftshift(spectra, axes=axes).astype(np.complex64)


def write_volume(
    path: Path,
    slices: int = 3,
    coils: int | None = 4,
    shape: tuple[int, int] = (48, 40),
    size: int = 24,
    mask: NDArray[Any] | None = None,
    undersample: bool = True,
    target: bool = True,
    drop: tuple[str, ...] = (),
    padding: int = 0,
    dtype: str = "complex64",
) -> NDArray[np.complex64]:
    """Write a volume and return its k-space as written.

    ``coils=None`` is a single-coil file; ``mask`` makes it one of the test set, whose k-space is zero elsewhere unless
    ``undersample=False`` (``test_full``); ``padding`` zeroes lines at both sides; ``dtype`` is ``complex64``, ``pair``
    (a last axis of real and imaginary part) or ``record`` (named fields).
    """
    images = coil_images(slices, coils or 1, *shape)
    kspace = centred_fft(images)
    if padding:
        kspace[..., :padding] = 0
        kspace[..., -padding:] = 0
    whole = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))
    rss = np.sqrt((abs(whole) ** 2).sum(1))
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    reconstruction = rss[:, top : top + size, left : left + size].astype(np.float32)
    if mask is not None and undersample:
        kspace = kspace * mask.astype(np.float32)
    kspace = kspace if coils else kspace[:, 0]
    with h5py.File(path, "w") as file:
        file["kspace"] = encoded(kspace, dtype)
        file["ismrmrd_header"] = HEADER.format(height=shape[0], width=shape[1], size=size)
        if target and (mask is None or not undersample):
            file["reconstruction_rss" if coils else "reconstruction_esc"] = reconstruction
        if mask is not None:
            file["mask"] = mask.astype(np.uint8)
            file.attrs["acceleration"], file.attrs["num_low_frequency"] = 4, 4
        file.attrs["acquisition"] = "CORPD_FBK"
        file.attrs["max"], file.attrs["norm"] = reconstruction.max(), np.linalg.norm(reconstruction)
        file.attrs["patient_id"] = "0" * 8
        for key in drop:
            del file[key]
    return kspace


def encoded(kspace: NDArray[np.complex64], dtype: str) -> NDArray[Any]:
    """K-space as other writers store complex numbers."""
    if dtype == "pair":
        return np.stack([kspace.real, kspace.imag], axis=-1)
    if dtype == "record":
        fields = np.zeros(kspace.shape, dtype=[("real", "f4"), ("imag", "f4")])
        fields["real"], fields["imag"] = kspace.real, kspace.imag
        return fields
    return kspace.astype(dtype)
