"""fastMRI volumes in the HDF5 files that they are released in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from dip_lightning.array_files import Array
from dip_lightning.data.readers.files import check_file
from dip_lightning.data.readers.kspace import as_complex, check_finite
from dip_lightning.errors import ConfigurationError, MeasurementError, near_match

#: Size of the images that the leaderboard scores, where a file does not say.
RECONSTRUCTION = (320, 320)


@dataclass(frozen=True)
class FastMRISlice:
    """One slice.

    Attributes:
        kspace: ``[N, H, W]``; N is 1 in single-coil files.
        mask: Sampled lines, ``[W]``, in files of the test and challenge sets; otherwise ``None``.
        reconstruction: Magnitude image of the fully sampled k-space, ``[h, w]``, where the file has it: root sum of
            squares, or the emulated single-coil image.
        size: Height and width of the released reconstructions.
        attributes: ``acquisition``, ``patient_id``, ``max``, ``norm``, ... as far as they are there.
        number: Which slice.
        slices: How many the volume has.
    """

    kspace: NDArray[np.complex64]
    mask: NDArray[np.bool_] | None
    reconstruction: NDArray[np.float32] | None
    size: tuple[int, int]
    attributes: dict[str, Any]
    number: int
    slices: int


def count_slices(path: Path) -> int:
    """Number of slices of a volume; nothing but the header is read.

    Raises:
        MeasurementError: If the file cannot be opened or has no k-space of the released shape.
    """
    with _opened(path) as file:
        return int(_kspace(file, path).shape[0])


def read_slice(path: Path, number: int | None = None) -> FastMRISlice:
    """Read one slice; the others stay on disk.

    Args:
        path: A volume.
        number: Which slice, from 0; ``None`` takes the middle one.

    Raises:
        MeasurementError: If the file cannot be read, lacks ``kspace``, or holds data that do not fit each other.
        ConfigurationError: If there is no such slice.
    """
    with _opened(path) as file:
        data = _kspace(file, path)
        slices = int(data.shape[0])
        number = slices // 2 if number is None else number
        if not 0 <= number < slices:
            raise ConfigurationError(f"data.slice={number}, but {path} has {slices} slices (the first is 0).")
        values = as_complex(np.asarray(data[number]), path)
        kspace = values[None] if values.ndim == 2 else values
        reconstruction = _reconstruction(file, single=values.ndim == 2, number=number)
        return FastMRISlice(
            kspace=check_finite(np.ascontiguousarray(kspace, dtype=np.complex64), path),
            mask=_mask(file, kspace.shape[-1], path),
            reconstruction=reconstruction,
            size=_size(file, reconstruction, (kspace.shape[-2], kspace.shape[-1])),
            attributes={name: _plain(value) for name, value in file.attrs.items()},
            number=number,
            slices=slices,
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import h5py

    try:
        with h5py.File(check_file(path), "r") as file:
            yield file
    except OSError as error:  # what h5py raises for no HDF5 file, a truncated one and a broken block alike
        raise MeasurementError(f"{path} cannot be read; it may be truncated or no HDF5 file. ({error})") from error


def _kspace(file: Any, path: Path) -> Any:
    if "kspace" not in file:
        held = ", ".join(f"{name} {list(getattr(file[name], 'shape', []))}" for name in file) or "nothing"
        raise MeasurementError(
            f"{path} is no fastMRI volume: it has no 'kspace', but {held}.{near_match('kspace', file.keys())} "
            "For other files of raw data use RawKSpace."
        )
    data = file["kspace"]
    axes = data.ndim - int(_is_pair(data))
    if axes not in (3, 4) or 0 in data.shape:
        raise MeasurementError(
            f"{path}: kspace has shape {list(data.shape)}, not [slices, H, W] or [slices, coils, H, W]."
        )
    return data


def _is_pair(data: Any) -> bool:
    return bool(np.issubdtype(data.dtype, np.floating) and data.shape[-1:] == (2,))


def _mask(file: Any, lines: int, path: Path) -> NDArray[np.bool_] | None:
    if "mask" not in file:
        return None
    mask: Array = np.asarray(file["mask"][()]).squeeze()
    if mask.shape != (lines,):
        raise MeasurementError(f"{path}: the mask has shape {list(mask.shape)}, but kspace has {lines} lines.")
    return mask.astype(bool)


def _reconstruction(file: Any, single: bool, number: int) -> NDArray[np.float32] | None:
    names = ("reconstruction_esc", "reconstruction_rss") if single else ("reconstruction_rss",)
    name = next((name for name in names if name in file), None)
    return None if name is None else np.asarray(file[name][number], dtype=np.float32)


def _size(file: Any, reconstruction: NDArray[Any] | None, matrix: tuple[int, int]) -> tuple[int, int]:
    if reconstruction is not None:
        return reconstruction.shape[0], reconstruction.shape[1]
    stated = _header_size(file) or RECONSTRUCTION
    # As the released code does, where the matrix is narrower than the reconstruction.
    return (matrix[1], matrix[1]) if matrix[1] < stated[1] else (min(stated[0], matrix[0]), stated[1])


def _header_size(file: Any) -> tuple[int, int] | None:
    """Matrix of the reconstruction in the ISMRMRD header; ``None`` where there is none, or no readable one."""
    if "ismrmrd_header" not in file:
        return None
    try:
        root = ElementTree.fromstring(_plain(file["ismrmrd_header"][()]))
        size = root.find(".//{*}reconSpace/{*}matrixSize")
        numbers = [int(size.find(f"{{*}}{axis}").text) for axis in "xy"]  # type: ignore[union-attr, arg-type]
    except (ElementTree.ParseError, AttributeError, TypeError, ValueError):
        return None
    return numbers[0], numbers[1]


def _plain(value: Any) -> Any:
    """Attribute as YAML and JSON know it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.item() if isinstance(value, np.generic) else value.tolist() if isinstance(value, np.ndarray) else value
