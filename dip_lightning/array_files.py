"""Arrays in files of any common kind: masks, blur kernels, measured data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
        key: Which variable or data set; needed only where the file holds several. ``a/b`` walks through groups. Of an
            HDF5 file nothing else is read; without a key, its text and groups do not count.
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
        return _element(reader(path, key), index, path)
    except DIPError:
        raise
    except Exception as error:  # readers raise a dozen unrelated types on broken files
        raise MeasurementError(
            f"{path} cannot be read; it may be truncated or not what its name says. ({type(error).__name__}: {error})"
        ) from error


def _choose(names: Iterable[str], key: str | None, path: Path) -> str:
    """The name of the array to read: that of the key, or the only one."""
    known = sorted(names)
    if key is None:
        if len(known) != 1:
            raise MeasurementError(
                f"{path} holds {len(known)} arrays ({', '.join(known) or 'nothing'}); say which by its key."
            )
        return known[0]
    if key not in known:
        raise MeasurementError(f"{path} has no array '{key}'.{near_match(key, known)}")
    return key


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


def _read_npz(path: Path, key: str | None) -> Array:
    with np.load(path, allow_pickle=False) as content:
        values: Array = content[_choose(content.files, key, path)]
        return values


def _read_mat(path: Path, key: str | None) -> Any:
    import h5py

    if h5py.is_hdf5(path):
        return _from_matlab(_read_hdf5(path, key))
    import scipy.io

    content = scipy.io.loadmat(path, appendmat=False)
    return content[_choose((name for name in content if not name.startswith("__")), key, path)]


def _from_matlab(value: Any) -> Any:
    """MATLAB stores the axes of HDF5 data sets in reverse."""
    return [np.asarray(item).T for item in value] if isinstance(value, list) else np.asarray(value).T


def _read_hdf5(path: Path, key: str | None) -> Any:
    """One data set; the others stay on disk."""
    import h5py

    with h5py.File(path, "r") as file:
        item = None if key is None else file.get(key)  # follows links and takes a leading slash
        if not _is_array(item):
            item = file[_choose(_hdf5_names(file), key, path)]
        return _read_dataset(item, path)


def _hdf5_names(file: Any) -> list[str]:
    """Names of all arrays, whose values are not read; MATLAB keeps its own affairs under names that start with #."""
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if name[0] != "#" and _is_array(item) else None)
    return names


def _is_array(item: Any) -> bool:
    """Whether an HDF5 object is a data set of numbers, or of references to some: no group, no text."""
    import h5py

    if not isinstance(item, h5py.Dataset) or item.shape is None:
        return False
    numbers = item.dtype.kind in "biufc" or len(item.dtype.names or ()) == 2  # two fields are a complex number
    return numbers or h5py.check_ref_dtype(item.dtype) is not None


def _read_dataset(item: Any, path: Path) -> Any:
    import h5py

    if h5py.check_ref_dtype(item.dtype) is None:
        values = item[()]
        fields = values.dtype.names
        return values["real"] + 1j * values["imag"] if fields == ("real", "imag") else values
    items = [item.file[reference] for reference in np.asarray(item[()]).ravel()]
    if not all(_is_array(element) for element in items):
        raise MeasurementError(f"{path}: '{item.name}' holds structures or text, not arrays.")
    return [_read_dataset(element, path) for element in items]


def _read_torch(path: Path, key: str | None) -> Any:
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, dict):
        tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
        return _to_numpy(tensors[_choose(tensors, key, path)])
    return [_to_numpy(item) for item in content] if isinstance(content, list | tuple) else _to_numpy(content)


def _to_numpy(tensor: Any) -> Array:
    """Also of parameters, of lazily conjugated tensors, and of bfloat16, which numpy does not know."""
    import torch

    values: Array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy(force=True)
    return values


def _read_picture(path: Path, key: str | None) -> Array:
    from PIL import Image

    with Image.open(path) as opened:
        opened.load()
        image = opened.convert("RGB") if opened.mode == "P" else opened
        return np.asarray(image)


_READERS: dict[str, Callable[[Path, str | None], Any]] = {
    ".npy": lambda path, key: np.load(path, allow_pickle=False),
    ".npz": _read_npz,
    ".mat": _read_mat,
    ".h5": _read_hdf5,
    ".cfl": lambda path, key: read_cfl(path),
    ".hdf5": _read_hdf5,
    ".pt": _read_torch,
    ".pth": _read_torch,
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"), _read_picture),
}
