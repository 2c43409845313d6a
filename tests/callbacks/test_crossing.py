"""Rules that stop at a threshold, on scripted outputs, and the selection of the least loss."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from dip_lightning.callbacks import (
    BestLoss,
    DiscrepancyStopping,
    HeldOutStopping,
    OutputAveraging,
    ReconstructionMetrics,
    ZeroCrossing,
)
from dip_lightning.errors import MeasurementError
from dip_lightning.inputs import InitialEstimate
from dip_lightning.measurement import Measurement
from dip_lightning.methods import DIP
from dip_lightning.physics.masked import leave_out
from tests.callbacks.scripted import constant_images, denoising, scripted
from tests.methods.test_battery import SaveAt
from tests.support import TinyNetwork, fit, matrix_measurement

SETTINGS: dict[str, Any] = {"outer_steps": 30, "seed": 3, "optimizer": partial(torch.optim.Adam, lr=0.02)}
LEVELS = [5.0, 3.0, 2.0, 1.0, 0.5, 0.2]  # data are zero: these are residuals


def test_discrepancy_stops_at_the_first_residual_of_the_noise() -> None:
    images = constant_images(LEVELS)
    for tau, sigma, expected in ((1.0, 1.0, 4), (1.0, 2.5, 3), (2.5, 1.0, 3), (1.0, 0.9, 5), (1.0, 10.0, 1)):
        dip, rule = scripted(images), DiscrepancyStopping(tau)
        fit(dip, denoising(images, noise_level=sigma), [rule])
        assert (dip.iteration, dip.stopped_by) == (expected, "early_stopping_discrepancy")
        assert torch.equal(dip.estimate, images[expected - 1])
        assert rule.summary()["iteration"] == rule.summary()["stopped_at"] == expected
        assert rule.summary()["statistic"] == pytest.approx(LEVELS[expected - 1] / sigma)


def test_recorded_is_the_first_that_crosses_and_none_after_it() -> None:
    images = constant_images(LEVELS)
    dip, rule = scripted(images), DiscrepancyStopping(action="record")
    fit(dip, denoising(images, noise_level=1.0), [rule])
    assert (dip.iteration, rule.summary()["iteration"], rule.summary()["stopped_at"]) == (len(LEVELS), 4, 4)
    assert rule.summary()["statistic"] == pytest.approx(1.0)
    assert torch.equal(dip.reports["recorded_discrepancy_1"], images[3])


def test_discrepancy_never_reached_selects_nothing() -> None:
    images = constant_images(LEVELS)
    dip, rule = scripted(images), DiscrepancyStopping(noise_level=0.1)
    fit(dip, denoising(images), [rule])
    assert (dip.iteration, rule.summary()["iteration"]) == (len(LEVELS), None)
    assert torch.equal(dip.estimate, images[-1])


def test_discrepancy_counts_data_that_carry_something() -> None:
    images = constant_images(LEVELS)
    plain = denoising(images)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    masked = Measurement(
        y=plain.y, physics=leave_out(plain.physics, mask), initial=plain.y, ids=("a",), task="denoising"
    )
    dip = scripted(images)
    fit(dip, masked, [DiscrepancyStopping(noise_level=0.9)])
    assert dip.iteration == 5  # the residual over 8 data, not 16


def test_discrepancy_counts_all_data_in_the_second_pass_of_a_refit(tmp_path: Path) -> None:
    class Watch(pl.Callback):
        def __init__(self) -> None:
            self.values: list[tuple[float, float]] = []

        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            residual = measurement.physics.A(pl_module.current_estimate) - measurement.y
            if not hasattr(pl_module.measurement.physics, "mask"):
                recorded = pl_module.record["stop_statistic_discrepancy_1"].item()
                self.values.append((recorded, (residual.norm() / (0.2 * 20**0.5)).item()))

    def run(**options: Any) -> Watch:
        dip, watch = DIP(network=TinyNetwork(), initial_input=InitialEstimate(), **SETTINGS), Watch()
        rules = [DiscrepancyStopping(action="record"), HeldOutStopping(0.4, patience=12, refit=True)]
        fit(dip, measurement, [*rules, watch, SaveAt(4, tmp_path / "last.ckpt")], **options)  # last in the second pass
        return watch

    measurement = matrix_measurement(noise_level=0.2)
    through = run()
    assert len(through.values) > 4
    for recorded, by_hand in through.values:
        assert recorded == pytest.approx(by_hand, rel=1e-6)
    assert run(ckpt_path=str(tmp_path / "last.ckpt")).values == through.values[4:]


@pytest.mark.parametrize("level", [None, 0.0])
def test_discrepancy_needs_a_noise_level(level: float | None) -> None:
    images = constant_images(LEVELS)
    with pytest.raises(MeasurementError, match="noise_level"):
        fit(scripted(images), denoising(images, noise_level=level), [DiscrepancyStopping()])


def test_each_member_crosses_for_itself() -> None:
    images = constant_images(LEVELS, [4.0, 0.8, 5.0, 6.0, 7.0, 8.0])
    dip, rule = scripted(images), DiscrepancyStopping(noise_level=1.0)
    fit(dip, denoising(images), [rule])
    assert [rule.summary(member)["iteration"] for member in range(2)] == [4, 2]
    assert torch.equal(dip.estimate, torch.stack([images[3, 0], images[1, 1]]))
    assert dip.iteration == 4
    assert [dip.ending(member).iteration for member in range(2)] == [4, 2]


def test_a_member_that_never_crosses_keeps_its_own_estimate() -> None:
    images = constant_images([4.0, 0.8, 5.0, 6.0], [4.0, 3.0, 2.0, 1.5])
    dip, rule = scripted(images), DiscrepancyStopping(noise_level=1.0)
    fit(dip, denoising(images), [rule])
    assert torch.equal(dip.estimate, torch.stack([images[1, 0], images[3, 1]]))
    assert [dip.ending(member).reason for member in range(2)] == ["early_stopping_discrepancy", "outer_steps"]
    assert rule.summary(1)["iteration"] is None


def test_what_was_recorded_is_scored_for_members_that_crossed() -> None:
    images = constant_images([4.0, 0.8, 5.0], [4.0, 3.0, 2.0])
    dip, metrics = scripted(images), ReconstructionMetrics()
    measurement = denoising(images, target=torch.ones_like(images[0]))
    fit(dip, measurement, [metrics, DiscrepancyStopping(noise_level=1.0, action="record")])
    assert torch.equal(dip.estimate, images[-1])
    assert "discrepancy_1" in metrics.summary(0)["recorded"]
    assert "recorded" not in metrics.summary(1)


def test_members_that_cross_apart_get_what_they_get_alone() -> None:
    def run(rows: list[int]) -> tuple[DIP, DiscrepancyStopping]:
        part = replace(measurement, y=y[rows], initial=initial[rows], target=None, ids=tuple(ids[row] for row in rows))
        dip, rule = DIP(network=TinyNetwork(), initial_input=InitialEstimate(), **SETTINGS), DiscrepancyStopping()
        fit(dip, part, [rule])
        return dip, rule

    measurement = matrix_measurement(noise_level=0.2)
    scale = torch.tensor([1.0, 0.6, 3.0], dtype=torch.float64)
    y, initial, ids = scale[:, None] * measurement.y, scale.view(3, 1, 1, 1) * measurement.initial, "abc"
    together, rules = run([0, 1, 2])
    stops = [together.ending(member).iteration for member in range(3)]
    assert stops == [10, 3, 30]
    for member in range(3):
        alone, rule = run([member])
        assert rule.summary()["iteration"] == rules.summary(member)["iteration"]
        assert (alone.iteration, alone.stopped_by) == (stops[member], together.ending(member).reason)
        torch.testing.assert_close(together.estimate[member], alone.estimate[0], rtol=0, atol=1e-8)


class LossOf(DIP):
    """A loss that is written down."""

    values: list[float]

    def objective(self, estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
        return {"loss_of": 0 * estimate.sum((1, 2, 3)) + self.values[self.iteration]}


def losses(values: list[float], images: Tensor) -> DIP:
    dip: Any = scripted(images)
    dip.__class__ = LossOf
    dip.values = values
    return dip


def test_zero_crossing_selects_the_step_before() -> None:
    images = constant_images(LEVELS)
    dip, rule = losses([3, 2, 0.5, -0.1, -1, -2], images), ZeroCrossing()
    fit(dip, denoising(images), [rule])
    assert (dip.iteration, dip.stopped_by) == (4, "early_stopping_zero_crossing")
    assert torch.equal(dip.estimate, images[2])


def test_zero_crossing_selects_the_average_of_the_step_before() -> None:
    images = constant_images([5.0, 3.0, 2.0, 1.0])
    dip = losses([3, 2, 0.5, -0.1], images)
    fit(dip, denoising(images), [OutputAveraging(0.5), ZeroCrossing()])
    assert torch.equal(dip.estimate, torch.full_like(images[0], 3.0))  # 5, 4, 3, 2


def test_zero_crossing_resumes(tmp_path: Path) -> None:
    images, path = constant_images(LEVELS), tmp_path / "last.ckpt"
    fit(losses([3, 2, 0.5, -0.1, -1, -2], images), denoising(images), [ZeroCrossing(), SaveAt(3, path)])
    dip = losses([3, 2, 0.5, -0.1, -1, -2], images)
    fit(dip, denoising(images), [ZeroCrossing()], ckpt_path=str(path))
    assert torch.equal(dip.estimate, images[2])


def test_best_loss_is_selected_and_nothing_stops() -> None:
    images = constant_images(LEVELS)
    dip, rule = losses([3, 2, 0.5, 1, 0.4, 0.6], images), BestLoss()
    fit(dip, denoising(images), [rule])
    assert (dip.iteration, rule.summary()["iteration"]) == (6, 5)
    assert torch.equal(dip.estimate, images[4])
