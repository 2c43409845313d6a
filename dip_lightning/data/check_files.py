"""Compares the files in a folder with what a data set should hold."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dip_lightning.data.catalogue import DataSet, PublishedFile
from dip_lightning.errors import MeasurementError

Verdict = Literal["ok", "missing", "wrong", "packed"]


@dataclass(frozen=True)
class Finding:
    """What is found of one file.

    Attributes:
        name: Name of the file.
        verdict: ``ok``, ``missing``, ``wrong``, or ``packed`` for a good archive whose files are still in it.
        detail: What exactly.
    """

    name: str
    verdict: Verdict
    detail: str


def check_data_set(
    data_set: DataSet, folder: Path, checksums: bool = True, say: Callable[[str], None] | None = None
) -> Iterator[Finding]:
    """Look for every file of a data set, in a folder and the folders inside it.

    Args:
        data_set: What should be there.
        folder: Where.
        checksums: Whether files are read to compute their digests.
        say: Told the name of a large file before its digest is computed.

    Yields:
        One finding for each published file.

    Raises:
        MeasurementError: If the folder does not exist.
    """
    if folder.is_file():
        folder = folder.parent
    if not folder.is_dir():
        raise MeasurementError(f"{folder} does not exist; give the folder of {data_set.name}.")
    present: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            present.setdefault(path.name, []).append(path)
    if not data_set.files:
        yield _any_files(data_set, folder)
    for file in data_set.files:
        yield _check(file, present, checksums, say)


def _any_files(data_set: DataSet, folder: Path) -> Finding:
    paths = {path for pattern in data_set.pattern.split("|") for path in folder.glob(pattern)}
    if not paths:
        return Finding(data_set.pattern, "missing", f"no such file in {folder}")
    total = sum(path.stat().st_size for path in paths)
    return Finding(data_set.pattern, "ok", f"{len(paths)} files, {readable(total)}")


def _check(
    file: PublishedFile, present: dict[str, list[Path]], checksums: bool, say: Callable[[str], None] | None
) -> Finding:
    unpacked = {name: paths for name, paths in present.items() if file.unpacked and Path(name).match(file.unpacked)}
    if unpacked:
        return _check_unpacked(file, unpacked)
    if file.name not in present:
        return Finding(file.name, "missing", readable(file.size) if file.size else "")
    findings = [_compare(file, path, checksums, say) for path in present[file.name]]
    best = next((finding for finding in findings if finding.verdict == "ok"), findings[0])
    if file.unpacked and best.verdict == "ok":
        return Finding(file.name, "packed", f"{best.detail}, not unpacked: unpack it")
    return best


def _check_unpacked(file: PublishedFile, unpacked: dict[str, list[Path]]) -> Finding:
    """What has come out of an archive, of which no checksums are published: whether each file is there and opens."""
    if len(unpacked) != file.count:
        return Finding(file.name, "wrong", f"{len(unpacked)} of {file.count} files unpacked: unpack it again")
    damaged = [name for name, paths in sorted(unpacked.items()) if not any(_opens(path) for path in paths)]
    if damaged:
        some = ", ".join(damaged[:3]) + (", ..." if len(damaged) > 3 else "")
        detail = f"{len(damaged)} of {file.count} unpacked files are damaged ({some}): unpack it again"
        return Finding(file.name, "wrong", detail)
    return Finding(file.name, "ok", f"unpacked, {file.count} files")


def _opens(path: Path) -> bool:
    """Whether an HDF5 file is one, and as long as its header states."""
    import h5py

    try:
        with h5py.File(path, "r"):
            return True
    except OSError:
        return False


def _compare(file: PublishedFile, path: Path, checksums: bool, say: Callable[[str], None] | None) -> Finding:
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return Finding(file.name, "wrong", f"{path} has {size} bytes, not {file.size}: download it again")
    if size == 0:
        return Finding(file.name, "wrong", f"{path} is empty: download it again")
    if not checksums or not file.checksum:
        return Finding(file.name, "ok", f"{readable(size)}, checksum not compared")
    if say is not None and size > 10**9:
        say(f"reading {path} ({readable(size)})")
    if digest(path, file.algorithm) != file.checksum:
        return Finding(file.name, "wrong", f"{path} has another {file.algorithm} than published: download it again")
    return Finding(file.name, "ok", f"{readable(size)}, {file.algorithm} as published")


def digest(path: Path, algorithm: str) -> str:
    """Compute the checksum of a file.

    Args:
        path: The file.
        algorithm: ``md5`` or ``sha256``.
    """
    state = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            state.update(block)
    return state.hexdigest()


def readable(size: int) -> str:
    """Bytes for people: ``1.6 GB``."""
    number = float(size)
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"
