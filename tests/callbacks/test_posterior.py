"""Posterior samples: which outputs are taken, and what is reported of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from dip_lightning.callbacks import OutputAveraging, PosteriorSamples
from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.averaging import RunningMoments
from tests.callbacks.scripted import constant_images, denoising, scripted
from tests.methods.test_battery import SaveAt
from tests.support import fit

LEVELS = [0, 4, 6, 7, 7.5, 9, 12, 16, 21, 27, 34, 42]


@pytest.mark.parametrize(("inner", "burn_in", "every"), [(1, 3, 2), (1, 0, 1), (2, 3, 3), (3, 5, 1), (1, 11, 1)])
def test_takes_exactly_the_outputs_asked_for(inner: int, burn_in: int, every: int) -> None:
    images = constant_images(LEVELS)
    dip, samples = scripted(images, inner), PosteriorSamples(burn_in, every)
    fit(dip, denoising(images), [samples])
    taken = images[burn_in + every - 1 :: every]
    assert samples.summary() == {"burn_in": burn_in, "every": every, "samples": len(taken)}
    torch.testing.assert_close(dip.estimate, taken.mean(0))
    if len(taken) > 1:
        torch.testing.assert_close(dip.reports["uncertainty"], taken.std(0))
    else:
        assert "uncertainty" not in dip.reports


def test_without_a_sample_the_last_output_is_the_estimate() -> None:
    images = constant_images(LEVELS)
    dip = scripted(images)
    fit(dip, denoising(images), [PosteriorSamples(burn_in=100)])
    assert torch.equal(dip.estimate, images[-1])


@pytest.mark.parametrize("saved", [2, 5, 9])
def test_a_resumed_fit_keeps_the_sums(saved: int, tmp_path: Path) -> None:
    images, path = constant_images(LEVELS), tmp_path / "last.ckpt"
    through, resumed = scripted(images), scripted(images)
    fit(through, denoising(images), [PosteriorSamples(3, 2), SaveAt(saved, path)])
    samples = PosteriorSamples(3, 2)
    fit(resumed, denoising(images), [samples], ckpt_path=str(path))
    assert samples.moments.count == 4
    for name in ("average", "uncertainty"):
        assert torch.equal(through.reports[name], resumed.reports[name])


class Leave(pl.Callback):
    """Stops the second member after an outer step."""

    def __init__(self, outer_step: int, reason: str) -> None:
        self.outer_step, self.reason = outer_step, reason

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.outer_step == self.outer_step:
            pl_module.stop_members([1], self.reason)


@pytest.mark.parametrize("leaves", [2, 5, 7])
@pytest.mark.parametrize("first", [False, True])
def test_a_member_that_stopped_has_its_own_samples(leaves: int, first: bool, tmp_path: Path) -> None:
    images, path = constant_images(LEVELS, LEVELS[::-1]), tmp_path / "last.ckpt"
    dip, samples = scripted(images), PosteriorSamples(3, 1)
    callbacks = [samples, Leave(leaves, "test")]
    fit(dip, denoising(images), [*(callbacks[::-1] if first else callbacks), SaveAt(8, path)])
    counts = [len(LEVELS) - 3, max(leaves - 3, 0)]
    assert [samples.summary(member)["samples"] for member in range(2)] == counts
    if counts[1]:
        torch.testing.assert_close(dip.reports["average"][1], images[3:leaves, 1].mean(0))
    resumed = PosteriorSamples(3, 1)
    fit(scripted(images), denoising(images), [resumed], ckpt_path=str(path))
    assert [resumed.summary(member)["samples"] for member in range(2)] == counts


def test_a_fit_that_broke_down_has_the_samples_of_the_outer_step_before() -> None:
    images, samples = constant_images(LEVELS), PosteriorSamples(3, 1)
    images[7] = torch.nan
    dip = scripted(images, inner_steps=2)
    fit(dip, denoising(images), [samples])
    assert (dip.stopped_by, samples.summary()["samples"]) == ("nan", 3)
    torch.testing.assert_close(dip.estimate, images[3:6].mean(0))


def test_moments_do_not_cancel() -> None:
    moments, generator = RunningMoments(), torch.Generator().manual_seed(0)
    values = 1e6 + torch.randn(50, 1, 4, generator=generator, dtype=torch.float64)
    for value in values:
        moments.update(value)
    torch.testing.assert_close(moments.compute(), values.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(moments.deviation(), values.std(0), rtol=1e-8, atol=0)


def test_is_the_only_average() -> None:
    images = constant_images(LEVELS)
    with pytest.raises(ConfigurationError, match="Only one"):
        fit(scripted(images), denoising(images), [PosteriorSamples(), OutputAveraging()])
