"""A whole fit, with every callback of the command line, against the same loop written out by hand.

Same network, operator, optimiser, steps and precision; the two take turns. ``whole`` counts everything, from making
the trainer to the last file of the run folder; ``loop`` counts the outer steps alone. Peak memory is that of two
processes that import the same and do one of the two. Aim: 3 % on CPU with 10 inner steps at 128x128; 1.15 in memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import pytorch_lightning as pl
import torch

from benchmarks._common import peak_memory_mib, report, side_by_side
from benchmarks._problems import NETWORKS, bare_loop, ct_measurement, fit, quieten
from dip_lightning.callbacks import (
    DIPProgress,
    EarlyStoppingWMV,
    OutputAveraging,
    ReconstructionMetrics,
    ResultWriter,
    ResumeCheckpoint,
)
from dip_lightning.inputs import minmax


class LoopTime(pl.Callback):
    """Time from the first outer step to the end of the last."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_train_start(self, *_: Any) -> None:
        """Start."""
        self._start = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        """Read the clock after every outer step; the last reading counts."""
        self.seconds = time.perf_counter() - self._start


def command_line_callbacks(extra: bool) -> list[Any]:
    """What every run from the command line has, and what the recommended configuration adds."""
    added = [OutputAveraging(), EarlyStoppingWMV()] if extra else []
    return [*added, DIPProgress(), ReconstructionMetrics(), ResultWriter(overwrite=True), ResumeCheckpoint()]


class Problem:
    """The measurement, and the ways to fit it."""

    def __init__(self, network: str, size: int, steps: int, extra: bool, device: str, inner_steps: int = 10) -> None:
        self.network, self.steps, self.extra, self.device = network, steps, extra, device
        self.inner_steps = inner_steps
        self.measurement = ct_measurement(size)
        self.loop_ms: list[float] = []

    def bare(self, tuned: bool = False) -> None:
        """The loop alone, as one writes it, or with the fused optimiser and the memory format of a fit."""
        measurement, network = self.measurement.to(self.device), NETWORKS[self.network]().to(self.device)
        z = minmax(measurement.initial)
        output = bare_loop(network, measurement.physics, measurement.y, z, self.steps, self.inner_steps, tuned=tuned)
        output.sum().item()

    def fit(self) -> None:
        """The fit of a user."""
        watch = LoopTime()
        with tempfile.TemporaryDirectory() as folder:
            callbacks = [watch, *command_line_callbacks(self.extra)]
            fit(NETWORKS[self.network](), self.measurement, self.steps, callbacks=callbacks, device=self.device,
                folder=folder, inner_steps=self.inner_steps)  # fmt: skip
        self.loop_ms.append(1e3 * watch.seconds)


def compare(problem: Problem, repeats: int) -> dict[str, Any]:
    """Let the fit and the bare loops, plain and tuned, take turns.

    Args:
        problem: What is fitted.
        repeats: Rounds that count, after one that does not.

    Returns:
        Times, and overheads: what the whole fit, or its loop, takes beyond the plain, or the tuned, bare loop.
    """
    candidates = {"bare": problem.bare, "bare_tuned": lambda: problem.bare(tuned=True), "fit": problem.fit}
    times = side_by_side(candidates, repeats, warmup=1)
    whole, loop = times["fit"]["median_ms"], statistics.median(problem.loop_ms[1:])
    bare, tuned = times["bare"]["median_ms"], times["bare_tuned"]["median_ms"]
    return {
        "inner_steps": problem.inner_steps,
        "times": {**times, "fit_loop": {"median_ms": loop}},
        "overhead_whole": whole / bare - 1,
        "overhead_loop": loop / bare - 1,
        "overhead_whole_tuned": whole / tuned - 1,
        "overhead_loop_tuned": loop / tuned - 1,
    }


def peak_memory(arguments: argparse.Namespace) -> dict[str, float]:
    """Peak memory in MiB of a process that runs the bare loop, and of one that fits."""
    peaks = {}
    for what in ("bare", "fit"):
        command = [sys.executable, "-m", "benchmarks", "overhead", "--child", what, "--size", str(arguments.size)]
        command += [
            "--steps",
            str(min(arguments.steps, 60)),
            "--network",
            arguments.network,
            "--threads",
            str(arguments.threads),
        ]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks[what] = float(json.loads(output.splitlines()[-1])["peak_mib"])
    return peaks


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--callbacks", choices=["default", "recommended"], default="default")
    parser.add_argument("--child", choices=["bare", "fit"], help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="check that it runs")
    arguments = parser.parse_args()
    quieten()
    torch.set_num_threads(arguments.threads)
    if arguments.quick:
        arguments.size, arguments.steps, arguments.repeats = 32, 20, 1
    extra = arguments.callbacks == "recommended"
    problem = Problem(arguments.network, arguments.size, arguments.steps, extra, arguments.device)
    if arguments.child:
        getattr(problem, arguments.child)()
        print(json.dumps({"peak_mib": peak_memory_mib()}))
        return
    times = compare(problem, arguments.repeats)
    memory = peak_memory(arguments) if arguments.device == "cpu" else {}
    result = {
        "problem": {key: getattr(arguments, key) for key in ("size", "network", "steps", "device", "callbacks")},
        **times,
        "peak_memory_mib": memory,
        "peak_memory_ratio": memory["fit"] / memory["bare"] if memory else None,
    }
    print(json.dumps(result, indent=2))
    name = f"overhead_{arguments.device}_{arguments.size}_{arguments.callbacks}_threads{arguments.threads}"
    report(name, result, arguments.quick)


if __name__ == "__main__":
    main()
