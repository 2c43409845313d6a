"""CPU settings of a step, side by side: memory format, denormals, fused Adam, bfloat16, number of threads."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch

from benchmarks._common import report, side_by_side
from benchmarks._problems import NETWORKS, ct_step

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "channels_last": {"channels_last": True},
    "fused_adam": {"fused": True},
    "channels_last_fused_adam": {"channels_last": True, "fused": True},
    "bfloat16": {"autocast": True},
}


def flushed(step: Callable[[], None]) -> Callable[[], None]:
    """The same step with denormal numbers flushed to zero."""

    def run() -> None:
        torch.set_flush_denormal(True)
        try:
            step()
        finally:
            torch.set_flush_denormal(False)

    return run


def main() -> None:
    """Measure every variant for every network; write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["small", "medium", "skip"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="check that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.size, arguments.networks, arguments.repeats = 32, ["small"], 2
    torch.set_num_threads(arguments.threads)
    result: dict[str, Any] = {"size": arguments.size, "threads": arguments.threads, "networks": {}}
    for name in arguments.networks:
        steps = {variant: ct_step(name, arguments.size, **options) for variant, options in VARIANTS.items()}
        steps["flush_denormals"] = flushed(ct_step(name, arguments.size))
        times = side_by_side(steps, arguments.repeats)
        ratios = {variant: times["plain"]["median_ms"] / t["median_ms"] for variant, t in times.items()}
        result["networks"][name] = {"times": times, "times_faster": ratios}
        print(name, {variant: round(ratio, 3) for variant, ratio in ratios.items()}, flush=True)
    report(f"settings_{arguments.size}_threads{arguments.threads}", result, arguments.quick)


if __name__ == "__main__":
    main()
