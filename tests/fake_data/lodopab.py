"""Files in the schema of LoDoPaB-CT."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np

CENTRE, SIGMA = (0.03, -0.045), 0.02


def blob() -> np.ndarray:
    """A Gaussian on the data set's grid: ``data[i, j]`` is at ``x_i`` and ``y_j``, in metres."""
    axis = -0.13 + (np.arange(362) + 0.5) * 0.26 / 362
    squares = (axis[:, None] - CENTRE[0]) ** 2 + (axis[None, :] - CENTRE[1]) ** 2
    return np.exp(-squares / (2 * SIGMA**2)).astype(np.float32)


def blob_line_integrals() -> np.ndarray:
    """Its exact line integrals in metres: cell-centred angles over half a turn, 513 bins over the diagonal."""
    angles = (np.arange(1000) + 0.5) * np.pi / 1000
    edge = 0.13 * 2**0.5
    bins = -edge + (np.arange(513) + 0.5) * 2 * edge / 513
    centre = CENTRE[0] * np.cos(angles) + CENTRE[1] * np.sin(angles)
    peak = SIGMA * (2 * np.pi) ** 0.5
    return (peak * np.exp(-((bins - centre[:, None]) ** 2) / (2 * SIGMA**2))).astype(np.float32)


def write_files(
    folder: Path, split: str = "test", files: int = 2, last: int = 5, declared: int | None = None, truth: bool = True
) -> Path:
    """Write ``files`` files of 128 samples, chunked as released, of which only a few rows are stored (the rest are fill
    values). The last has ``declared`` rows (``last`` unless given), of which ``last`` are written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {"observation": (blob_line_integrals(), (8, 125, 65)), "ground_truth": (blob(), (8, 46, 46))}
    for kind, (sample, chunks) in kinds.items():
        if kind == "ground_truth" and not truth:
            continue
        for number in {0, files - 1}:
            rows = 128 if number < files - 1 else (declared or last)
            with h5py.File(folder / f"{kind}_{split}_{number:03d}.hdf5", "w") as file:
                chunk = (min(chunks[0], rows), *chunks[1:])
                data = file.create_dataset("data", (rows, *sample.shape), np.float32, chunks=chunk)
                data[0], data[last - 1 if number == files - 1 else 3] = sample, 0.5 * sample
        for number in range(1, files - 1):
            shutil.copy(folder / f"{kind}_{split}_000.hdf5", folder / f"{kind}_{split}_{number:03d}.hdf5")
    return folder
