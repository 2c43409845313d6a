"""Averages of outputs that are written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from dip_lightning.callbacks import OutputAveraging, UniformAveraging
from dip_lightning.errors import ConfigurationError
from tests.callbacks.scripted import denoising, scripted
from tests.support import fit

IMAGES = torch.rand(12, 1, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_exponential_average_of_all_outputs(inner_steps: int) -> None:
    dip = scripted(IMAGES, inner_steps)
    fit(dip, denoising(IMAGES), [OutputAveraging(0.8)])
    powers = 0.8 ** torch.arange(11, -1, -1)
    powers[1:] *= 0.2
    torch.testing.assert_close(dip.estimate, torch.einsum("t,tbchw->bchw", powers, IMAGES))
    assert dip.estimate is dip.reports["average"]


@pytest.mark.parametrize("weight", [0.0, 0.8])
def test_corrected_average_forgets_the_start(weight: float) -> None:
    dip = scripted(IMAGES)
    fit(dip, denoising(IMAGES), [OutputAveraging(weight, corrected=True)])
    powers = weight ** torch.arange(11, -1, -1)
    torch.testing.assert_close(dip.estimate, torch.einsum("t,tbchw->bchw", powers / powers.sum(), IMAGES))


@pytest.mark.parametrize(("burn_in", "every", "taken"), [(0, 1, range(12)), (4, 1, range(4, 12)), (4, 3, (4, 7, 10))])
@pytest.mark.parametrize("inner_steps", [1, 3])
def test_plain_mean_after_the_burn_in(inner_steps: int, burn_in: int, every: int, taken: Any) -> None:
    dip = scripted(IMAGES, inner_steps)
    fit(dip, denoising(IMAGES), [UniformAveraging(burn_in, every)])
    torch.testing.assert_close(dip.estimate, IMAGES[list(taken)].double().mean(0).float(), rtol=1e-6, atol=0)


def test_before_the_burn_in_ends_the_last_output_is_the_estimate() -> None:
    dip = scripted(IMAGES)
    fit(dip, denoising(IMAGES), [UniformAveraging(burn_in=100)])
    assert torch.equal(dip.estimate, IMAGES[-1])


@pytest.mark.parametrize(
    "make", [lambda: OutputAveraging(0.8), lambda: OutputAveraging(0.8, True), lambda: UniformAveraging(2, 2)]
)
def test_resumed_equals_uninterrupted(tmp_path: Path, make: Any) -> None:
    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            if pl_module.outer_step == 5:
                trainer.save_checkpoint(tmp_path / "last.ckpt")

    through, resumed = scripted(IMAGES), scripted(IMAGES)
    fit(through, denoising(IMAGES), [make(), Save()])
    fit(resumed, denoising(IMAGES), [make()], ckpt_path=str(tmp_path / "last.ckpt"))
    assert torch.equal(through.estimate, resumed.estimate)


def test_there_is_one_average() -> None:
    with pytest.raises(ConfigurationError, match="keep one"):
        fit(scripted(IMAGES), denoising(IMAGES), [OutputAveraging(), UniformAveraging()])


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="weight=1"):
        OutputAveraging(1.0)
    with pytest.raises(ConfigurationError, match="every=0"):
        UniformAveraging(every=0)
