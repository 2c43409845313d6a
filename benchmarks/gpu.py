"""Everything at the sizes of papers on a CUDA device, within eight minutes on a large one.

Sections, each skipped when its turn comes too late:

``engines``          eager, compiled and replayed steps at 128x128 and 256x256;
``overhead``         a fit with the callbacks of the command line against the bare loop;
``stacked``          16 measurements of 256x256 at once against one after another;
``reconstructions``  twenty 256x256 CT images at the authors' settings (medium U-Net, 20,000 steps), from the measured
                     rate, stacked and one after another; on several devices, each takes its share;
``large``            steps at 512x512, and MRI of 320x320 with 15 coils.

``--devices 4`` runs the reconstructions on four devices at once, one process each, and adds the rates.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch

from benchmarks._common import report, side_by_side
from benchmarks._problems import NETWORKS, ct_measurement, fit, quieten
from benchmarks.overhead import Problem
from dip_lightning.data import Phantom
from dip_lightning.measurement import Measurement
from dip_lightning.members import select_members
from dip_lightning.methods import BaseDIP
from dip_lightning.methods.engine import EngineName
from dip_lightning.physics import CartesianMRI, SimulatedCoils

IMAGES, AUTHORS_STEPS = 20, 20_000
ENGINES: tuple[EngineName, ...] = ("eager", "compile", "cuda_graph")


def rate(network: str, measurement: Measurement, engine: EngineName, steps: int, channels: int = 1) -> dict[str, Any]:
    """Steps a second of a fit, after its first outer steps (compilation, capture, choice of algorithms).

    Args:
        network: Name of the network.
        measurement: What is fitted.
        engine: What runs the steps.
        steps: Steps that are timed.
        channels: Channels of image and input.
    """
    marks: list[tuple[int, float]] = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: BaseDIP, *_: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            marks.append((pl_module.iteration, time.perf_counter()))

    build = NETWORKS[network] if channels == 1 else partial(type(NETWORKS[network]()), channels, channels)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    # The authors' and our networks differ in size alone; the input is the initial image in every section.
    method = fit(build(), measurement, steps + 30, callbacks=[Watch()], device=device, engine=engine)
    (first, start), (last, end) = marks[2], marks[-1]
    return {
        "steps_per_s": (last - first) / (end - start),
        "first_outer_steps_s": marks[2][1] - marks[0][1],
        "fell_back": bool(getattr(method._engine, "_failed", False)),
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None,
    }


def engines(steps: int, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Every engine for the small and the medium network."""
    result: dict[str, Any] = {}
    for size in sizes:
        for network in ("small", "medium"):
            measurement = ct_measurement(size)
            rates = {engine: rate(network, measurement, engine, steps) for engine in ENGINES}
            eager = rates["eager"]["steps_per_s"]
            faster = {engine: r["steps_per_s"] / eager for engine, r in rates.items()}
            result[f"{network}_{size}"] = {"engines": rates, "times_faster_than_eager": faster}
    return result


def overhead(steps: int) -> dict[str, Any]:
    """Whole fit and its loop over the bare loop, eager, at 128x128."""
    problem = Problem("small", 128, steps, extra=False, device="cuda" if torch.cuda.is_available() else "cpu")
    times = side_by_side({"bare": problem.bare, "fit": problem.fit}, repeats=3, warmup=1)
    loop = sorted(problem.loop_ms[1:])[1]
    bare = times["bare"]["median_ms"]
    return {"times": times, "overhead_loop": loop / bare - 1, "overhead_whole": times["fit"]["median_ms"] / bare - 1}


def stacked(steps: int, members: int, size: int) -> dict[str, Any]:
    """Member steps a second: stacked by each engine, and one at a time."""
    together = ct_measurement(size, batch=members)
    single = select_members(together, [0])
    assert single is not None
    result: dict[str, Any] = {}
    for engine in ENGINES:
        alone, all_ = rate("small", single, engine, steps), rate("small", together, engine, steps)
        faster = members * all_["steps_per_s"] / alone["steps_per_s"]
        result[engine] = {"alone": alone, "stacked": all_, "times_faster": faster}
    return result


def reconstructions(steps: int, images: int, size: int) -> dict[str, Any]:
    """Minutes for twenty reconstructions at the authors' settings, from the measured rate of each way to make them."""
    result: dict[str, Any] = {}
    for engine in ("eager", "cuda_graph"):
        for members in sorted({1, 4, images}) if images > 4 else (1, images):
            measured = rate("medium", ct_measurement(size, batch=members), engine, steps)  # type: ignore[arg-type]
            images_per_s = members * measured["steps_per_s"] / AUTHORS_STEPS
            minutes = IMAGES / images_per_s / 60
            result[f"{engine}_{members}_at_once"] = {**measured, "minutes_for_20": minutes}
    result["best_minutes_for_20"] = min(r["minutes_for_20"] for r in result.values())
    return result


def large(steps: int, size: int, mri_size: int) -> dict[str, Any]:
    """CT of 512x512, and multi-coil MRI of 320x320, in steps a second."""
    result: dict[str, Any] = {
        f"ct_{size}": {engine: rate("medium", ct_measurement(size), engine, steps) for engine in ENGINES}
    }
    result[f"mri_{mri_size}_15_coils"] = {
        engine: rate("medium", _mri(mri_size, 15), engine, steps, channels=2) for engine in ENGINES
    }
    return result


def main() -> None:
    """Run the sections that there is time for; write after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=450.0, help="begin no section after this")
    parser.add_argument("--sections", nargs="+", default=["engines", "overhead", "stacked", "reconstructions", "large"])
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few steps, small images")
    arguments = parser.parse_args()
    quick = arguments.quick
    if not torch.cuda.is_available() and not quick:
        sys.exit("benchmarks gpu: there is no CUDA device; --quick checks on the CPU that the program runs.")
    quieten()
    steps, size = (40, 32) if quick else (200, 256)
    sections: dict[str, Callable[[], dict[str, Any]]] = {
        "engines": lambda: engines(steps // 4, (32,) if quick else (128, 256)),
        "overhead": lambda: overhead(10 if quick else 500),
        "stacked": lambda: stacked(steps // 4, 2 if quick else 16, size),
        "reconstructions": lambda: reconstructions(steps // 4, 2 if quick else IMAGES, size),
        "large": lambda: large(steps // 4, *((32, 32) if quick else (512, 320))),
    }
    start = time.perf_counter()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    result: dict[str, Any] = {"device": device, "seconds": {}}
    for name in arguments.sections:
        began = time.perf_counter()
        if began - start > arguments.seconds:
            result[name] = "skipped: out of time"
            continue
        try:
            result[name] = sections[name]()
        except Exception as error:  # one section that fails must not cost the others
            result[name] = f"failed: {error!r}"
        result["seconds"][name] = time.perf_counter() - began
        print(name, json.dumps(result[name], indent=2), flush=True)
        report("gpu", result, quick)
    if arguments.devices > 1:
        result["devices"] = _on_devices(arguments.devices, quick)
        report("gpu", result, quick)


def _on_devices(devices: int, quick: bool) -> dict[str, Any]:
    """Run the reconstructions on every device at once."""
    command = [sys.executable, "-m", "benchmarks", "gpu", "--sections", "reconstructions"]
    command += ["--quick"] if quick else []
    environments = [{**os.environ, "CUDA_VISIBLE_DEVICES": str(device)} for device in range(devices)]
    children = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for environment in environments
    ]
    outputs = [child.communicate()[0] for child in children]
    minutes = [float(o.rsplit('"best_minutes_for_20": ', 1)[1].split("\n")[0].rstrip(",}")) for o in outputs]
    return {"minutes_for_20_each": minutes, "minutes_for_20": 1 / sum(1 / m for m in minutes)}


def _mri(size: int, coils: int) -> Measurement:
    """Simulated multi-coil MRI of a phantom, 4 times undersampled."""
    data = Phantom(kind="ellipses", size=size, acquisition=CartesianMRI(coils=SimulatedCoils(coils)))
    data.setup("fit")
    return data.measurement


if __name__ == "__main__":
    main()
