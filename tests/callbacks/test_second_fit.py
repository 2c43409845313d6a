"""A callback that has been through a fit is, in the next one, as good as new."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from dip_lightning.callbacks import (
    BestLoss,
    DiscrepancyStopping,
    EarlyStoppingEMV,
    EarlyStoppingWMV,
    HeldOutStopping,
    OutputAveraging,
    PosteriorSamples,
    ReconstructionMetrics,
    ResultWriter,
    SUREStopping,
    UniformAveraging,
    ZeroCrossing,
)
from dip_lightning.data import InMemory
from dip_lightning.errors import ConfigurationError
from dip_lightning.inputs import UniformNoise
from dip_lightning.methods import DIP
from tests.methods.test_battery import SaveAt, problem, same
from tests.support import TinyNetwork, fit

KINDS: dict[str, Callable[[], Any]] = {
    "average": partial(OutputAveraging, 0.5),
    "mean": partial(UniformAveraging, 2),
    "samples": partial(PosteriorSamples, 2, 1),
    "wmv": partial(EarlyStoppingWMV, 3, patience=4),
    "emv": partial(EarlyStoppingEMV, 0.3, patience=4, warmup=2),
    "best": partial(BestLoss, patience=3),
    "discrepancy": partial(DiscrepancyStopping, tau=20.0),
    "zero crossing": ZeroCrossing,
    "held out": partial(HeldOutStopping, 0.2, patience=4),
    "refit": partial(HeldOutStopping, 0.2, patience=4, refit=True),
    "sure": partial(SUREStopping, patience=4),
    "metrics": partial(ReconstructionMetrics, ssim_every=0),
}


def run(seed: int, *callbacks: Any, ckpt_path: str | None = None) -> DIP:
    dip = DIP(
        network=TinyNetwork(width=8),
        initial_input=UniformNoise(1),
        optimizer=partial(torch.optim.Adam, lr=3e-2),
        outer_steps=20,
        seed=seed,
    )
    fit(dip, problem(), list(callbacks), ckpt_path=ckpt_path)
    return dip


@pytest.mark.parametrize("name", KINDS)
def test_nothing_of_the_first_fit_is_left_in_the_second(name: str) -> None:
    used, new = KINDS[name](), KINDS[name]()
    run(1, used)
    same(run(2, used), run(2, new))
    if hasattr(new, "summary"):
        assert used.summary() == new.summary()


def test_a_refitted_method_can_be_fitted_in_one_pass() -> None:
    class Break(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise RuntimeError("broken")

    rule, dip = KINDS["sure"](), run(1, KINDS["refit"]())
    with pytest.raises(RuntimeError, match="broken"):
        fit(dip, problem(), [KINDS["refit"](), Break()])
    fit(dip, problem(), [rule])
    assert rule.summary()["iteration"]
    same(dip, run(1, KINDS["sure"]()))


def test_nor_of_a_fit_that_was_continued_from_a_checkpoint(tmp_path: Path) -> None:
    path, used, new = tmp_path / "last.ckpt", SUREStopping(action="record"), SUREStopping(action="record")
    run(1, SUREStopping(action="record"), SaveAt(9, path))
    run(1, used, ckpt_path=str(path))
    run(2, used)
    run(2, new)
    assert used.summary() == new.summary()


def test_rows_are_those_of_one_fit(tmp_path: Path) -> None:
    writer = ResultWriter(str(tmp_path), overwrite=True, preview=False)
    for seed in (1, 2):
        dip = DIP(network=TinyNetwork(), initial_input=UniformNoise(1), outer_steps=3, seed=seed)
        fit(dip, problem(), [writer], enable_checkpointing=True)
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 1 + 3


def test_a_second_fit_with_the_same_trainer_is_refused_and_the_first_keeps_its_estimate() -> None:
    dip = DIP(network=TinyNetwork(), initial_input=UniformNoise(1), outer_steps=2)
    trainer = fit(dip, problem())
    before = dip.estimate.clone()
    with pytest.raises(ConfigurationError, match="make a new Trainer for each fit"):
        trainer.fit(dip, datamodule=InMemory(problem()))
    assert torch.equal(dip.estimate, before)


def test_rules_that_record_choose_from_the_second_pass_of_a_refit() -> None:
    def recording() -> list[Any]:
        return [EarlyStoppingWMV(3, action="record"), BestLoss(action="record")]

    rule, rules, alone = KINDS["refit"](), recording(), recording()
    refitted = run(1, rule, *rules)
    plain = DIP(
        network=TinyNetwork(width=8),
        initial_input=UniformNoise(1),
        optimizer=partial(torch.optim.Adam, lr=3e-2),
        outer_steps=rule.summary()["iteration"],
        seed=1,
    )
    fit(plain, problem(), alone)
    same(refitted, plain)
    assert [own.summary() for own in rules] == [own.summary() for own in alone]
