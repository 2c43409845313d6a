"""Arrays in files of the kinds that raw data come in: npy, npz, MATLAB (both formats), BART's cfl, HDF5."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dip_lightning.errors import MeasurementError, near_match

Array = NDArray[Any]


def read_array(path: Path, key: str | None = None) -> Array:
    """Read one array.

    ``.npy``; ``.npz``; ``.mat`` of MATLAB 5 to 7.2 and 7.3 (axes in MATLAB's order in both); ``.cfl`` with its
    ``.hdr`` (axes in BART's order); ``.h5``, ``.hdf5``. Complex numbers are recognised as such, as HDF5 pairs
    ``(r, i)`` and MATLAB's ``(real, imag)`` too; other types are left as they are.

    Args:
        path: The file.
        key: Name of the array in it, a path inside an HDF5 file; ``None`` where there is only one.

    Returns:
        The array.

    Raises:
        MeasurementError: If the file is missing, of another kind or unreadable, if it has no such array, or if it
            holds several and no key is given; the message says which there are.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise MeasurementError(f"{path}: arrays are read from {', '.join(sorted(_READERS))}, not '{path.suffix}'.")
    if not path.is_file():
        raise MeasurementError(f"{path} does not exist.")
    try:
        array = reader(path, key)
    except MeasurementError:
        raise
    except Exception as error:  # each library raises whatever its parsing runs into
        raise MeasurementError(f"{path} cannot be read; is it truncated? ({type(error).__name__}: {error})") from error
    return as_complex(array, path)


def as_complex(array: Array, path: Path) -> Array:
    """Turn pairs of named floating-point fields into complex numbers; leave everything else.

    Args:
        array: Any array.
        path: Where it is from, for the message.

    Raises:
        MeasurementError: If the array has fields that are not a real and an imaginary part.
    """
    names = array.dtype.names
    if names is None:
        return array
    lower = [name.lower()[:1] for name in names]
    if lower != ["r", "i"]:
        raise MeasurementError(f"{path} holds records of {', '.join(names)}, not complex numbers.")
    return np.asarray(array[names[0]] + 1j * array[names[1]])


def choose(arrays: Mapping[str, tuple[int, ...]], key: str | None, path: Path) -> str:
    """Say which of a file's arrays is meant.

    Args:
        arrays: Shape of each, by name.
        key: The name that the user gave.
        path: The file.

    Raises:
        MeasurementError: If there is no such array, or none at all, or if several could be meant.
    """
    held = ", ".join(f"{name} {list(shape)}" for name, shape in sorted(arrays.items())) or "no array"
    if key is not None and key not in arrays:
        raise MeasurementError(f"{path} has no array '{key}'.{near_match(key, arrays)} It holds {held}.")
    if key is None and len(arrays) != 1:
        raise MeasurementError(f"{path} holds {held}; say which by the key.")
    return key if key is not None else next(iter(arrays))


def _read_npy(path: Path, key: str | None) -> Array:
    return np.asarray(np.load(path, allow_pickle=False))


def _read_npz(path: Path, key: str | None) -> Array:
    with np.load(path, allow_pickle=False) as archive:
        shapes = {name: archive[name].shape for name in archive.files} if key not in archive.files else {str(key): ()}
        return np.asarray(archive[choose(shapes, key, path)])


def _read_mat(path: Path, key: str | None) -> Array:
    import h5py
    import scipy.io

    if h5py.is_hdf5(path):  # MATLAB 7.3, which stores its axes the other way round
        return _read_hdf5(path, key).T
    shapes = {name: shape for name, shape, _ in scipy.io.whosmat(path)}
    name = choose(shapes, key, path)
    return np.asarray(scipy.io.loadmat(path, variable_names=[name])[name])


def _read_hdf5(path: Path, key: str | None) -> Array:
    import h5py

    with h5py.File(path, "r") as file:
        shapes: dict[str, tuple[int, ...]] = {}

        def visit(name: str, node: Any) -> None:
            if isinstance(node, h5py.Dataset) and node.shape and not name.startswith("#"):
                shapes[name] = node.shape

        file.visititems(visit)
        return np.asarray(file[choose(shapes, key.strip("/") if key else None, path)][()])


def _read_cfl(path: Path, key: str | None) -> Array:
    header = path.with_suffix(".hdr")
    if not header.is_file():
        raise MeasurementError(f"{path} needs its header {header.name} beside it.")
    match = re.search(r"#\s*Dimensions\s*\n\s*([\d ]+)", header.read_text(encoding="utf-8"))
    if match is None:
        raise MeasurementError(f"{header} has no line of dimensions below '# Dimensions'.")
    shape = [int(number) for number in match.group(1).split()]
    values = np.fromfile(path.with_suffix(".cfl"), dtype="<c8")
    if values.size != int(np.prod(shape)):
        raise MeasurementError(f"{path} holds {values.size} numbers, but its header states {shape}.")
    return values.reshape(shape, order="F").astype(np.complex64, copy=False)


_READERS: dict[str, Callable[[Path, str | None], Array]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".mat": _read_mat,
    ".cfl": _read_cfl,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
}
