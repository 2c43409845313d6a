"""DICOM images in Hounsfield units (or whatever their rescale tags give)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dip_lightning.errors import ConfigurationError, MeasurementError

SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})


def is_dicom(path: Path) -> bool:
    """Whether a file is a DICOM file by its suffix or, without suffix, by the marker after its preamble.

    Args:
        path: An existing file.
    """
    if path.suffix:
        return path.suffix.lower() in SUFFIXES
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_dicom(path: Path) -> NDArray[np.float64]:
    """Read one slice: stored values times ``RescaleSlope`` plus ``RescaleIntercept``.

    For CT that gives Hounsfield units, -1000 for air and 0 for water. Files without the DICOM preamble are read too.

    Args:
        path: A DICOM file with one frame of one sample per pixel.

    Returns:
        ``[H, W]``.

    Raises:
        ConfigurationError: If pydicom is not installed.
        MeasurementError: If the file has no pixels, several frames or colours.
    """
    try:
        import pydicom
    except ImportError as error:
        raise ConfigurationError(
            f"Reading {path} needs pydicom, which is not installed: pip install 'dip-lightning[dicom]'"
        ) from error

    dataset = pydicom.dcmread(path, force=True)  # anonymised files often lost their preamble
    if "PixelData" not in dataset:
        raise MeasurementError(f"{path} holds no DICOM pixel data; it is not a DICOM image, or it is truncated.")
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian  # DICOM's default
    stored = dataset.pixel_array
    if stored.ndim != 2:
        raise MeasurementError(f"{path} holds an array of shape {list(stored.shape)}; one grey slice is needed.")
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    return stored.astype(np.float64) * slope + intercept
