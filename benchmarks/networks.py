"""Time of a step of each network, and the floor that the processor sets.

The floor of computation is the step's floating-point operations (forward and backward, counted by torch) over the rate
of a large matrix product; that of memory is what every operation reads and writes, if nothing is fused, over the rate
of a large copy. A step cannot be faster than the larger of the two without doing less work.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._common import report, side_by_side
from benchmarks._problems import NETWORKS, ct_step

_VIEWS = (
    "view",
    "reshape",
    "detach",
    "expand",
    "permute",
    "slice",
    "select",
    "t.",
    "transpose",
    "unsqueeze",
    "squeeze",
)


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count."""
        out = func(*args, **(kwargs or {}))
        if not any(view in str(func) for view in _VIEWS):
            tensors = [t for t in torch.utils._pytree.tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)]
            self.bytes += sum(t.numel() * t.element_size() for t in tensors if t.layout == torch.strided)
        return out


def rates(device: str) -> dict[str, float]:
    """Measured rate of matrix products, in floating-point operations a second, and of copies, in bytes a second."""
    n = 8192 if device == "cuda" else 2048
    a, b = torch.rand(n, n, device=device), torch.rand(n, n, device=device)
    large = torch.rand(2**25 if device == "cpu" else 2**28, device=device)
    copy = torch.empty_like(large)
    times = side_by_side({"product": lambda: a @ b, "copy": lambda: copy.copy_(large)}, repeats=8)
    return {
        "flops_per_s": 2 * n**3 / (1e-3 * times["product"]["min_ms"]),
        "bytes_per_s": 2 * large.numel() * 4 / (1e-3 * times["copy"]["min_ms"]),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--quick", action="store_true", help="check that it runs")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.quick:
        arguments.sizes, arguments.networks, arguments.repeats = [32], ["small"], 2
    machine = rates(arguments.device)
    result: dict[str, Any] = {"rates": machine, "steps": {}}
    for size in arguments.sizes:
        steps = {name: ct_step(name, size, device=arguments.device) for name in arguments.networks}
        times = side_by_side(steps, arguments.repeats)
        for name, step in steps.items():
            with FlopCounterMode(display=False) as flops:
                step()
            with Traffic() as traffic:
                step()
            compute = 1e3 * flops.get_total_flops() / machine["flops_per_s"]
            memory = 1e3 * traffic.bytes / machine["bytes_per_s"]
            result["steps"][f"{name}_{size}"] = {
                **times[name],
                "gflop": flops.get_total_flops() / 1e9,
                "gbyte": traffic.bytes / 1e9,
                "floor_compute_ms": compute,
                "floor_memory_ms": memory,
                "times_floor": times[name]["median_ms"] / max(compute, memory),
            }
    print(json.dumps(result, indent=2))
    report(f"networks_{arguments.device}_threads{arguments.threads}", result, arguments.quick)


if __name__ == "__main__":
    main()
