"""Filtered back-projection returns the image, in absolute values, from every kind of scan."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dip_lightning.errors import ConfigurationError
from dip_lightning.physics import RayTransform, filtered_back_projection
from dip_lightning.physics.coverage import ray_weights
from dip_lightning.physics.fbp import FBPFilter, filter_views
from tests.physics.scans import Blob, fan, parallel, relative_error

BLOB = Blob(centre=(3.0, -4.0), sigma=2.5)


def shuffled(geometry):
    order = np.random.default_rng(0).permutation(len(geometry.angles))
    return dataclasses.replace(geometry, angles=tuple(geometry.angles[i] for i in order))


def uneven(geometry, span):
    return dataclasses.replace(geometry, angles=tuple(np.random.default_rng(1).random(300) * span))


SCANS = {
    "parallel": parallel(views=90),
    "parallel, full turn": parallel(views=90, span=360.0),
    "parallel, full turn, last view repeated": parallel(views=91, span=360.0 * 91 / 90),
    "parallel, 220 degrees": parallel(views=110, span=220.0),
    "parallel, shuffled": shuffled(parallel(views=90)),
    "parallel, uneven": uneven(parallel(), 180.0),
    "parallel, fine detector": parallel(views=90, detectors=200, detector_spacing=0.3),
    "parallel, detector as wide as the object": parallel(views=90, detectors=33, detector_spacing=0.8),
    "fan, detector as wide as the object": fan(views=180, detectors=41),
    "parallel, full turn, offset detector": parallel(views=180, span=360.0, detectors=50, detector_offset=8.0),
    "fan": fan(views=180),
    "fan, clockwise": fan(views=180, span=-360.0),
    "fan, uneven": uneven(fan(), 360.0),
    "fan, short scan": fan(views=130, span=260.0),
    "fan, offset detector": fan(views=180, detectors=50, detector_offset=12.0),
    "fan, virtual detector": fan(views=180, source_detector=60.0, detector_spacing=0.7),
}


@pytest.mark.parametrize("geometry", SCANS.values(), ids=SCANS.keys())
def test_absolute_values_from_exact_line_integrals(geometry):
    image = filtered_back_projection(BLOB.line_integrals(geometry), geometry)
    expected = BLOB.image(geometry)
    assert relative_error(image, expected) < 0.03
    assert abs(float((image * expected).sum() / expected.square().sum()) - 1) < 0.01


def test_rays_far_from_the_central_one_are_weighted_by_their_cosine():
    geometry = fan(source_origin=36.0, source_detector=60.0, detectors=161, views=360)
    blob = Blob(centre=(12.0, -9.0))
    assert (
        relative_error(filtered_back_projection(blob.line_integrals(geometry), geometry), blob.image(geometry)) < 0.02
    )


def test_detail_finer_than_a_pixel_is_left_out():
    geometry = parallel(detectors=200, detector_spacing=0.3)
    y = torch.cos(0.8 * torch.pi * torch.arange(200.0)).expand(1, 1, len(geometry.angles), -1)
    assert filtered_back_projection(y, geometry).abs().max() < 0.05


def test_units_follow_the_operator():
    geometry = parallel(views=90)
    for scale in (1.0, 1 / geometry.pixel_size, 0.05):
        physics = RayTransform(geometry, scale)
        image = BLOB.image(geometry).repeat(2, 1, 1, 1)
        assert relative_error(physics.A_dagger(physics.A(image)), image) < 0.03


@pytest.mark.parametrize("geometry", [parallel(views=20, span=60.0), fan(views=20, span=60.0)], ids=["parallel", "fan"])
def test_limited_angle_counts_every_ray_once(geometry):
    weights = ray_weights(geometry)
    np.testing.assert_allclose(weights.sum(0), np.deg2rad(60.0), rtol=1e-12)
    assert torch.isfinite(filtered_back_projection(BLOB.line_integrals(geometry), geometry)).all()


@pytest.mark.parametrize("span", [180.0, 360.0])
@pytest.mark.parametrize("views", [1, 2, 3, 7, 30])
def test_weights_of_even_parallel_scans_are_even_and_sum_to_half_a_turn(views, span):
    weights = ray_weights(parallel(views=views, span=span))
    np.testing.assert_allclose(weights, np.pi / views, rtol=1e-9)


def test_weights_of_short_fan_scan_count_every_line_once():
    # Every line that crosses the object is seen from one side or, blended, from both.
    geometry = fan(views=720, span=270.0, start=0.0)
    weights = ray_weights(geometry)
    theta = np.mod(np.asarray(geometry.angles)[:, None] - np.rad2deg(geometry.fan_angles()), 180.0)
    for column in (20, 41, 60):  # a bin and the mirrored one hold the lines at the same distance
        pair = np.concatenate([weights[:, column], weights[:, 82 - column]])
        at = np.concatenate([theta[:, column], theta[:, 82 - column]])
        per_degree, _ = np.histogram(at, bins=36, range=(0, 180), weights=pair)
        expected = 2 * np.deg2rad(5.0)
        np.testing.assert_allclose(per_degree, expected, rtol=0.15)


def test_filter_is_the_exact_discrete_ramp():
    impulse = torch.zeros(1, 9, dtype=torch.float64)
    impulse[0, 4] = 1
    n = torch.arange(-4, 5, dtype=torch.float64)
    expected = torch.where(n % 2 != 0, -1 / (torch.pi * n) ** 2, torch.zeros_like(n))
    expected[4] = 0.25
    torch.testing.assert_close(filter_views(impulse)[0], expected, rtol=0, atol=1e-12)
    far = filter_views(torch.eye(16, dtype=torch.float64))  # from one end to the other, not around the corner
    assert far[0, 15].item() == pytest.approx(-1 / (15 * np.pi) ** 2)
    assert far[15, 1].item() == pytest.approx(0, abs=1e-12)


def test_windows_order_by_how_much_they_smooth():
    impulse = torch.zeros(1, 65)
    impulse[0, 32] = 1
    peaks = [float(filter_views(impulse, name)[0, 32]) for name in ("ram-lak", "shepp-logan", "cosine", "hann")]
    assert peaks == sorted(peaks, reverse=True)
    assert float(filter_views(impulse, cutoff=0.5)[0, 32]) == pytest.approx(peaks[0] / 4, rel=0.05)


@pytest.mark.parametrize(
    ("name", "window"), [("ram-lak", 1.0), ("shepp-logan", 2**1.5 / np.pi), ("cosine", 0.5**0.5), ("hann", 0.5)]
)
def test_windows_at_half_the_nyquist_frequency(name: FBPFilter, window: float) -> None:
    wave = torch.tensor([1.0, 0.0, -1.0, 0.0], dtype=torch.float64).repeat(256)
    middle = slice(400, 600)  # far from the ends, where the wave breaks off
    torch.testing.assert_close(filter_views(wave, name)[middle], 0.25 * window * wave[middle], rtol=0, atol=1e-3)


def test_unknown_filter_and_frequency():
    geometry = parallel()
    y = BLOB.line_integrals(geometry)
    with pytest.raises(ConfigurationError, match="Did you mean 'shepp-logan'"):
        filtered_back_projection(y, geometry, "sheplogan")
    with pytest.raises(ConfigurationError, match=r"frequency_scaling=1\.5"):
        filtered_back_projection(y, geometry, frequency_scaling=1.5)


def test_differentiable():
    geometry = fan(shape=(5, 4), views=5, detectors=9, detector_spacing=2.0)
    y = torch.rand(1, 1, 5, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda data: filtered_back_projection(data, geometry), y)
