"""Several measurements in one fit against one after another, with the same network, steps and callbacks.

Beside the times stands the floor: the floating-point operations of all steps over the rate of a large matrix product.
Stacking saves what is lost to small operations; it cannot go below the floor.

Aim: 8 of 64x64 on two cores at least 2 times faster; 16 of 256x256 on a large GPU at least 4 times.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._common import report, side_by_side
from benchmarks._problems import NETWORKS, ct_measurement, ct_step, fit, quieten
from benchmarks.networks import rates
from dip_lightning.members import select_members
from dip_lightning.networks import StackedNetwork


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--engine", default="eager")
    parser.add_argument("--quick", action="store_true", help="check that it runs")
    arguments = parser.parse_args()
    quieten()
    torch.set_num_threads(arguments.threads)
    if arguments.quick:
        arguments.members, arguments.size, arguments.steps, arguments.repeats = 2, 32, 10, 1
    together = ct_measurement(arguments.size, batch=arguments.members)
    singles = [select_members(together, [member]) for member in range(arguments.members)]
    options = {"device": arguments.device, "engine": arguments.engine}
    ends = {}

    def one_after_another() -> None:
        images = []
        for single in singles:
            assert single is not None
            images.append(fit(NETWORKS[arguments.network](), single, arguments.steps, **options).estimate)
        ends["alone"] = torch.cat(images)

    def stacked(evaluation: str) -> None:
        network = StackedNetwork(NETWORKS[arguments.network](), arguments.members, evaluation)  # type: ignore[arg-type]
        ends[evaluation] = fit(network, replace(together), arguments.steps, **options).estimate

    candidates = {
        "one_after_another": one_after_another,
        "stacked": lambda: stacked("vmap"),
        "stacked_loop": lambda: stacked("loop"),
    }
    times = side_by_side(candidates, arguments.repeats, warmup=1)
    first = times["one_after_another"]["median_ms"]
    with FlopCounterMode(display=False) as counter:
        ct_step(arguments.network, arguments.size, device=arguments.device)()
    flops = counter.get_total_flops() * arguments.steps * arguments.members
    floor = 1e3 * flops / rates(arguments.device)["flops_per_s"]
    result = {
        "problem": {k: getattr(arguments, k) for k in ("members", "size", "network", "steps", "device", "engine")},
        "times": times,
        "gflop": flops / 1e9,
        "floor_ms": floor,
        "times_floor": {name: t["median_ms"] / floor for name, t in times.items()},
        "times_faster": {name: first / t["median_ms"] for name, t in times.items()},
        "largest_difference": float((ends["alone"] - ends["vmap"]).abs().max()),
    }
    print(json.dumps(result, indent=2))
    name = f"stacked_{arguments.device}_{arguments.members}x{arguments.size}_{arguments.network}"
    name += f"_threads{arguments.threads}" if arguments.device == "cpu" else f"_{arguments.engine}"
    report(name, result, arguments.quick)


if __name__ == "__main__":
    main()
