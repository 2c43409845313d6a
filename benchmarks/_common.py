"""What the benchmark programs share: machine and versions, side-by-side timing, results on disk."""

from __future__ import annotations

import gc
import json
import os
import platform
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from dip_lightning.cores import usable_cores

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("dip_lightning", "torch", "pytorch-lightning", "deepinv", "numpy", "scipy", "torchmetrics")
_NUMBERS = re.compile(r"\[\s+((?:-?\d[\d.eE+-]*,?\s+)+)\]")  # a list of numbers, one to a line


def machine() -> dict[str, Any]:
    """What a figure was measured on, with the load of the last minute: other work makes times longer."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Python's version, and that of every package that matters for speed or result."""
    return {"python": platform.python_version(), **{package: _version(package) for package in PACKAGES}}


def side_by_side(
    candidates: Mapping[str, Callable[[], Any]], repeats: int = 20, warmup: int = 3
) -> dict[str, dict[str, float]]:
    """Time candidates in turn, so that whatever else the machine does hits all of them alike.

    Args:
        candidates: What to time, by name; each call does its whole work.
        repeats: Rounds; in each, every candidate runs once.
        warmup: Rounds before that are not counted.

    Returns:
        For each name ``median_ms``, ``min_ms`` and ``max_ms``.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for round_ in range(warmup + repeats):
            for name, candidate in candidates.items():
                seconds = _timed(candidate)
                if round_ >= warmup:
                    times[name].append(1e3 * seconds)
    finally:
        if collecting:
            gc.enable()
    return {name: {"median_ms": statistics.median(t), "min_ms": min(t), "max_ms": max(t)} for name, t in times.items()}


def write_result(name: str, result: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Write a result with machine, versions and time as ``<folder>/<name>.json``.

    Args:
        name: Name of the file, without suffix.
        result: JSON-able figures and settings.
        folder: Where to.

    Returns:
        The path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now(timezone.utc).isoformat(timespec="seconds")
    content = {"benchmark": name, "time": stamp, "machine": machine(), "versions": versions(), **result}
    path = folder / f"{name}.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(_NUMBERS.sub(_on_one_line, json.dumps(content, indent=2)) + "\n")
    temporary.replace(path)
    return path


def result_folder(quick: bool, chosen: Path | None = None) -> Path:
    """Where a result goes.

    Args:
        quick: Whether the figures mean nothing, and only show that the program runs: they go to a temporary folder.
        chosen: A folder to be taken in any case.
    """
    return chosen or (Path(tempfile.gettempdir()) / "dip_lightning_benchmarks" if quick else RESULTS)


def report(name: str, result: Mapping[str, Any], quick: bool = False) -> None:
    """Write a result, and print where it went.

    Args:
        name: Name of the file, without suffix.
        result: As for :func:`write_result`.
        quick: See :func:`result_folder`.
    """
    print(write_result(name, result, result_folder(quick)))


def peak_memory_mib() -> float:
    """Largest resident memory of this process so far; ``ru_maxrss`` would inherit that of the process's parent."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _on_one_line(numbers: re.Match[str]) -> str:
    return "[" + " ".join(numbers[1].split()) + "]"


def _timed(candidate: Callable[[], Any]) -> float:
    synchronise = torch.cuda.synchronize if torch.cuda.is_available() else (lambda: None)
    synchronise()
    start = time.perf_counter()
    candidate()
    synchronise()
    return time.perf_counter() - start


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(package), "__version__", "not installed"))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None
