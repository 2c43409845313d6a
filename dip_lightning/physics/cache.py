"""System matrices on disk: built once per geometry, read afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from dip_lightning.physics.geometry import Geometry
from dip_lightning.physics.joseph import joseph_matrix

#: Part of every key: change it when :func:`joseph_matrix` changes.
FORMAT = 1
#: Larger matrices are not written: they fill a home directory faster than they save time.
LARGEST_BYTES = 2**30


def cache_folder() -> Path:
    """Folder of the cached matrices: ``DIP_LIGHTNING_CACHE``, or ``dip_lightning`` in the user's cache folder."""
    chosen = os.environ.get("DIP_LIGHTNING_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "dip_lightning"


def cache_file(geometry: Geometry, folder: Path | None = None) -> Path:
    """Path of the matrix of a geometry, whether it is there or not.

    Args:
        geometry: What the matrix was, or would be, built for.
        folder: Cache folder; :func:`cache_folder` unless given.
    """
    content = json.dumps({"format": FORMAT, **geometry.describe()}, sort_keys=True)
    key = hashlib.sha256(content.encode()).hexdigest()[:32]
    return (folder or cache_folder()) / f"{key}.npz"


def system_matrix(geometry: Geometry, folder: Path | None = None) -> Any:
    """Read the system matrix of a geometry, or build and keep it.

    A damaged file is built anew; a folder that cannot be written costs the building time and nothing else.

    Args:
        geometry: Rays and image grid.
        folder: Cache folder; :func:`cache_folder` unless given.

    Returns:
        What :func:`~dip_lightning.physics.joseph.joseph_matrix` gives.
    """
    path = cache_file(geometry, folder)
    matrix = _read(path, geometry)
    if matrix is None:
        matrix = joseph_matrix(geometry)
        _write(path, matrix)
    return matrix


def _read(path: Path, geometry: Geometry) -> Any:
    views, detectors = geometry.sinogram_shape
    height, width = geometry.image_shape
    shape = (views * detectors, height * width)
    try:
        with np.load(path) as file:  # every member carries a checksum
            matrix = sparse.csr_matrix((file["values"], file["indices"], file["pointers"]), shape=shape)
            matrix.check_format(full_check=True)
            return matrix
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write(path: Path, matrix: Any) -> None:
    if matrix.data.nbytes + matrix.indices.nbytes > LARGEST_BYTES:
        return
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            np.savez(file, values=matrix.data, indices=matrix.indices, pointers=matrix.indptr)
        temporary.replace(path)
    except OSError:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
