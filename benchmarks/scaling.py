"""Time of a step by number of threads and image size."""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch

from benchmarks._common import machine, report, side_by_side
from benchmarks._problems import NETWORKS, ct_step


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--threads", type=int, nargs="+", default=list(range(1, int(machine()["cores"]) + 1)))
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--quick", action="store_true", help="check that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.sizes, arguments.threads, arguments.repeats = [32], [1], 2
    result: dict[str, Any] = {"network": arguments.network, "steps": {}}
    for size in arguments.sizes:
        step = ct_step(arguments.network, size, device=arguments.device)
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            times = side_by_side({"step": step}, arguments.repeats)["step"]
            result["steps"][f"{size}_threads{threads}"] = {"size": size, "threads": threads, **times}
    print(json.dumps(result, indent=2))
    report(f"scaling_{arguments.device}_{arguments.network}", result, arguments.quick)


if __name__ == "__main__":
    main()
