"""Which image files a path stands for, and what their measurements are called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dip_lightning.data.readers.dicom import SUFFIXES as DICOM_SUFFIXES
from dip_lightning.data.readers.dicom import is_dicom
from dip_lightning.errors import MeasurementError

#: Suffixes of the files that can be read.
KNOWN_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy"}) | DICOM_SUFFIXES

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def check_file(path: Path) -> Path:
    """Return the path if it is a file with something in it.

    Args:
        path: A path.

    Raises:
        MeasurementError: If it does not exist, is a folder, or is empty.
    """
    if path.is_dir():
        raise MeasurementError(f"{path} is a folder; a file is needed.")
    if not path.is_file():
        raise MeasurementError(f"{path} does not exist.{_nearest_parent(path)}")
    if path.stat().st_size == 0:
        raise MeasurementError(f"{path} is empty (0 bytes).")
    return path


def list_images(path: Path) -> list[Path]:
    """List the image files that a path stands for.

    Args:
        path: A file, or a folder, of which the files of known kinds are taken in the order of their names. Hidden
            files and folders inside it are left out.

    Returns:
        At least one file.

    Raises:
        MeasurementError: If there is no such file or folder, or no image in it.
    """
    if not path.is_dir():
        return [check_file(path)]
    files = sorted(file for file in path.iterdir() if _is_image(file))
    if not files:
        kinds = ", ".join(sorted(KNOWN_SUFFIXES))
        raise MeasurementError(f"The folder {path} holds no images ({kinds}).")
    return files


def safe_names(files: Sequence[Path]) -> list[str]:
    """Name the measurement of each file so that it can be the name of a folder.

    The name is the file's stem with everything but letters, digits, ``.``, ``_`` and ``-`` replaced; where two
    would be equal, the suffix (``a_png``, ``a_jpg``) or, at last, the position in the list is added.

    Args:
        files: Paths.

    Returns:
        A distinct name for each, whatever the order in which they are used.
    """
    names = [_safe(file.stem) for file in files]
    names = _distinguish(names, [_safe(file.name.replace(".", "_")) for file in files])
    return _distinguish(names, [f"{name}_{position:04d}" for position, name in enumerate(names)])


def measurement_name(name: str | None, file: Path) -> str:
    """Name a measurement as the user asks, or after its file, so that it can be the name of a folder.

    Args:
        name: What the user asks for; ``None`` takes the stem of the file.
        file: Where it is from.
    """
    return _safe(file.stem if name is None else name)


def _distinguish(names: list[str], longer: list[str]) -> list[str]:
    # Case is ignored: on some file systems A and a are one folder.
    count = Counter(name.lower() for name in names)
    return [other if count[name.lower()] > 1 else name for name, other in zip(names, longer, strict=True)]


def _safe(name: str) -> str:
    return _UNSAFE.sub("_", name).strip("._-") or "image"


def _is_image(file: Path) -> bool:
    if file.name.startswith(".") or not file.is_file():
        return False
    return file.suffix.lower() in KNOWN_SUFFIXES or is_dicom(file)


def _nearest_parent(path: Path) -> str:
    parent = next((folder for folder in path.absolute().parents if folder.is_dir()), None)
    return f" The nearest folder that does is {parent}." if parent is not None else ""
