"""Options of ``dip-lightning compare``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command."""
    made = argparse.ArgumentParser(
        prog="dip-lightning compare",
        description="Run every method of a comparison on every measurement, resuming where it was left.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("--config", type=Path, required=True, help="the comparison's YAML file")
    add("--root", type=Path, help="folder of the run folders, instead of the file's `root`")
    add("--dry-run", action="store_true", help="list the jobs, with an estimate of their time, and stop")
    add("--workers", type=_at_least(0), default=1, help="processes at once; 0: none but this one (for debugging)")
    add("--threads", type=_at_least(1), help="threads of each worker; default: the cores divided among the workers")
    add("--devices", type=_devices, default=[], help="CUDA devices to deal out to the workers, e.g. 0,1")
    add("--shard", metavar="I/N", help="do the I-th of N parts of the job list, e.g. in a SLURM array")
    add("--retry-failed", action="store_true", help="try failed jobs again, from their beginning")
    add("--no-wait", action="store_true", help="do not wait for jobs that another process is at")
    add("--quiet", action="store_true", help="show no progress")
    add("--runner", choices=("local", "ray"), default="local")
    add("--address", help="Ray: address of the cluster; default: a cluster on this machine")
    add("--cpus-per-job", type=float, default=1.0, help="Ray: cores, and threads, of a job")
    add("--gpus-per-job", type=float, default=0.0, help="Ray: GPUs of a job; a fraction shares one")
    add("--retries", type=int, default=3, help="Ray: how often a job is started again after its machine is lost")
    return made


def _at_least(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"'{text}' is no whole number from {least} on")
        return number

    return read


def _devices(text: str) -> list[int]:
    """Read ``0,1``."""
    return [_at_least(0)(number) for number in text.split(",") if number.strip()]
