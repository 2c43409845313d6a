"""Scores against torchmetrics and scikit-image, and what they must not depend on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from deepinv.physics import Denoising
from skimage.metrics import structural_similarity
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from dip_lightning.errors import MeasurementError
from dip_lightning.functional.metrics import METRICS, Scorer, centre_crop, score
from dip_lightning.measurement import Measurement


def measurement(target: Tensor | None, like: Tensor | None = None, **fields: Any) -> Measurement:
    y = target if target is not None else like
    assert y is not None
    ids = tuple(f"m{i}" for i in range(y.shape[0]))
    return Measurement(y=y, physics=Denoising(), initial=y, ids=ids, task="denoising", target=target, **fields)


def smooth(members: int = 2, channels: int = 1, size: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(members, channels, size // 4, size // 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")


def test_the_odd_pixel_of_a_centre_is_left_over_at_the_end() -> None:
    image = torch.arange(20.0).reshape(4, 5)
    assert torch.equal(centre_crop(image, (1, 4)), image[1:2, :4])
    assert torch.equal(centre_crop(image, (9, 2)), image[:, 1:3])


def test_psnr_is_that_of_torchmetrics() -> None:
    target = smooth()
    estimate = target + 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    expected = peak_signal_noise_ratio(estimate, target, data_range=(0.0, 1.0), reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(score(measurement(target), estimate)["psnr"], expected)


def test_psnr_of_a_known_error() -> None:
    target = torch.full((2, 1, 8, 8), 0.5)
    estimate = target + torch.tensor([0.1, 0.01])[:, None, None, None]
    torch.testing.assert_close(score(measurement(target), estimate)["psnr"], torch.tensor([20.0, 40.0]))
    wide = measurement(target, value_range=(0.0, 10.0))
    torch.testing.assert_close(score(wide, estimate)["psnr"], torch.tensor([40.0, 60.0]))


def test_images_are_clipped_to_the_value_range() -> None:
    target = smooth().round()
    assert score(measurement(target), 3 * target)["psnr"].isinf().all()
    assert score(measurement(target, value_range=None), 3 * target)["psnr"].isfinite().all()


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_that_of_scikit_image(channels: int) -> None:
    target = smooth(channels=channels)
    estimate = (target + 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    expected = [
        structural_similarity(
            x.double().numpy(),
            t.double().numpy(),
            data_range=1.0,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for x, t in zip(estimate, target, strict=True)
    ]
    np.testing.assert_allclose(score(measurement(target), estimate)["ssim"], expected, atol=1e-4)


def test_complex_images_are_scored_by_magnitude() -> None:
    magnitude = smooth(members=1) + 0.1
    phase = 3 * smooth(members=1)
    target = torch.cat([magnitude, torch.zeros_like(magnitude)], 1)
    turned = torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], 1)
    scores = score(measurement(target, value_range=None, magnitude=True), 0.9 * turned)
    mse = float((0.1 * magnitude).square().mean())
    assert scores["psnr"].item() == pytest.approx(10 * math.log10(float(magnitude.max()) ** 2 / mse), abs=1e-3)
    assert scores["nmse"].item() == pytest.approx(0.01, rel=1e-4)


def test_without_value_range_each_member_has_its_own() -> None:
    target = smooth()
    target[1] *= 50
    estimate = 0.9 * target
    together = score(measurement(target, value_range=None), estimate)
    for member in range(2):
        part = slice(member, member + 1)
        alone = score(measurement(target[part], value_range=None), estimate[part])
        for name, value in alone.items():
            torch.testing.assert_close(together[name][part], value)


@pytest.mark.parametrize("size", [1, 2, 3, 6, 11])
def test_small_images_have_an_ssim_or_a_nan(size: int) -> None:
    target = torch.rand(1, 1, size, size)
    ssim = score(measurement(target), target)["ssim"]
    assert ssim.isnan().all() if size < 3 else ssim.item() == pytest.approx(1.0)


def test_no_target_no_score() -> None:
    image = smooth()
    with pytest.raises(MeasurementError, match="without a target"):
        score(measurement(None, like=image), image)


def test_the_definition_says_what_was_done() -> None:
    kspace = torch.rand(2, 2, 40, 40)
    complex_ = Scorer(measurement(kspace, value_range=None, magnitude=True, crop=(20, 16))).definition(1)
    magnitude = torch.linalg.vector_norm(kspace[1, :, 10:30, 12:28], dim=0)
    assert complex_["compared"] == "magnitude"
    assert (complex_["centre"], complex_["clipped_to"]) == ([20, 16], None)
    assert complex_["data_range"] == pytest.approx(float(magnitude.max()))
    assert complex_["data_range_is"] == "maximum of the target"
    colour = Scorer(measurement(smooth(channels=3), value_range=(-1.0, 1.0))).definition()
    assert (colour["compared"], colour["clipped_to"], colour["data_range"]) == ("RGB values", [-1.0, 1.0], 2.0)
    assert "11x11" in colour["ssim"]


def test_every_metric_has_a_definition() -> None:
    scorer = Scorer(measurement(smooth(size=40)))
    scores = scorer.all(0.9 * smooth(size=40))
    assert scores.keys() <= set(METRICS)
    assert {"psnr", "ssim", "nmse"} <= scores.keys() <= scorer.definition().keys()
