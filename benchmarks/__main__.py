"""One program for all measurements of speed and quality: ``python -m benchmarks <name> [options]``."""

from __future__ import annotations

import importlib
import sys

COMMANDS = {
    "overhead": "a whole fit against the bare loop: time and peak memory",
    "operators": "the ray transform against deepinv's Tomography",
    "networks": "time of a step, and the floor that the processor sets",
    "denoisers": "block matching against deepinv's settings and the package bm3d: time and PSNR",
    "settings": "CPU settings: memory format, denormals, fused Adam, bfloat16",
    "stacked": "several measurements at once against one after another",
    "peers": "a step against deepinv's DeepImagePrior and the released form of aSeqDIP",
    "scaling": "steps by number of threads and image size",
    "time_to_quality": "recommended configuration against the released form: seconds to reach a PSNR",
    "profile": "where the time of an outer step goes",
    "stop_statistics": "early-stopping statistics beside an optimiser step",
    "stopping": "how far stopping rules are from the best iterate",
    "compare": "runners of a comparison: two workers against one, what each adds to a job",
    "gpu": "engines, stacks and reconstructions at the sizes of papers, on a CUDA device",
    "loading": "reading and simulating a measurement beside the fit that its configuration asks for",
    "lidc30": "quality on the problem LIDC 30 over seeds",
    "htc2022": "quality on measured fan-beam data",
    "quality": "quality of every method on every task, with real data: docs/results.md",
    "table": "write the tables of docs/performance.md and docs/results.md from benchmarks/results",
}


def main() -> int:
    """Run one benchmark; its exit code, where it has one."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print("usage: python -m benchmarks <name> [options]; every name takes --help\n")
        for name, about in COMMANDS.items():
            print(f"  {name:16s} {about}")
        return 0 if sys.argv[1:] in ([], ["-h"], ["--help"]) else 2
    name = sys.argv.pop(1)
    sys.argv[0] = f"python -m benchmarks {name}"
    module = importlib.import_module(f"benchmarks.{name}")
    return module.main() or 0


if __name__ == "__main__":
    sys.exit(main())
