"""Everything at the sizes of papers on a CUDA device, within eight minutes on a large one.

Sections, in this order; in each, what is compiled comes after all that is not:

``overhead``         a fit with the callbacks of the command line against the bare loop, plain and tuned;
``stacked``          16 measurements of 256x256 at once against one after another;
``reconstructions``  twenty 256x256 CT images at the authors' settings (medium U-Net, 20,000 steps), stacked and one
                     after another, in two precisions: extrapolated from the measured rate of some tens of steps;
``large``            steps at 512x512, and MRI of 320x320 with 15 coils;
``engines``          eager, replayed and compiled steps at 128x128 and 256x256.

Every figure is written as soon as it is measured. What fails is written with its error, the others go on, and the exit
code is 1. What there is no time for is said to be skipped.

``--devices 4`` first runs the reconstructions on four devices at once, one process each, and adds the rates.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks._common import result_folder, write_result
from benchmarks._gpu_rates import AUTHORS_STEPS, IMAGES, cases, rate
from benchmarks._problems import quieten
from benchmarks.overhead import Problem, compare
from dip_lightning.devices import cuda_environment

SECTIONS = ("overhead", "stacked", "reconstructions", "large", "engines")
#: Seconds that a child process may take beyond its deadline, for its imports and the fit that it is at.
GRACE = 120.0


class Figures:
    """Figures as they come, and what became of those that did not.

    Args:
        deadline: By ``time.perf_counter()``; nothing is begun after it.
        write: Is given all figures after each.
    """

    def __init__(self, deadline: float, write: Callable[[dict[str, Any]], Any]) -> None:
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        self.result: dict[str, Any] = {"device": device, "failed": []}
        self.deadline, self._write = deadline, write

    def add(self, section: str, name: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Measure one figure, unless it is too late; a failure costs no other."""
        if time.perf_counter() > self.deadline:
            figure: dict[str, Any] = {"skipped": "out of time"}
        else:
            try:
                figure = measure()
            except Exception as error:
                figure = {"failed": f"{type(error).__name__}: {error}"}
        if "failed" in figure:
            self.result["failed"].append(f"{section}: {name}")
        self.result.setdefault(section, {})[name] = figure
        print(f"{section}: {name}: {json.dumps(figure)}", file=sys.stderr, flush=True)
        self._write(self.result)

    def best_minutes(self) -> float | None:
        """The shortest time for all reconstructions."""
        rates = self.result.get("reconstructions", {}).values()
        return min((figure["minutes_for_20"] for figure in rates if "minutes_for_20" in figure), default=None)


def measure_rates(figures: Figures, sections: list[str], quick: bool, compiled: bool = True) -> None:
    """Measure the rates of some sections.

    Args:
        figures: Where they go.
        sections: Which.
        quick: Small images, few steps.
        compiled: Whether to compile.
    """
    plain: dict[Any, float] = {}
    for case in cases(quick):
        if case.section not in sections or (case.engine == "compile" and not compiled):
            continue

        def measure(case: Any = case) -> dict[str, Any]:
            steps = 10 if quick else 50 if case.members <= 4 else 20
            figure = rate(case, steps, figures.deadline)
            plain.setdefault(case, figure["member_steps_per_s"])
            if case.plain in plain:
                figure["times_faster"] = figure["member_steps_per_s"] / plain[case.plain]
            if case.section == "reconstructions":
                figure["minutes_for_20"] = IMAGES * AUTHORS_STEPS / figure["member_steps_per_s"] / 60
                figure["minutes_for_20_extrapolated_from_steps"] = figure["timed_steps"]
            return figure

        figures.add(case.section, case.name, measure)


def overhead(figures: Figures, quick: bool) -> None:
    """Whole fit and its loop over the bare loops, eager, at 128x128: an outer step of 10 steps, and of one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for inner in (10, 1):
        size, steps = (32, 20) if quick else (128, 300)
        problem = Problem("small", size, steps, extra=False, device=device, inner_steps=inner)
        figures.add("overhead", f"{inner} inner steps", lambda problem=problem: compare(problem, 1 if quick else 3))  # type: ignore[misc]


def on_devices(figures: Figures, devices: int, quick: bool) -> dict[str, Any]:
    """Minutes for all reconstructions when every device makes its share, each in a process of its own.

    Raises:
        RuntimeError: If one of the processes has no figure.
    """
    left = figures.deadline - time.perf_counter()
    command = [sys.executable, "-m", "benchmarks", "gpu", "--child", "--seconds", str(left / 2)]
    command += ["--quick"] if quick else []
    children = [
        subprocess.Popen(command, env={**os.environ, **cuda_environment(device)}, stdout=subprocess.PIPE, text=True)
        for device in range(devices)
    ]
    try:
        said = [child.communicate(timeout=left / 2 + GRACE)[0] for child in children]
    finally:
        for child in children:
            child.kill()
    minutes = [json.loads(output.splitlines()[-1])["minutes_for_20"] if output.strip() else None for output in said]
    if None in minutes:
        raise RuntimeError(f"device {minutes.index(None)} of {devices} made no reconstruction; see its errors above")
    return {"minutes_for_20_each": minutes, "minutes_for_20": 1 / sum(1 / each for each in minutes)}


def main() -> int:
    """Measure what there is time for; write after each figure.

    Returns:
        0; 1 if a figure failed.
    """
    arguments = _parser().parse_args()
    quick, child = arguments.quick, arguments.child
    if not torch.cuda.is_available() and not quick:
        sys.exit("benchmarks gpu: there is no CUDA device; --quick checks on the CPU that the program runs.")
    quieten()
    folder = result_folder(quick, arguments.out)
    write = (lambda result: None) if child else (lambda result: write_result("gpu", result, folder))
    start = time.perf_counter()
    seconds = arguments.seconds if arguments.seconds is not None else 120.0 if quick else 420.0
    figures = Figures(start + seconds, write)
    if child:
        measure_rates(figures, ["reconstructions"], quick, compiled=False)
        print(json.dumps({"minutes_for_20": figures.best_minutes()}))
        return 0
    if arguments.devices > 1:
        devices = arguments.devices
        figures.add("devices", f"{devices} devices", lambda: on_devices(figures, devices, quick))
    if "overhead" in arguments.sections:
        overhead(figures, quick)
    measure_rates(figures, arguments.sections, quick)
    figures.result |= {"best_minutes_for_20": figures.best_minutes(), "seconds": time.perf_counter() - start}
    print(json.dumps(figures.result, indent=2))
    print(write_result("gpu", figures.result, folder))
    return 1 if figures.result["failed"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, help="begin nothing after this: 420, or 120 with --quick")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder of the result, in place of benchmarks/results")
    parser.add_argument("--quick", action="store_true", help="few steps, small images")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
