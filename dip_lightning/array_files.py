"""Arrays in files of any common kind: masks, blur kernels, measured data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dip_lightning.cfl import read_cfl
from dip_lightning.errors import DIPError, MeasurementError, near_match

Array = NDArray[Any]


def read_array(path: Path, key: str | None = None, index: int | None = None) -> Array:
    """Read one array.

    ``.npy``, ``.npz``, ``.mat`` (all versions; those of 7.3 are HDF5 files, whose axes are put back in MATLAB's order),
    ``.h5`` / ``.hdf5``, ``.cfl`` (with its ``.hdr``), ``.pt`` / ``.pth`` (tensors and dictionaries of them), and images
    by Pillow (``.png``, ...).

    Args:
        path: The file.
        key: Which variable or data set; needed only where the file holds several. ``a/b`` walks through groups.
        index: Which element, where the variable is a list of arrays (a MATLAB cell, an object array).

    Returns:
        The array in its own type and shape; images are ``[H, W]`` or ``[H, W, C]``.

    Raises:
        MeasurementError: If the file is missing, unreadable or of an unknown kind, if it lacks the key or the index,
            or if it holds several arrays and none was named. The message names the file.
    """
    if not path.is_file():
        raise MeasurementError(f"{path} does not exist, or is a folder; a file with an array is needed.")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise MeasurementError(f"{path} is of no known kind; known are {', '.join(sorted(_READERS))}.")
    try:
        content = reader(path)
        if isinstance(content, dict):
            content = _pick(content, key, path)
        return _element(content, index, path)
    except DIPError:
        raise
    except Exception as error:  # readers raise a dozen unrelated types on broken files
        raise MeasurementError(
            f"{path} cannot be read; it may be truncated or not what its name says. ({type(error).__name__}: {error})"
        ) from error


def _pick(content: dict[str, Any], key: str | None, path: Path) -> Any:
    if key is None:
        if len(content) != 1:
            names = ", ".join(sorted(content)) or "nothing"
            raise MeasurementError(f"{path} holds {len(content)} arrays ({names}); say which by its key.")
        return next(iter(content.values()))
    if key not in content:
        raise MeasurementError(f"{path} has no '{key}'.{near_match(key, content)}")
    return content[key]


def _element(content: Any, index: int | None, path: Path) -> Array:
    """One array of a list of arrays, or the array itself."""
    if isinstance(content, np.ndarray) and content.dtype == object:
        content = list(content.ravel())
    if not isinstance(content, list):
        if index:
            raise MeasurementError(f"{path} holds a single array, so that there is no index {index}.")
        return np.asarray(content)
    if index is None and len(content) > 1:
        raise MeasurementError(f"{path} holds a list of {len(content)} arrays; say which by an index from 0.")
    if not 0 <= (index or 0) < len(content):
        raise MeasurementError(f"{path} holds {len(content)} arrays; index {index} is none of 0 to {len(content) - 1}.")
    return np.asarray(content[index or 0])


def _read_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as content:
        return dict(content)


def _read_mat(path: Path) -> dict[str, Any]:
    import h5py

    if h5py.is_hdf5(path):
        return {name: _from_matlab(value) for name, value in _read_hdf5(path).items()}
    import scipy.io

    content = scipy.io.loadmat(path, appendmat=False)
    return {name: value for name, value in content.items() if not name.startswith("__")}


def _from_matlab(value: Any) -> Any:
    """MATLAB stores the axes of HDF5 data sets in reverse."""
    return [np.asarray(item).T for item in value] if isinstance(value, list) else np.asarray(value).T


def _read_hdf5(path: Path) -> dict[str, Any]:
    import h5py

    found: dict[str, Any] = {}
    with h5py.File(path, "r") as file:

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith("#refs#"):
                found[name] = _read_dataset(item, file)

        file.visititems(visit)
    return found


def _read_dataset(item: Any, file: Any) -> Any:
    import h5py

    if h5py.check_ref_dtype(item.dtype) is None:
        values = item[()]
        fields = values.dtype.names
        return values["real"] + 1j * values["imag"] if fields == ("real", "imag") else values
    return [_read_dataset(file[reference], file) for reference in np.asarray(item[()]).ravel()]


def _read_torch(path: Path) -> Any:
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, dict):
        return {name: value.numpy() for name, value in content.items() if isinstance(value, torch.Tensor)}
    return [item.numpy() for item in content] if isinstance(content, list | tuple) else content.numpy()


def _read_picture(path: Path) -> Array:
    from PIL import Image

    with Image.open(path) as opened:
        opened.load()
        image = opened.convert("RGB") if opened.mode == "P" else opened
        return np.asarray(image)


_READERS: dict[str, Callable[[Path], Any]] = {
    ".npy": lambda path: np.load(path, allow_pickle=False),
    ".npz": _read_npz,
    ".mat": _read_mat,
    ".h5": _read_hdf5,
    ".cfl": read_cfl,
    ".hdf5": _read_hdf5,
    ".pt": _read_torch,
    ".pth": _read_torch,
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"), _read_picture),
}
