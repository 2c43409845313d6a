"""Noise has the statistics, and the units, that it says."""

from __future__ import annotations

import math

import pytest
import torch

from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.physics import NoNoise, ParallelBeamCT, PoissonCounts, RelativeGaussian

CLEAN = torch.cat([torch.full((1, 1, 200, 250), 2.0), torch.full((1, 1, 200, 250), -3.0)])


def test_no_noise():
    noisy, level = NoNoise()(CLEAN, MemberGenerators([0, 1]))
    assert noisy is CLEAN
    assert level == 0


def test_relative_gaussian_has_its_own_level_for_each_member():
    noisy, level = RelativeGaussian(0.05)(CLEAN, MemberGenerators([0, 1]))
    deviations = (noisy - CLEAN).flatten(1).std(1)
    torch.testing.assert_close(deviations, torch.tensor([0.1, 0.15]), rtol=0.02, atol=0)
    assert level is None
    alone, level = RelativeGaussian(0.05)(CLEAN[1:], MemberGenerators([1]))
    assert torch.equal(alone[0], noisy[1])
    assert level == pytest.approx(0.15)


def test_poisson_counts_have_mean_and_variance_of_photon_noise():
    mu, length = 0.02, 50.0
    clean = torch.full((1, 1, 300, 300), length)
    noisy, level = PoissonCounts(photons=4096, mu_max=mu)(clean, MemberGenerators([3]))
    counts = 4096 * math.exp(-mu * length)
    assert level is None
    assert noisy.dtype == torch.float32
    assert float(noisy.mean()) == pytest.approx(length, rel=2e-3)
    assert float((mu * noisy).var()) == pytest.approx(1 / counts, rel=0.03)


def test_no_photon_counts_as_a_tenth():
    noisy, _ = PoissonCounts(photons=10, mu_max=1.0)(torch.full((1, 1, 4, 4), 100.0), MemberGenerators([0]))
    torch.testing.assert_close(noisy, torch.full_like(noisy, math.log(10 / 0.1)))


def test_photon_noise_does_not_depend_on_the_units_of_the_data():
    image = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    mu = 0.05
    options = {"views": 6, "pixel_size": 2.0}
    settings = [
        {"noise": PoissonCounts(mu_max=mu)},
        {"noise": PoissonCounts(), "attenuation": mu},
        {"noise": PoissonCounts(), "attenuation": mu, "pixel_units": False},
        {"noise": PoissonCounts(mu_max=mu), "pixel_units": False},
        {"noise": PoissonCounts(mu_max=mu), "attenuation": 3 * mu},  # what the noise itself says counts
    ]
    in_mm = []
    for setting in settings:
        acquisition = ParallelBeamCT(**options, **setting)
        in_mm.append(acquisition.simulate(image, ["a"], [5]).y / acquisition.scale)
    for other in in_mm[1:]:
        torch.testing.assert_close(other, in_mm[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RelativeGaussian(-0.1), "relative=-0.1"),
        (lambda: RelativeGaussian(float("nan")), "relative=nan"),
        (lambda: PoissonCounts(photons=0), "photons=0"),
        (lambda: PoissonCounts(mu_max=-1.0), "mu_max=-1.0"),
    ],
)
def test_settings_out_of_range(build, message):
    with pytest.raises(ConfigurationError, match=message):
        build()
