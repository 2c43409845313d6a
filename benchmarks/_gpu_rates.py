"""What ``benchmarks gpu`` measures: rates of optimiser steps, each of one problem run in one way."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import pytorch_lightning as pl
import torch

from benchmarks._problems import NETWORKS, ct_measurement, fit
from dip_lightning.data import Phantom
from dip_lightning.measurement import Measurement
from dip_lightning.methods import BaseDIP
from dip_lightning.methods.engine import EngineName
from dip_lightning.methods.tuning import lay_out
from dip_lightning.networks import StackedNetwork
from dip_lightning.networks.stacked import Evaluation
from dip_lightning.physics import CartesianMRI, SimulatedCoils

IMAGES, AUTHORS_STEPS = 20, 20_000
ENGINES: tuple[EngineName, ...] = ("eager", "cuda_graph", "compile")
#: Outer steps before the clock of a rate starts: compilation, capture, choice of algorithms.
WARM_UP = 3


@dataclass(frozen=True)
class Case:
    """One rate.

    Attributes:
        section: What it is measured for.
        network: Name of the network.
        size: Image height and width.
        engine: What runs the steps.
        members: Measurements at once.
        evaluation: How a stack of several runs.
        precision: The trainer's.
        channels_last: Whether the weights lie channels last.
        modality: ``ct``, 30 views; or ``mri``, 15 coils, 4 times undersampled.
    """

    section: str
    network: str
    size: int
    engine: EngineName
    members: int = 1
    evaluation: Evaluation = "vmap"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    channels_last: bool = False
    modality: Literal["ct", "mri"] = "ct"

    @property
    def problem(self) -> str:
        """What is fitted, whatever runs it."""
        return f"{self.modality} {self.size}x{self.size}, {self.network}"

    @property
    def name(self) -> str:
        """What tells it from others of its section."""
        stack = [f"{self.members} at once", self.evaluation] if self.members > 1 else []
        layout = ["channels last"] if self.channels_last else []
        precision = [self.precision] if self.precision != "32-true" else []
        return ", ".join([self.problem, self.engine, *stack, *precision, *layout])

    @property
    def plain(self) -> Case:
        """The same problem as one runs it without thinking: one after another, eagerly, in single precision."""
        return Case(self.section, self.network, self.size, "eager", modality=self.modality)


class Watch(pl.Callback):
    """Reads the clock after every outer step, and ends the fit when it is time.

    Args:
        deadline: By ``time.perf_counter()``; what a rate cannot do without is done nevertheless.
        channels_last: Whether to lay the weights out so, before the first step.
    """

    def __init__(self, deadline: float, channels_last: bool) -> None:
        self.deadline, self.channels_last = deadline, channels_last
        self.marks: list[tuple[int, float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start the clock."""
        if self.channels_last:
            lay_out(pl_module.network, torch.channels_last)
        self.marks = [(pl_module.iteration, time.perf_counter())]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Read it."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.marks.append((pl_module.iteration, time.perf_counter()))
        if time.perf_counter() > self.deadline and len(self.marks) > WARM_UP + 1:
            pl_module.stop("deadline")


def rate(case: Case, steps: int, deadline: float) -> dict[str, Any]:
    """Steps a second of a fit, after its first outer steps.

    Args:
        case: What is fitted, and how.
        steps: Steps that are timed, unless it is time before.
        deadline: By ``time.perf_counter()``.

    Returns:
        The case; ``steps_per_s``, and times the members; ``timed_steps``; ``first_outer_steps_s``, from the start of
        the fit, with compilation or capture; ``memory_gib``, the largest of this fit; whether it ``fell_back``.
    """
    cuda = torch.cuda.is_available()
    gc.collect()  # methods of earlier fits hold themselves, and their memory
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    channels = 2 if case.modality == "mri" else 1
    network = NETWORKS[case.network]() if channels == 1 else type(NETWORKS[case.network]())(channels, channels)
    if case.members > 1:
        network = StackedNetwork(network, case.members, case.evaluation)
    watch = Watch(deadline, case.channels_last)
    # The authors' and our networks differ in size alone; the input is the initial image in every section.
    method: BaseDIP = fit(
        network,
        _measurement(case.modality, case.size, case.members),
        steps + 10 * WARM_UP,
        callbacks=[watch],
        device="cuda" if cuda else "cpu",
        precision=case.precision,
        engine=case.engine,
    )
    (first, start), (last, end) = watch.marks[WARM_UP], watch.marks[-1]
    per_s = (last - first) / (end - start)
    return {
        **asdict(case),
        "problem": case.problem,
        "steps_per_s": per_s,
        "member_steps_per_s": case.members * per_s,
        "timed_steps": last - first,
        "first_outer_steps_s": start - watch.marks[0][1],
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30 if cuda else None,
        "fell_back": bool(getattr(method._engine, "_failed", False)),
    }


def cases(quick: bool) -> list[Case]:
    """All rates, in the order in which they matter; what compiles comes last, for no one can say how long it takes."""
    found = [*_stacked(quick), *_reconstructions(quick), *_large(quick), *_engines(quick)]
    return sorted(found, key=lambda case: case.engine == "compile")


def _stacked(quick: bool) -> Iterator[Case]:
    for engine in ENGINES:
        alone = Case("stacked", "small", 32 if quick else 256, engine)
        yield from (alone, replace(alone, members=2 if quick else 16))


def _reconstructions(quick: bool) -> Iterator[Case]:
    for engine in ENGINES:
        case = Case("reconstructions", "small" if quick else "medium", 32 if quick else 256, engine)
        halved = replace(case, precision="bf16-mixed")
        yield from (case, halved, replace(halved, channels_last=True))
        for members in (2,) if quick else (4, IMAGES):
            yield from (replace(case, members=members), replace(halved, members=members))
            if engine == "cuda_graph":
                yield replace(case, members=members, evaluation="loop")
                yield replace(halved, members=members, evaluation="loop")


def _large(quick: bool) -> Iterator[Case]:
    for engine in ENGINES:
        yield Case("large", "small" if quick else "medium", 32 if quick else 512, engine)
        yield Case("large", "small" if quick else "medium", 32 if quick else 320, engine, modality="mri")


def _engines(quick: bool) -> Iterator[Case]:
    for size in (32,) if quick else (128, 256):
        for network in ("small",) if quick else ("small", "medium"):
            yield from (Case("engines", network, size, engine) for engine in ENGINES)


@lru_cache
def _measurement(modality: str, size: int, members: int) -> Measurement:
    if modality == "ct":
        return ct_measurement(size, batch=members)
    data = Phantom(kind="ellipses", size=size, acquisition=CartesianMRI(coils=SimulatedCoils(15)), batch=members)
    data.setup("fit")
    return data.measurement
