"""Baselines: what they minimise, and that their record is the record of a fit."""

from __future__ import annotations

import inspect
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import deepinv
import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dip_lightning.cli import main
from dip_lightning.cli_errors import one_line
from dip_lightning.compare.baselines import (
    BM3D,
    DDRM,
    DPS,
    Adjoint,
    ConjugateGradient,
    DeepinvDIP,
    DiffPIR,
    Initial,
    PlugAndPlay,
    TotalVariation,
    Wavelet,
    run_baseline,
)
from dip_lightning.compare.baselines.base import Baseline
from dip_lightning.compare.baselines.diffusion_base import DiffusionSampler
from dip_lightning.compare.baselines.run import _Watch, parse_baseline
from dip_lightning.compare.baselines.variational import fista
from dip_lightning.compare.baselines.weights import by_discrepancy, by_held_out
from dip_lightning.compare.execute import execute
from dip_lightning.compare.jobs import expand
from dip_lightning.compare.plan import load_plan
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.measurement import Measurement
from dip_lightning.physics.norm import squared_norm
from tests.compare.small import DATA, write_plan
from tests.support import matrix_measurement


def reconstruct(baseline: Baseline, measurement: Measurement, seed: int = 0) -> Tensor:
    with torch.no_grad():
        return baseline.reconstruct(measurement, seed, lambda iteration, image: None)


def denoising(sigma: float = 0.1, size: int = 32) -> Measurement:
    """Noise on a square."""
    image = torch.zeros(1, 1, size, size)
    image[..., size // 4 : -size // 4, size // 4 : -size // 4] = 0.8
    y = image + sigma * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    physics = deepinv.physics.Denoising()
    return Measurement(
        y, physics, initial=y, ids=("square",), task="denoising", target=image, noise_level=sigma
    ).validate()


def mse(image: Tensor, measurement: Measurement) -> float:
    assert measurement.target is not None
    return float((image - measurement.target).square().mean())


def test_conjugate_gradients_give_the_least_squares_image_of_least_norm():
    measurement = matrix_measurement()
    image = reconstruct(ConjugateGradient(iterations=100, tolerance=1e-12), measurement)
    expected = torch.linalg.pinv(measurement.physics.matrix) @ measurement.y[0]
    torch.testing.assert_close(image.flatten(), expected, rtol=0, atol=1e-3)


def test_adjoint_fits_the_data_best_along_its_line():
    measurement = matrix_measurement()
    image = reconstruct(Adjoint(), measurement)
    residuals = [(measurement.physics.A(c * image) - measurement.y).norm() for c in (0.99, 1.0, 1.01)]
    assert residuals[1] == min(residuals)
    torch.testing.assert_close(reconstruct(Adjoint(scale=False), measurement), measurement.initial)


def test_norm_by_the_power_method():
    measurement = matrix_measurement()
    exact = torch.linalg.matrix_norm(measurement.physics.matrix, 2) ** 2
    assert 0.9 * exact < squared_norm(measurement.physics, measurement.initial) <= 1.0001 * exact


def test_total_variation_of_a_two_pixel_image_in_closed_form():
    # min 1/2 |x - y|^2 + w |x1 - x2|: both move towards each other by w.
    y = torch.tensor([[[[0.0, 1.0]]]])
    measurement = Measurement(y, deepinv.physics.Denoising(), y, ids=("pair",), task="denoising")
    image = reconstruct(TotalVariation(weight=0.1, iterations=60, inner_iterations=100), measurement)
    torch.testing.assert_close(image.flatten(), torch.tensor([0.1, 0.9]), atol=6e-3, rtol=0)


@pytest.mark.parametrize("value", [1.0, 0.6 + 0.8j])
def test_discrepancy_finds_the_weight_of_a_residual_in_closed_form(value: complex) -> None:
    # The image y / (1 + w) leaves a residual of |y| w / (1 + w); of complex data sigma is the deviation of both parts.
    y, sigma, tau, w = torch.full((1, 1, 8, 8), value), 0.1, 2.0, 0.25
    measurement = Measurement(
        y, deepinv.physics.Denoising(), y.abs(), ids=("ones",), task="denoising", noise_level=sigma
    )
    found = by_discrepancy(measurement, measurement.physics, lambda y, _, x, w: y / (1 + w), 1.0, tau, "test")
    assert found == pytest.approx(w, rel=5e-3)


def test_a_weight_of_held_out_data_grows_by_the_data_that_were_kept():
    # The image is exact for the weight 1, and the more wrong the farther the weight is from it.
    y = torch.ones(1, 1, 8, 8)
    measurement = Measurement(y, deepinv.physics.Denoising(), y, ids=("ones",), task="denoising")
    found = by_held_out(
        measurement, measurement.physics, lambda _, __, w: (1 + math.log(w)) * y, 1.0, 0.2, "sample", seed=0
    )
    assert found == pytest.approx(1 / (1 - 0.2))


def test_total_variation_denoises_and_the_rule_reaches_the_noise_level():
    measurement = denoising()
    baseline = TotalVariation(rule="discrepancy", iterations=60)
    image = reconstruct(baseline, measurement)
    assert mse(image, measurement) < 0.2 * mse(measurement.y, measurement)
    residual = (image - measurement.y).square().mean().sqrt()
    assert residual == pytest.approx(measurement.noise_level, rel=0.03)
    assert 0.001 < baseline.settings["weight"] < 1


def test_discrepancy_counts_sampled_points_of_kspace_alone():
    sigma, size = 0.05, 32
    mask = torch.zeros(1, 1, size, size)
    mask[..., ::3] = mask[..., size // 2 - 3 : size // 2 + 3] = 1
    physics = deepinv.physics.MRI(mask=mask, img_size=(1, 2, size, size))
    image = torch.zeros(1, 2, size, size)
    image[:, 0, 8:-8, 8:-8] = 0.8
    noise = sigma * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    y = physics.A(image) + noise * mask
    initial = physics.A_adjoint(y)
    measurement = Measurement(y, physics, initial, ids=("slice",), task="mri", noise_level=sigma)
    found = reconstruct(TotalVariation(rule="discrepancy", iterations=60), measurement)
    residual = (physics.A(found) - y).square().sum() / (2 * mask.sum())
    assert float(residual.sqrt()) == pytest.approx(sigma, rel=0.05)


def test_discrepancy_needs_a_noise_level():
    with pytest.raises(MeasurementError, match="rule: fixed"):
        reconstruct(TotalVariation(rule="discrepancy"), matrix_measurement())


def test_held_out_data_find_a_weight_without_the_noise_level():
    measurement = denoising()
    best = min(mse(reconstruct(TotalVariation(w, iterations=40), measurement), measurement) for w in (0.03, 0.1, 0.3))
    measurement = replace(measurement, noise_level=None)
    baseline = TotalVariation(rule="held_out", iterations=40)
    image = reconstruct(baseline, measurement)
    assert mse(image, measurement) < 1.5 * best < 0.3 * mse(measurement.y, measurement)
    assert baseline.settings["rule"] == "held_out"
    again = TotalVariation(weight=baseline.settings["weight"], iterations=400)
    torch.testing.assert_close(reconstruct(again, measurement), image, atol=0.02, rtol=0)  # wherever it starts


def test_weight_does_not_depend_on_the_scale_of_the_operator():
    measurement = matrix_measurement()
    scaled = matrix_measurement()
    scaled.physics.matrix *= 100
    scaled = Measurement(100 * measurement.y, scaled.physics, measurement.initial, ids=("m",), task="matrix")
    first, second = (reconstruct(TotalVariation(iterations=50), m) for m in (measurement, scaled))
    torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-8)


def test_fista_goes_on_by_the_published_momentum() -> None:
    """Of the error 3/4 are left by a gradient step; (t - 1) / t' of Beck and Teboulle's t = 1, 1.618, ... go ahead."""
    y, seen = torch.tensor([[[[1.0, -2.0]]]], dtype=torch.float64), list[Tensor]()
    identity = deepinv.physics.Denoising()
    fista(0 * y, y, identity, lambda image, _: image, 0.0, 0.25, 5, lambda _, image: seen.append(image))
    left, ahead = 1.0, 1.0
    for image, momentum in zip(seen, (0.0, 0.2817535, 0.4340428, 0.5310638, 0.5987786), strict=True):
        before, left = left, 0.75 * ahead
        ahead = left + momentum * (left - before)
        torch.testing.assert_close(image, (1 - left) * y, rtol=0, atol=1e-6)


def test_wavelets_denoise():
    pytest.importorskip("ptwt", reason="ptwt is in the baselines extra")
    measurement = denoising()
    image = reconstruct(Wavelet(weight=0.15, iterations=5, wavelet="haar"), measurement)
    assert mse(image, measurement) < 0.5 * mse(measurement.y, measurement)


def test_bm3d_denoises_and_does_nothing_else():
    pytest.importorskip("ptwt", reason="ptwt is in the baselines extra")
    if not takes(deepinv.models.BM3D, "use_legacy"):
        pytest.skip("this deepinv needs the package bm3d")
    measurement = denoising()
    image = reconstruct(BM3D(), measurement)
    assert mse(image, measurement) < 0.3 * mse(measurement.y, measurement)
    with pytest.raises(ConfigurationError, match="BM3D denoises"):
        reconstruct(BM3D(), matrix_measurement())


def test_deepinv_prior_starts_anew_for_every_image():
    measurement = denoising(size=16)
    small = DeepinvDIP(iterations=3, channels=8, layers=4)
    before = torch.random.get_rng_state()
    first, again, other = (reconstruct(small, measurement, seed) for seed in (0, 0, 1))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def takes(kind: type, name: str) -> bool:
    return name in inspect.signature(kind.__init__).parameters


class TinyDenoiser(nn.Module):
    """Stands in for a diffusion network: blurs a little, more with more noise."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="circular")
        self.net.weight.data.mul_(0.1)

    def forward(self, x: Tensor, sigma: Any, *args: Any, **kwargs: Any) -> Tensor:
        return torch.sigmoid(self.net(x.float())).to(x)


@pytest.mark.parametrize("sampler", [DPS, DiffPIR, DDRM])
def test_samplers_run_and_depend_on_the_seed_alone(sampler, tmp_path):
    if sampler is DPS and not takes(deepinv.sampling.DPS, "num_steps"):
        pytest.skip("this deepinv has another DPS")
    weights = tmp_path / "weights.pt"
    torch.save({"state_dict": TinyDenoiser().state_dict()}, weights)
    measurement = denoising(size=16)
    first, again, other = (
        reconstruct(sampler(TinyDenoiser(), str(weights), steps=5), measurement, seed) for seed in (3, 3, 4)
    )
    assert first.shape == measurement.initial.shape
    assert first.isfinite().all()
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)


class ReturnsTheStart(DiffusionSampler):
    """Keeps the data that it was given."""

    def sample(self, y: Tensor, physics: Any, sigma: float, start: Tensor, denoiser: nn.Module) -> Tensor:
        self.y, self.sigma = y, sigma
        return start


def test_samplers_see_images_from_0_to_1_and_data_of_such():
    measurement = matrix_measurement(value_range=(-1.0, 3.0), noise_level=0.2)
    sampler = ReturnsTheStart(TinyDenoiser(), "untrained")
    torch.testing.assert_close(reconstruct(sampler, measurement), measurement.initial)
    torch.testing.assert_close(sampler.y, measurement.physics.A((measurement.target + 1) / 4))
    assert sampler.sigma == pytest.approx(0.05)


def test_sampler_says_which_weights_are_missing(tmp_path):
    with pytest.raises(MeasurementError, match=r"absent\.pt do not exist"):
        reconstruct(DiffPIR(TinyDenoiser(), str(tmp_path / "absent.pt")), denoising())
    torch.save(TinyDenoiser(channels=2).state_dict(), tmp_path / "other.pt")
    with pytest.raises(MeasurementError, match="does not hold weights of TinyDenoiser"):
        reconstruct(DiffPIR(TinyDenoiser(), str(tmp_path / "other.pt")), denoising())


def test_grey_images_and_complex_ones_reach_networks_of_other_channels():
    colour = DiffPIR(TinyDenoiser(channels=3), "untrained", channels="grey_as_colour", steps=3)
    assert reconstruct(colour, denoising(size=16)).shape == (1, 1, 16, 16)
    two = denoising(size=16)
    image = two.initial.expand(-1, 2, -1, -1)
    two = Measurement(image, two.physics, image, ids=("c",), task="mri", value_range=None, magnitude=True)
    single = DiffPIR(TinyDenoiser(), "untrained", channels="one_by_one", steps=3)
    assert reconstruct(single, two).shape == image.shape


def test_ddrm_needs_a_decomposition():
    with pytest.raises(ConfigurationError, match="singular value decomposition"):
        reconstruct(DDRM(TinyDenoiser(), "untrained", steps=3), matrix_measurement())


def test_plug_and_play_reaches_the_fixed_point_of_a_linear_denoiser() -> None:
    """z = D((A^T A + m)^-1 (A^T y + m z)) with m = mu |A|^2 and D = 1 / (1 + s), the strength at its cap s."""

    class Shrink(nn.Module):
        def forward(self, x: Tensor, sigma: float) -> Tensor:
            return x / (1 + sigma)

    measurement = matrix_measurement()
    baseline = PlugAndPlay(Shrink(), strength=1e6, largest=0.3, weight=0.5, iterations=200, inner_iterations=50)
    image = reconstruct(baseline, measurement).flatten()
    matrix: Any = measurement.physics.matrix
    pull = 0.5 * squared_norm(measurement.physics, measurement.initial).item() * torch.eye(len(image)).double()
    expected = torch.linalg.solve(1.3 * (matrix.T @ matrix + pull) - pull, matrix.T @ measurement.y.flatten())
    torch.testing.assert_close(image, expected, rtol=1e-3, atol=1e-5)  # conjugate gradients end somewhat early
    assert baseline.settings["last_sigma"] == pytest.approx(0.3)
    with pytest.raises(ConfigurationError, match="iterations"):
        PlugAndPlay(iterations=0)


def test_nothing_looks_at_the_target():
    measurement = denoising(size=16)
    blind = Measurement(
        measurement.y, measurement.physics, measurement.y, ids=("s",), task="denoising", noise_level=0.1
    )
    for baseline in (
        Initial(),
        ConjugateGradient(),
        TotalVariation(iterations=5),
        PlugAndPlay(iterations=3),
        DeepinvDIP(2, channels=4, layers=4),
    ):
        torch.testing.assert_close(reconstruct(baseline, measurement), reconstruct(baseline, blind), rtol=0, atol=0)


def test_record_is_that_of_a_fit(tmp_path):
    fit = tmp_path / "fit"
    config = tmp_path / "fit.yaml"
    plan = load_plan(write_plan(tmp_path))
    config.write_text(json.dumps(next(iter(expand(plan))).tree))
    assert main(["fit", "--config", str(config), "--record.run_dir", str(fit)]) == 0
    tree = {"baseline": {"class_path": "TotalVariation", "init_args": {"iterations": 4}}, "data": DATA}
    run_baseline(tree, tmp_path / "tv", "TV", seed=0)
    ours = {path.name for path in (tmp_path / "tv").iterdir()}
    assert {"config.yaml", "metrics.csv", "reconstruction.h5", "summary.json", "preview.png"} <= ours
    expected, summary = (json.loads((path / "summary.json").read_text()) for path in (fit, tmp_path / "tv"))
    assert expected.keys() <= summary.keys()
    assert summary["psnr"].keys() == expected["psnr"].keys()
    assert summary["iterations"] == 4
    with h5py.File(tmp_path / "tv" / "reconstruction.h5") as one, h5py.File(fit / "reconstruction.h5") as other:
        assert set(one) == set(other)
        assert dict(one.attrs).keys() == dict(other.attrs).keys()
        np.testing.assert_array_equal(one["target"], other["target"])
    header = (tmp_path / "tv" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"iteration", "seconds", "loss", "psnr"} <= set(header)


def test_baselines_in_a_comparison(tmp_path):
    baselines = [
        "Initial",
        {"name": "TV", "class_path": "TotalVariation", "init_args": {"iterations": 3}},
        {
            "name": "DiffPIR",
            "class_path": "DiffPIR",
            "init_args": {
                "denoiser": {"class_path": f"{__name__}.TinyDenoiser"},
                "weights": str(tmp_path / "absent.pt"),
            },
        },
        {"name": "wrong", "class_path": "TotalVariation", "init_args": {"wieght": 3}},
    ]
    jobs = list(expand(load_plan(write_plan(tmp_path, methods=[], baselines=baselines, seeds=5))))
    assert [jobs.pop(3).seed for _ in range(4)] == [1, 2, 3, 4]
    assert len(jobs) == 4  # what is drawn from no seed is done once
    assert [execute(job) for job in jobs] == ["finished", "finished", "failed", "failed"]
    assert "absent.pt do not exist" in failure_text(jobs[2])
    assert "wieght" in failure_text(jobs[3])


class Half(Baseline):
    """A baseline with nothing to say of itself."""

    def reconstruct(self, measurement: Measurement, seed: int, watch: Any) -> Tensor:
        return measurement.initial / 2


def test_a_baseline_needs_no_more_than_reconstruct(tmp_path: Path):
    run_baseline({"baseline": {"class_path": f"{__name__}.Half"}, "data": DATA}, tmp_path, "half", 0, preview=False)
    assert json.loads((tmp_path / "summary.json").read_text())["settings"] == {"baseline": "Half"}


def test_a_class_that_is_no_baseline_is_told_of_what_to_be_a_subclass():
    with pytest.raises(Exception, match="does not correspond") as refused:
        parse_baseline({"baseline": {"class_path": "tests.support.TinyNetwork"}, "data": DATA})
    message = one_line(str(refused.value))
    assert message.endswith(
        "TinyNetwork is no Baseline. It must be a subclass of dip_lightning.compare.baselines.base.Baseline."
    )


def failure_text(job: Any) -> str:
    return json.loads((Path(job.folder) / "failure.json").read_text())["error"]


def test_time_that_a_gpu_still_works_is_the_baselines(monkeypatch):
    clock, pending = [0.0], [3.0]  # the GPU has three seconds to go when the image is shown

    def synchronize(device: torch.device) -> None:
        clock[0] += pending.pop() if pending else 0.0

    measurement = denoising()
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    watch = _Watch(measurement)
    watch.device = torch.device("cuda")
    watch(1, measurement.initial)
    assert watch.seconds == 0.0
    assert watch.rows.state_dict()["rows"][0][0]["seconds"] == 3.0


def test_pixels_that_no_coil_sees_are_zero_as_in_fits(monkeypatch, tmp_path):
    measurement = denoising()
    support = torch.ones_like(measurement.initial[:, :1])
    support[..., :3] = 0
    measurement.physics.register_buffer("image_support", support)

    class Shows(Initial):
        def reconstruct(self, measurement: Measurement, seed: int, watch: Any) -> Tensor:
            image = super().reconstruct(measurement, seed, watch)
            watch(1, image)
            return image

    monkeypatch.setattr("dip_lightning.compare.baselines.run._build", lambda tree: (Shows(), measurement))
    run_baseline({}, tmp_path, "shows", 0, preview=False)
    with h5py.File(tmp_path / "reconstruction.h5") as file:
        assert torch.equal(torch.as_tensor(file["estimate"][:]), (measurement.initial * support)[0].float())
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["psnr"]["estimate"] == pytest.approx(summary["psnr"]["oracle"])
