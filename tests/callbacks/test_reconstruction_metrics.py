"""Scores during a fit: what is recorded, what is summed up, and that the fit does not notice."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from dip_lightning.callbacks import BestLoss, EarlyStoppingWMV, OutputAveraging, ReconstructionMetrics
from dip_lightning.errors import ConfigurationError
from tests.callbacks.scripted import constant_images, denoising, scripted
from tests.support import fit

# The target is 0.5 everywhere: errors 0.5, 0.1, 0.01, 0.05, 0.1, 0.2 are 6.02, 20, 40, 26.02, 20 and 13.98 dB.
LEVELS = [0.0, 0.4, 0.49, 0.55, 0.6, 0.7]
PSNR = [6.0206, 20.0, 40.0, 26.0206, 20.0, 13.9794]


class Rows(pl.Callback):
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self.rows.append(dict(pl_module.record))


def problem(images: torch.Tensor, **fields: Any) -> Any:
    return denoising(images, target=torch.full_like(images[0], 0.5), **fields)


def test_records_psnr_often_and_ssim_seldom() -> None:
    images, rows = constant_images(LEVELS), Rows()
    fit(scripted(images), problem(images), [ReconstructionMetrics(ssim_every=3), rows])
    assert [row["psnr"].item() for row in rows.rows] == pytest.approx(PSNR, abs=1e-3)
    assert ["ssim" in row for row in rows.rows] == [False, False, True, False, False, True]


def test_summary_keeps_initial_last_estimate_and_oracle_apart() -> None:
    images, metrics = constant_images(LEVELS), ReconstructionMetrics(ssim_every=0)
    dip = scripted(images)
    fit(dip, problem(images), [EarlyStoppingWMV(window=2, patience=100), metrics])
    summary = metrics.summary()
    # Smallest difference between successive levels: the fifth, or, by rounding, the fourth.
    chosen = PSNR[LEVELS.index(pytest.approx(dip.estimate[0, 0, 0, 0].item()))]
    assert summary["psnr"] == pytest.approx(
        {"initial": PSNR[0], "last": PSNR[-1], "estimate": chosen, "oracle": PSNR[2]}, abs=1e-3
    )
    assert summary["oracle_iteration"] == 3
    assert summary["ssim"].keys() == summary["psnr"].keys()
    json.dumps(summary)


def test_oracle_is_over_the_current_estimate() -> None:
    images, metrics = constant_images(LEVELS), ReconstructionMetrics()
    fit(scripted(images), problem(images), [OutputAveraging(0.5), metrics])
    average, averages = LEVELS[0], [LEVELS[0]]
    for level in LEVELS[1:]:
        average = 0.5 * (average + level)
        averages.append(average)
    errors = [abs(level - 0.5) for level in averages]
    assert metrics.summary()["oracle_iteration"] == 1 + errors.index(min(errors))


def test_each_member_has_its_own_summary() -> None:
    images, metrics = constant_images(LEVELS, LEVELS[::-1]), ReconstructionMetrics()
    fit(scripted(images), problem(images), [metrics])
    first, second = metrics.summary(0), metrics.summary(1)
    assert (first["oracle_iteration"], second["oracle_iteration"]) == (3, 4)
    assert first["psnr"]["oracle"] == pytest.approx(second["psnr"]["oracle"])
    assert second["psnr"]["last"] == pytest.approx(PSNR[0], abs=1e-3)


def test_without_a_target_nothing_happens() -> None:
    images, metrics, rows = constant_images(LEVELS), ReconstructionMetrics(), Rows()
    fit(scripted(images), replace(problem(images), target=None), [metrics, rows])
    assert metrics.summary() == {}
    assert metrics.state_dict() == {}
    assert not any("psnr" in row or "ssim" in row for row in rows.rows)


def test_without_oracle_none_is_kept() -> None:
    images, metrics = constant_images(LEVELS), ReconstructionMetrics(every=2, oracle=False)
    rows = Rows()
    fit(scripted(images), problem(images), [metrics, rows])
    assert metrics.summary()["oracle_iteration"] is None
    assert "oracle" not in metrics.summary()["psnr"]
    assert ["psnr" in row for row in rows.rows] == [False, True] * 3


@pytest.mark.parametrize("saved", [2, 4])
def test_oracle_survives_a_resume(tmp_path: Path, saved: int) -> None:
    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            if pl_module.outer_step == saved:
                trainer.save_checkpoint(tmp_path / "last.ckpt")

    images, through, resumed = constant_images(LEVELS), ReconstructionMetrics(), ReconstructionMetrics()
    fit(scripted(images), problem(images), [through, Save()])
    fit(scripted(images), problem(images), [resumed], ckpt_path=str(tmp_path / "last.ckpt"))
    assert through.summary() == resumed.summary()


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="every=0"):
        ReconstructionMetrics(every=0)


def test_regret_is_the_distance_to_the_oracle_of_the_estimate_and_of_recorded_rules() -> None:
    images = constant_images([4.0, 2.0, 1.0, 3.0, 3.5])
    rule, metrics = BestLoss(action="record"), ReconstructionMetrics()
    measurement = denoising(images, target=torch.full((1, 1, 4, 4), 0.5), value_range=(0.0, 5.0))
    fit(scripted(images), measurement, [metrics, rule])
    summary = metrics.summary()
    psnr = summary["psnr"]
    assert summary["regret_db"] == pytest.approx(psnr["oracle"] - psnr["estimate"])
    assert summary["regret_db"] == pytest.approx(20 * math.log10(3.0 / 0.5), rel=1e-4)
    assert summary["recorded"]["best_loss"]["regret_db"] == pytest.approx(0)
    assert summary["recorded"]["best_loss"]["psnr"] == pytest.approx(psnr["oracle"])
