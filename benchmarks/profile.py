"""Where the time of an outer step goes: operations of a fit with the callbacks of the command line, by their own time.

On a GPU it also counts what makes the host wait for the device: none is allowed inside an outer step, one at its end.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from typing import Any

import pytorch_lightning as pl
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks._common import report
from benchmarks._problems import NETWORKS, ct_measurement, fit, quieten
from benchmarks.overhead import command_line_callbacks

GROUPS = {
    "convolutions": ("conv",),
    "normalisation": ("batch_norm", "group_norm"),
    "upsampling": ("upsample",),
    "activations": ("relu", "silu", "sigmoid", "tanh"),
    "forward operator": ("addmv", "addmm", "sparse", "_Apply", "spmm"),
    "optimiser": ("Optimizer", "addcmul", "addcdiv", "lerp", "sqrt", "_fused_adam", "_foreach"),
    "waiting for the device": ("Synchronize", "_local_scalar_dense"),
}


class Profiled(pl.Callback):
    """Profiles some outer steps, after others have warmed up."""

    def __init__(self, device: str, first: int, last: int) -> None:
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
        self.profiler = profile(activities=activities)
        self.first, self.last = first, last

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Start."""
        if batch_idx == self.first:
            self.profiler.__enter__()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop."""
        if batch_idx == self.last:
            self.profiler.__exit__(None, None, None)


def main() -> None:
    """Profile, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--outer-steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--engine", default="eager")
    parser.add_argument("--quick", action="store_true", help="check that it runs")
    arguments = parser.parse_args()
    quieten()
    torch.set_num_threads(arguments.threads)
    if arguments.quick:
        arguments.size, arguments.outer_steps = 32, 1
    watch = Profiled(arguments.device, 2, 1 + arguments.outer_steps)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            NETWORKS[arguments.network](),
            ct_measurement(arguments.size),
            10 * (arguments.outer_steps + 2),
            callbacks=[watch, *command_line_callbacks(extra=True)],
            device=arguments.device,
            folder=folder,
            engine=arguments.engine,
        )
    events = watch.profiler.key_averages()
    key = "self_device_time_total" if arguments.device == "cuda" else "self_cpu_time_total"
    total = sum(getattr(event, key) for event in events)
    groups = dict.fromkeys([*GROUPS, "other"], 0.0)
    for event in events:
        name = next((group for group, words in GROUPS.items() if any(word in event.key for word in words)), "other")
        groups[name] += getattr(event, key) / total
    top = sorted(events, key=lambda event: -getattr(event, key))[:20]
    result = {
        "problem": {k: getattr(arguments, k) for k in ("size", "network", "outer_steps", "device", "engine")},
        "share": {name: round(share, 4) for name, share in groups.items()},
        "operations": {event.key: {"share": getattr(event, key) / total, "calls": event.count} for event in top},
        "waits_per_outer_step": _waits(events) / arguments.outer_steps,
    }
    print(json.dumps(result, indent=2))
    report(
        f"profile_{arguments.device}_{arguments.network}_{arguments.size}_{arguments.engine}", result, arguments.quick
    )


def _waits(events: Any) -> float:
    """How often the host waited for a stream: for values that it reads, and for what it copies, either way."""
    return float(sum(event.count for event in events if event.key == "cudaStreamSynchronize"))


if __name__ == "__main__":
    main()
