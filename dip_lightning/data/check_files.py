"""Compares the files in a folder with what a data set should hold."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dip_lightning.data.catalogue import DataSet, PublishedFile
from dip_lightning.errors import MeasurementError

Verdict = Literal["ok", "missing", "wrong"]


@dataclass(frozen=True)
class Finding:
    """What is found of one file.

    Attributes:
        name: Name of the file.
        verdict: ``ok``, ``missing`` or ``wrong``.
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
    unpacked = _unpacked(file, present)
    if unpacked == file.count > 0:
        return Finding(file.name, "ok", f"unpacked, {file.count} files")
    if file.name not in present:
        if unpacked:
            return Finding(file.name, "wrong", f"{unpacked} of {file.count} files unpacked, and no archive")
        return Finding(file.name, "missing", readable(file.size) if file.size else "")
    findings = [_compare(file, path, checksums, say) for path in present[file.name]]
    return next((finding for finding in findings if finding.verdict == "ok"), findings[0])


def _unpacked(file: PublishedFile, present: dict[str, list[Path]]) -> int:
    if not file.unpacked:
        return 0
    return sum(Path(name).match(file.unpacked) for name in present)


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
