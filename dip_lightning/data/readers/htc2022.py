"""Sinograms of the Helsinki Tomography Challenge 2022 in the MATLAB files that they are published in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dip_lightning.data.readers.files import check_file
from dip_lightning.errors import MeasurementError, near_match

PREFIX, SUFFIX = "htc2022_", "_full.mat"
VARIABLE = "CtDataFull"


@dataclass(frozen=True)
class FanScan:
    """A full turn of fan-beam data and its geometry.

    Attributes:
        line_integrals: ``[views, detectors]``, dimensionless, the repeated last view left out.
        angles: Source angles in degrees, ``[views]``, evenly over a full turn.
        source_origin: Distance from source to rotation centre, mm.
        source_detector: Distance from source to detector, mm.
        detector_spacing: Distance between detector bins, mm.
        file: Where they are from.
    """

    line_integrals: NDArray[np.float64]
    angles: NDArray[np.float64]
    source_origin: float
    source_detector: float
    detector_spacing: float
    file: Path


def find_scan(path: Path, phantom: str) -> Path:
    """Find the file of a phantom.

    Args:
        path: The file itself, or a folder that holds it, directly or in a folder inside (``test``, ``training``).
        phantom: ``01a`` to ``07c``, ``ta`` to ``td``, ``solid_disc``.

    Returns:
        The path of ``htc2022_<phantom>_full.mat``.

    Raises:
        MeasurementError: If there is no such file.
    """
    if not path.is_dir():
        return check_file(path)
    files = {
        file.name[len(PREFIX) : -len(SUFFIX)]: file
        for pattern in ("*", "*/*")
        for file in sorted(path.glob(f"{pattern}{SUFFIX}"))
        if file.name.startswith(PREFIX)
    }
    if not files:
        raise MeasurementError(f"The folder {path} holds no {PREFIX}*{SUFFIX}, directly or one folder down.")
    if phantom not in files:
        raise MeasurementError(f"{path} holds no phantom '{phantom}'.{near_match(phantom, files)}")
    return files[phantom]


def read_scan(file: Path) -> FanScan:
    """Read a full scan: a structure ``CtDataFull`` with ``sinogram`` ``[views, detectors]`` and ``parameters``.

    Args:
        file: ``htc2022_*_full.mat``.

    Returns:
        Data and geometry; the last view is left out where it repeats the first.

    Raises:
        MeasurementError: If the file is missing, unreadable, truncated, lacks a key, or holds no full turn of finite
            data of the shape that its parameters state.
    """
    content = _load(check_file(file))
    if VARIABLE not in content:
        names = sorted(name for name in content if not name.startswith("__"))
        raise MeasurementError(f"{file} has no variable '{VARIABLE}', only {', '.join(names) or 'none at all'}.")
    data = content[VARIABLE]
    parameters = _field(data, "parameters", file)
    line_integrals = np.asarray(_field(data, "sinogram", file), dtype=np.float64)
    angles = np.atleast_1d(np.asarray(_field(parameters, "angles", file), dtype=np.float64))
    expected = len(angles), int(_field(parameters, "numDetectorsPost", file))
    if line_integrals.shape != expected:
        raise MeasurementError(
            f"{file}: the sinogram has shape {list(line_integrals.shape)}, but its parameters state {expected[0]} "
            f"angles and {expected[1]} detectors."
        )
    bad = int((~np.isfinite(line_integrals)).sum())
    if bad:
        raise MeasurementError(f"{file}: the sinogram holds {bad} NaN or infinite values of {line_integrals.size}.")
    views = _full_turn(angles, file)
    return FanScan(
        line_integrals=line_integrals[:views],
        angles=angles[:views],
        source_origin=float(_field(parameters, "distanceSourceOrigin", file)),
        source_detector=float(_field(parameters, "distanceSourceDetector", file)),
        detector_spacing=float(_field(parameters, "pixelSizePost", file)),
        file=file,
    )


def _load(file: Path) -> dict[str, Any]:
    import scipy.io

    try:
        content: dict[str, Any] = scipy.io.loadmat(file, struct_as_record=False, squeeze_me=True, appendmat=False)
    except Exception as error:  # the reader raises whatever its parsing runs into
        raise MeasurementError(
            f"{file} cannot be read; it may be truncated or no MATLAB file. ({type(error).__name__}: {error})"
        ) from error
    return content


def _field(structure: Any, name: str, file: Path) -> Any:
    if not hasattr(structure, name):
        raise MeasurementError(f"{file} has no key '{name}' in {VARIABLE}; download the file again.")
    return getattr(structure, name)


def _full_turn(angles: NDArray[np.float64], file: Path) -> int:
    """Number of distinct views, if they are spread evenly over a full turn."""
    views = len(angles)
    if views > 1 and abs(angles[-1] - angles[0] - 360) < 1e-6:
        views -= 1
    if not np.allclose(angles[:views], angles[0] + np.arange(views) * 360 / views, atol=1e-6):
        raise MeasurementError(f"{file}: the angles are not spread evenly over a full turn.")
    return views
