"""Scans in the schema of the Helsinki Tomography Challenge 2022."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOURCE_ORIGIN, SOURCE_DETECTOR, DETECTOR_MM = 410.66, 553.74, 112.0
#: A disc of this radius (mm), attenuation (1/mm) and centre (mm; x to the right, y upwards), and a hole in it.
DISC, HOLE = (30.0, 0.034, 1.0, -2.0), (8.0, -0.034, 12.0, 6.0)


def write_scan(
    folder: Path, phantom: str, views: int = 72, detectors: int = 140, drop: str = "", **changes: Any
) -> Path:
    """Write ``htc2022_<phantom>_full.mat``: exact line integrals of a disc with a hole, the first view repeated.

    The variable and its fields, their types and orders are the published files'; only the numbers of views and bins
    are smaller. ``drop`` names a field to leave out, ``changes`` replace fields of ``parameters``, or ``sinogram``.
    """
    import scipy.io

    angles = np.linspace(0, 360, views + 1)
    spacing = DETECTOR_MM / detectors
    parameters: dict[str, Any] = {
        "projectName": f"htc2022_{phantom}_",
        "scanner": "University of Helsinki Industrial Mathematics Computed Tomography Laboratory",
        "measurers": "Nobody",
        "date": "20220627",
        "dateFormat": "YYYYMMDD",
        "geometryType": "Cone",
        "distanceSourceOrigin": SOURCE_ORIGIN,
        "distanceSourceDetector": SOURCE_DETECTOR,
        "distanceUnit": "mm",
        "geometricMagnification": SOURCE_DETECTOR / SOURCE_ORIGIN,
        "numberImages": np.uint16(views + 1),
        "angles": angles,
        "detector": "Hamamatsu Photonics C7942CA-22",
        "detectorType": "EID",
        "binning": "1x1",
        "pixelSize": spacing / 4,
        "exposureTime": np.uint16(1200),
        "exposureTimeUnit": "ms",
        "tube": "Oxford Instruments XTF5011",
        "target": "Mo",
        "voltage": np.uint8(45),
        "voltageUnit": "kV",
        "current": np.uint8(1),
        "currentUnit": "mA",
        "xRayFilter": "Al",
        "xRayFilterThickness": 0.5,
        "detectorRows": np.uint16(2368),
        "detectorCols": np.uint16(4 * detectors),
        "freeRayAtDetector": np.array([1, 128, 1, 128], dtype=np.uint8),
        "binningPost": np.uint8(4),
        "pixelSizePost": spacing,
        "effectivePixelSizePost": spacing * SOURCE_ORIGIN / SOURCE_DETECTOR,
        "numDetectorsPost": np.uint16(detectors),
    }
    data: dict[str, Any] = {"type": "2d", "sinogram": line_integrals(angles, detectors), "parameters": parameters}
    for name, value in changes.items():
        (data if name in data else parameters)[name] = value
    parameters.pop(drop, None)
    data.pop(drop, None)
    path = folder / f"htc2022_{phantom}_full.mat"
    scipy.io.savemat(path, {} if drop == "CtDataFull" else {"CtDataFull": data}, do_compression=True)
    return path


def line_integrals(angles: NDArray[np.float64], detectors: int) -> NDArray[np.float64]:
    """Chords of the disc and its hole, ``[views, detectors]``; the source starts below and turns counter-clockwise."""
    beta = np.deg2rad(angles)[:, None]
    bins = (np.arange(detectors) - (detectors - 1) / 2) * DETECTOR_MM / detectors
    fan = np.arctan2(bins, SOURCE_DETECTOR)
    offset = SOURCE_ORIGIN * np.sin(fan)  # signed distance of the ray from the rotation centre
    normal = beta - fan
    total = np.zeros((len(angles), detectors))
    for radius, value, x, y in (DISC, HOLE):
        distance = x * np.cos(normal) + y * np.sin(normal) - offset
        total += 2 * value * np.sqrt(np.clip(radius**2 - distance**2, 0, None))
    return total
