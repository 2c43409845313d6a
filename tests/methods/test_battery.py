"""What holds for every method, whatever it minimises: one line in registry.py puts a method through all of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from dip_lightning import methods as suite
from dip_lightning.measurement import Measurement
from dip_lightning.methods import BaseDIP
from tests.methods.registry import METHODS
from tests.support import TinyNetwork, fit, matrix_measurement

OUTER, SAVED, BAD = 6, 3, 5

every_method = pytest.mark.parametrize("name", METHODS)


class SaveAt(pl.Callback):
    """Save a checkpoint at the end of an outer step, as an interrupted fit would have."""

    def __init__(self, outer_step: int, path: Path) -> None:
        self.outer_step, self.path = outer_step, path

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.outer_step == self.outer_step:
            trainer.save_checkpoint(self.path)


def problem(**fields: Any) -> Measurement:
    """A denoising-sized linear problem with noise of known level and a reference image."""
    clean = matrix_measurement()
    generator = torch.Generator().manual_seed(1)
    noise = 0.05 * torch.randn(clean.y.shape, generator=generator, dtype=clean.y.dtype)
    reference = torch.rand(clean.initial.shape, generator=generator, dtype=clean.y.dtype)
    fields = {"reference": reference, "noise_level": 0.05, **fields}
    return Measurement(
        y=clean.y + noise,
        physics=clean.physics,
        initial=clean.physics.A_adjoint(clean.y + noise),
        **{"target": clean.target, "task": "matrix", "ids": ("matrix",), **fields},
    )


def build(name: str, **options: Any) -> BaseDIP:
    entry = METHODS[name]
    defaults = {"outer_steps": OUTER, "inner_steps": 2, "seed": 3, "optimizer": partial(torch.optim.Adam, lr=1e-2)}
    return entry.factory(network=(entry.network or TinyNetwork)(), **{**defaults, **entry.options, **options})


def test_every_method_is_in_the_registry() -> None:
    assert {type(build(name)).__name__ for name in METHODS} == set(suite.__all__) - {"BaseDIP"}


def same(one: BaseDIP, other: BaseDIP) -> None:
    """Assert that two fits ended in the same bits."""
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert (one.iteration, one.outer_step) == (other.iteration, other.outer_step)
    assert torch.equal(one.last_output, other.last_output)
    assert one.reports.keys() == other.reports.keys()
    for name, image in one.reports.items():
        assert torch.equal(image, other.reports[name]), name
    assert torch.equal(one.estimate, other.estimate)


@every_method
def test_killed_and_resumed_equals_uninterrupted(name: str, tmp_path: Path) -> None:
    path, callbacks = tmp_path / "last.ckpt", METHODS[name].callbacks
    pl.seed_everything(1)
    through = build(name)
    fit(through, problem(), [*callbacks(), SaveAt(SAVED, path)])
    pl.seed_everything(2)
    resumed = build(name)
    fit(resumed, problem(), callbacks(), ckpt_path=str(path))
    assert through.iteration == OUTER * through.inner_steps
    same(through, resumed)


@every_method
def test_same_seed_same_bits_other_seed_other_image(name: str) -> None:
    runs = []
    for seed in (3, 3, 4):
        runs.append(build(name, seed=seed))
        fit(runs[-1], problem(), METHODS[name].callbacks())
        torch.rand(5)  # what others draw does not matter
    same(runs[0], runs[1])
    assert not torch.equal(runs[0].last_output, runs[2].last_output)


@every_method
def test_without_the_target_nothing_changes(name: str) -> None:
    with_target, without = build(name), build(name)
    fit(with_target, problem(), METHODS[name].callbacks())
    fit(without, problem(target=None), METHODS[name].callbacks())
    same(with_target, without)


@every_method
def test_a_loss_that_turns_nan_stops_and_keeps_the_last_good_images(name: str) -> None:
    broken, good = build(name), build(name)
    sound = broken.objective

    def breaks(estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
        factor = torch.nan if broken.outer_step + 1 == BAD else 1.0
        return {term: factor * value for term, value in sound(estimate, measurement).items()}

    broken.objective = breaks  # type: ignore[method-assign]
    images: list[Tensor] = []

    class Remember(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            images.append(pl_module.last_output.clone())

    fit(broken, problem(), METHODS[name].callbacks())
    fit(good, problem(), [*METHODS[name].callbacks(), Remember()])
    assert (broken.stopped_by, broken.outer_step) == ("nan", BAD)
    assert torch.equal(broken.last_output, images[BAD - 2])
    assert broken.estimate.isfinite().all()


@every_method
def test_the_objective_is_a_sum_of_named_terms_of_each_member(name: str) -> None:
    method = build(name)
    fit(method, problem(), METHODS[name].callbacks())
    assert all(term.shape == (1,) for term in method.terms.values())
    assert torch.allclose(torch.stack(list(method.terms.values())).sum(0), method.loss)
    assert method.estimate.shape == method.measurement.initial.shape
