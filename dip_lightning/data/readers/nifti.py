"""Slices of NIfTI volumes, in the values that their scale factors give."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dip_lightning.data.readers.files import check_file
from dip_lightning.errors import ConfigurationError, DIPError, MeasurementError, check_option

Axis = Literal["axial", "coronal", "sagittal"]


class NiftiVolume:
    """A three-dimensional NIfTI volume; slices are read one at a time.

    Axes are brought to the order right, anterior, superior by the file's affine, so that slices look alike whatever the
    order in which the scanner wrote them.

    Args:
        path: ``.nii`` or ``.nii.gz``.

    Raises:
        ConfigurationError: If nibabel is not installed.
        MeasurementError: If the file is missing, unreadable or no volume; the message names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = check_file(path)
        try:
            import nibabel
        except ImportError as error:
            raise ConfigurationError(
                f"Reading {path} needs nibabel, which is not installed: pip install 'dip-lightning[nifti]'"
            ) from error
        try:
            library: Any = nibabel
            self.volume: Any = library.as_closest_canonical(library.load(path))
        except Exception as error:  # the reader raises whatever its parsing runs into
            raise _unreadable(path, error) from error
        shape = tuple(length for length in self.volume.shape[3:] if length > 1)
        if len(self.volume.shape) < 3 or shape:
            raise MeasurementError(f"{path} holds {list(self.volume.shape)} values; a volume of three axes is needed.")

    def slices(self, axis: Axis) -> int:
        """Count the slices across an axis."""
        return int(self.volume.shape[_number(axis)])

    def spacing(self, axis: Axis) -> tuple[float, float]:
        """Distance of rows and of columns of a slice, mm."""
        zooms = [float(zoom) for zoom in self.volume.header.get_zooms()[:3]]
        remaining = [zooms[number] for number in range(3) if number != _number(axis)]
        return remaining[1], remaining[0]

    def read(self, axis: Axis, index: int) -> NDArray[np.float64]:
        """Read a slice.

        Args:
            axis: ``axial``, ``coronal`` or ``sagittal``.
            index: Which slice: from feet to head, back to front, or left to right.

        Returns:
            ``[H, W]`` in the file's values (Hounsfield units for CT), as radiologists see slices: the patient's right
            is on the left of axial and coronal ones, the front on the left of sagittal ones; the front is on top of
            axial ones, the head on top of the others.

        Raises:
            ConfigurationError: If there are fewer slices.
            MeasurementError: If the file is truncated.
        """
        if not 0 <= index < self.slices(axis):
            raise ConfigurationError(
                f"There is no {axis} slice {index}: {self.path} holds {self.slices(axis)} (the first is 0)."
            )
        where: list[Any] = [slice(None)] * 3
        where[_number(axis)] = index
        try:
            values = np.asarray(self.volume.dataobj[tuple(where)], dtype=np.float64)
        except DIPError:
            raise
        except Exception as error:  # decompression fails in its own ways
            raise _unreadable(self.path, error) from error
        # Canonical axes grow to the right, the front and the head; images have their first row on top.
        return np.ascontiguousarray(values.reshape(values.shape[:2]).T[::-1, ::-1])


def _number(axis: Axis) -> int:
    return {"sagittal": 0, "coronal": 1, "axial": 2}[check_option("axis", axis, get_args(Axis))]


def _unreadable(path: Path, error: Exception) -> MeasurementError:
    return MeasurementError(
        f"{path} cannot be read; it may be truncated or no NIfTI file. ({type(error).__name__}: {error})"
    )
