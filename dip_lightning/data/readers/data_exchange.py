"""Parallel-beam scans as synchrotron beamlines write them: raw counts, flats and darks in the Data Exchange schema."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dip_lightning.data.readers.files import check_file
from dip_lightning.errors import ConfigurationError, MeasurementError

#: Data sets of the schema: counts, flat fields, dark fields, view angles in degrees.
DATA, WHITE, DARK, THETA = "exchange/data", "exchange/data_white", "exchange/data_dark", "exchange/theta"

#: Transmission below which a count is taken as this: no photon at all has no logarithm.
LEAST_TRANSMISSION = 1e-4


@dataclass(frozen=True)
class ParallelScan:
    """Line integrals of one detector row.

    Attributes:
        line_integrals: ``[views, detectors]``, dimensionless.
        angles: View angles in degrees, ``[views]``.
        clipped: How many counts were raised to the least transmission.
    """

    line_integrals: NDArray[np.float64]
    angles: NDArray[np.float64]
    clipped: int


def read_scan(path: Path, row: int) -> ParallelScan:
    r"""Read one detector row and normalise it, :math:`-\log((I - D) / (W - D))` with mean flat and dark fields.

    Args:
        path: HDF5 file with ``exchange/data`` ``[views, rows, detectors]``, ``data_white``, ``data_dark``,
            ``theta``.
        row: Detector row.

    Returns:
        Line integrals and angles.

    Raises:
        ConfigurationError: If there are fewer rows.
        MeasurementError: If the file is missing or unreadable, lacks a data set, or holds shapes or values that do not
            fit; the message names the file.
    """
    import h5py

    check_file(path)
    try:
        with h5py.File(path, "r") as file:
            fields = {name: _field(file, name, path) for name in (DATA, WHITE, DARK, THETA)}
            _check_row(fields, row, path)
            counts, white, dark = (np.asarray(fields[n][:, row], dtype=np.float64) for n in (DATA, WHITE, DARK))
            angles = np.asarray(fields[THETA][()], dtype=np.float64).ravel()
    except OSError as error:
        raise MeasurementError(f"{path} cannot be read; it may be truncated or no HDF5 file. ({error})") from error
    if len(angles) != len(counts) or white.shape[1:] != counts.shape[1:] or dark.shape[1:] != counts.shape[1:]:
        raise MeasurementError(
            f"{path}: {len(angles)} angles, counts {list(counts.shape)}, flats {list(white.shape)} and darks "
            f"{list(dark.shape)} do not fit together."
        )
    return _normalised(counts, white.mean(0), dark.mean(0), angles, path)


def _check_row(fields: dict[str, Any], row: int, path: Path) -> None:
    """Refuse what has no such detector row."""
    counts = list(fields[DATA].shape)
    if len(counts) != 3 or not counts[1]:
        raise MeasurementError(f"{path}: '{DATA}' has shape {counts}, not [views, rows, bins].")
    if row >= counts[1]:
        raise ConfigurationError(f"There is no detector row {row}: {path} holds {counts[1]} (the first is 0).")
    for name in (WHITE, DARK):
        shape = list(fields[name].shape)
        if len(shape) != 3 or row >= shape[1]:
            raise MeasurementError(
                f"{path}: '{name}' has shape {shape}, not [images, {counts[1]}, {counts[2]}] for '{DATA}' {counts}."
            )


def _normalised(
    counts: NDArray[np.float64],
    white: NDArray[np.float64],
    dark: NDArray[np.float64],
    angles: NDArray[np.float64],
    path: Path,
) -> ParallelScan:
    if not all(np.isfinite(values).all() for values in (counts, white, dark, angles)):
        raise MeasurementError(f"{path} holds NaN or infinite counts or angles; mask or repair them.")
    dead = int((white <= dark).sum())
    if dead:
        raise MeasurementError(f"{path}: {dead} detector bins are no brighter in the flats than in the darks.")
    transmission = (counts - dark) / (white - dark)
    clipped = int((transmission < LEAST_TRANSMISSION).sum())
    return ParallelScan(-np.log(np.maximum(transmission, LEAST_TRANSMISSION)), angles, clipped)


def _field(file: Any, name: str, path: Path) -> Any:
    if name not in file:
        found: list[str] = []
        file.visit(lambda key: found.append(key))
        raise MeasurementError(f"{path} has no '{name}', only {', '.join(found) or 'nothing'}.")
    return file[name]


def find_rotation_axis(scan: ParallelScan) -> float:
    r"""Find the detector column of the rotation axis from the symmetry :math:`p(\theta + 180°, s) = p(\theta, -s)`.

    The first view, mirrored about a candidate, is compared with what the last views give at half a turn by linear
    extrapolation; the best candidate in steps of half a bin is refined by a parabola. Good to about half a bin where
    the scan covers nearly half a turn with many views.

    Args:
        scan: A scan of about half a turn.

    Returns:
        Column, from 0, not whole in general.

    Raises:
        MeasurementError: If the views end more than three of their steps away from half a turn.
    """
    views, bins = scan.line_integrals.shape
    step = (scan.angles[-1] - scan.angles[0]) / max(views - 1, 1)
    missing = scan.angles[0] + np.sign(step or 1) * 180 - scan.angles[-1]
    if views < 3 or abs(missing) > 3 * abs(step):
        raise MeasurementError(
            f"The views from {scan.angles[0]:g} to {scan.angles[-1]:g} degrees do not end near half a turn: give "
            "data.rotation_axis, the detector column of the rotation axis."
        )
    last, before = scan.line_integrals[-1], scan.line_integrals[-2]
    opposite = last + missing / step * (last - before)
    columns = np.arange(bins)
    candidates = np.arange(bins / 4, 3 * bins / 4, 0.5)

    def mismatch(axis: float) -> float:
        mirrored = 2 * axis - columns
        inside = (mirrored >= 0) & (mirrored <= bins - 1)
        difference = scan.line_integrals[0, inside] - np.interp(mirrored[inside], columns, opposite)
        return float(np.mean(difference**2))

    cost = np.array([mismatch(axis) for axis in candidates])
    best = int(np.clip(cost.argmin(), 1, len(cost) - 2))
    left, middle, right = cost[best - 1 : best + 2]
    curvature = left - 2 * middle + right
    return float(candidates[best] + (0.25 * (left - right) / curvature if curvature > 0 else 0.0))
