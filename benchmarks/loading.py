"""Reading and simulating a measurement beside the fit that its configuration asks for.

    python -m benchmarks loading --only brain16 lidc30 --steps 5

Each case goes through the command line and ends after a few optimiser steps. ``seconds`` is what the DataModule takes
to hand over the measurement (files, first estimate, coil maps, noise); ``cold_seconds`` is the same with an empty cache
of system matrices, which is built once for each geometry. ``fit_seconds`` is the budget of the configuration, all its
optimiser steps at the measured time; a stopping rule may end sooner, so the fraction at ``fraction_of_shortest`` counts
its patience alone, the least that a fit takes. Aim: less than 2 %. Cases whose data are absent are left out, and said.

``fastmri`` is a file in the released schema, written for the purpose: 15 coils, 640x368.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytorch_lightning as pl
import torch

from benchmarks._common import report
from dip_lightning.callbacks import StoppingRule
from dip_lightning.cli import run
from dip_lightning.cli_errors import cause
from dip_lightning.data import Phantom
from dip_lightning.data.base import MeasurementDataModule
from dip_lightning.hooks import IterateHook
from dip_lightning.physics import ParallelBeamCT, SimulatedCoils
from dip_lightning.physics.mri import fourier_physics

CONFIGS = Path(__file__).parents[1] / "configs"
#: Configuration and data of each case; data by file in ``configs/data``, where they are not the configuration's own.
CASES: dict[str, tuple[str, str | None]] = {
    **{f"{task} (embedded)": (f"aseqdip_{task}", None) for task in ("ct", "mri", "denoising", "inpainting")},
    **{f"{task} (embedded)": (f"dip_{task}", None) for task in ("superresolution", "compressedsensing")},
    "deblurring (embedded)": ("aseqdip_deblurring", None),
    **{f"cbsd68 {task}": (f"aseqdip_{task}", f"cbsd68_{task}") for task in ("denoising", "inpainting", "deblurring")},
    "lidc30": ("recommended_ct", "lidc30"),
    "htc2022": ("aseqdip_htc2022", None),
    "tooth": ("recommended_ct", "tooth"),
    "lodopab": ("recommended_ct", "lodopab"),
    "brain16": ("aseqdip_mri", "mri_brain16"),
    "brain8": ("aseqdip_mri", "mri_brain8"),
    "poisson8": ("aseqdip_mri", "mri_poisson8"),
    "spiral8": ("aseqdip_mri", "mri_spiral8"),
    "fastmri": ("aseqdip_mri", "fastmri"),
}


class Enough(Exception):
    """Ends a fit whose steps have been timed."""


class StepTime(pl.Callback, IterateHook):
    """Times optimiser steps, and ends the fit after a few.

    Args:
        steps: How many to time, after one that is not counted.
    """

    last: StepTime

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.clock: list[float] = []
        self.budget = self.shortest = 0
        StepTime.last = self

    def on_iterate(self, trainer: pl.Trainer, pl_module: Any, output: torch.Tensor) -> None:
        """Read the clock after each step."""
        if output.is_cuda:
            torch.cuda.synchronize()
        self.clock.append(time.perf_counter())
        self.budget = pl_module.outer_steps * pl_module.inner_steps
        rules = [callback for callback in trainer.callbacks if isinstance(callback, StoppingRule)]
        self.shortest = min([self.budget, *(rule.patience for rule in rules)])
        if len(self.clock) > self.steps:
            raise Enough

    @property
    def seconds(self) -> float:
        """Median time of a step."""
        return statistics.median(after - before for before, after in zip(self.clock, self.clock[1:], strict=False))


@contextlib.contextmanager
def timed_setup(times: dict[str, float]) -> Iterator[None]:
    """Time the next DataModule's ``load`` twice: with an empty cache, and with what the first has left there."""
    original = MeasurementDataModule.setup

    def setup(self: MeasurementDataModule, stage: str) -> None:
        for name in ("cold_seconds", "seconds"):
            self.__dict__.pop("measurement", None)
            start = time.perf_counter()
            original(self, stage)
            times[name] = time.perf_counter() - start

    MeasurementDataModule.setup = setup  # type: ignore[method-assign]
    try:
        yield
    finally:
        MeasurementDataModule.setup = original  # type: ignore[method-assign]


def measure(case: str, steps: int, folder: Path, device: str) -> dict[str, Any]:
    """Load the measurement of a case and make a few steps.

    Args:
        case: Name in :data:`CASES`.
        steps: Optimiser steps to time.
        folder: For run folders, the cache and the file of ``fastmri``.
        device: ``cpu`` or ``cuda``.

    Returns:
        The figures.
    """
    config, data = CASES[case]
    arguments = ["fit", f"--config={CONFIGS / config}.yaml", *data_arguments(data, folder)]
    arguments += [f"--trainer.accelerator={device}", f"--record.run_dir={folder / case}", "--checkpoint.final=false"]
    arguments += ["--trainer.callbacks+=benchmarks.loading.StepTime", f"--trainer.callbacks.steps={steps}"]
    os.environ["DIP_LIGHTNING_CACHE"] = str(folder / f"cache of {case}")
    times: dict[str, float] = {}
    with timed_setup(times), contextlib.suppress(Enough):
        run(arguments)
    step = StepTime.last
    return {
        **{name: round(seconds, 3) for name, seconds in times.items()},
        "ms_per_step": round(1e3 * step.seconds, 2),
        "steps": step.budget,
        "fit_seconds": round(step.seconds * step.budget, 1),
        "fraction": times["seconds"] / (step.seconds * step.budget),
        "fraction_of_shortest": times["seconds"] / (step.seconds * step.shortest),
    }


def attempt(case: str, steps: int, folder: Path, device: str) -> dict[str, Any] | str:
    """What :func:`measure` finds, or why it cannot: absent data, a missing package."""
    try:
        return measure(case, steps, folder, device)
    except Exception as error:
        known = cause(error)
        if known is None:
            raise
        place = os.environ.get("DIP_LIGHTNING_DATA")
        return "left out: " + (str(known).replace(place, "${DIP_LIGHTNING_DATA}") if place else str(known))


def data_arguments(data: str | None, folder: Path) -> list[str]:
    """What the command line is told of the data."""
    if data is None:
        return []
    if data != "fastmri":
        return [f"--data={CONFIGS / 'data' / data}.yaml"]
    path = folder / "fastmri.h5"
    if not path.exists():
        write_volume(path)
    acquisition = "{class_path: CartesianMRI, init_args: {coils: {class_path: ESPIRiT}}}"
    return ["--data=FastMRI", f"--data.path={path}", f"--data.acquisition={acquisition}"]


def write_volume(path: Path, coils: int = 15, shape: tuple[int, int] = (640, 368)) -> None:
    """Write one slice of a phantom as a volume of fastMRI."""
    phantom = Phantom(ParallelBeamCT(), size=shape[0]).image(0)[0]
    left = (shape[0] - shape[1]) // 2
    image = torch.zeros(1, 2, *shape)
    image[:, 0] = phantom[:, :, left : left + shape[1]]
    maps = SimulatedCoils(coils).simulated(shape)[None]
    y = fourier_physics(torch.ones(1, *shape, dtype=torch.bool), maps).A(image)[0]
    noise = torch.randn(coils, *shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    kspace = torch.complex(y[0], y[1]) + 2e-3 * noise
    with h5py.File(path, "w") as file:
        file["kspace"] = np.asarray(kspace)[None]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--quick", action="store_true", help="check that it runs")
    arguments = parser.parse_args()
    cases = ["compressedsensing (embedded)"] if arguments.quick else arguments.only
    results: dict[str, dict[str, Any] | str] = {}
    left_out: dict[str, dict[str, Any] | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            steps = 1 if arguments.quick else arguments.steps
            found = attempt(case, steps, Path(folder), arguments.device)
            print(f"{case}: {found}", flush=True)
            (left_out if isinstance(found, str) else results)[case] = found
    report(f"loading_{arguments.device}", {"cases": results, "left_out": left_out}, arguments.quick)


if __name__ == "__main__":
    main()
