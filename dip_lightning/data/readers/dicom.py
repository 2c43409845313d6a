"""DICOM images in Hounsfield units (or whatever their rescale tags give)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dip_lightning.errors import ConfigurationError, MeasurementError

SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})


def is_dicom(path: Path) -> bool:
    """Whether a file is a DICOM file by its suffix or, under any other name, by the marker after its preamble.

    Archives name files by their UID, of which the last number would pass for a suffix.

    Args:
        path: An existing file.
    """
    if path.suffix.lower() in SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_dicom(path: Path) -> NDArray[np.float64]:
    """Read one slice: stored values times ``RescaleSlope`` plus ``RescaleIntercept``.

    For CT that gives Hounsfield units, -1000 for air and 0 for water. Enhanced files state them in their functional
    groups; where they are nowhere, they are 1 and 0. Files without the DICOM preamble are read too.

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
    rescale = _rescale(dataset)
    slope, intercept = (
        _number(rescale, name, default) for name, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    return stored.astype(np.float64) * slope + intercept


def _rescale(dataset: Any) -> Any:
    """The part of a dataset that states the rescale tags: itself, or the functional groups of its only frame."""
    if dataset.get("RescaleSlope") is not None:
        return dataset
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in dataset.get(groups) or ():
            for transformation in group.get("PixelValueTransformationSequence") or ():
                return transformation
    return dataset


def _number(part: Any, name: str, default: float) -> float:
    value = part.get(name)  # None where the tag is there without a value, too
    return default if value is None else float(value)
