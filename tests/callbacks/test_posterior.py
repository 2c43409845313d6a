"""Posterior samples: which outputs are taken, and what is reported of them."""

from __future__ import annotations

from pathlib import Path

import pytest
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
