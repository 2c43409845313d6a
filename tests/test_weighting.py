"""Weighted data terms: their matrix, their power, and what they refuse."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from deepinv.physics import Denoising

from dip_lightning.callbacks import InputUpdate
from dip_lightning.data import Phantom
from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.losses import distance
from dip_lightning.inputs import InitialEstimate
from dip_lightning.measurement import Measurement
from dip_lightning.methods import DIP, DRPDIP, ASeqDIP, RethinkingDIP
from dip_lightning.physics import ParallelBeamCT
from dip_lightning.weighting import RampWeighting
from tests.support import TinyNetwork, fit, matrix_measurement


def sinogram(views: int = 5, detectors: int = 31) -> torch.Tensor:
    return torch.randn(2, 1, views, detectors, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_weighting_is_the_filter_that_it_says(power: float) -> None:
    residual = sinogram()
    detectors = residual.shape[-1]
    padded = torch.cat([residual, torch.zeros_like(residual)], -1)
    expected = torch.zeros_like(padded)
    frequencies = torch.fft.fftfreq(2 * detectors, dtype=torch.float64).abs() * 2
    response = frequencies.clamp_min(1 / detectors) ** (power / 2)
    half = response[: detectors + 1]
    response = response / half.square().mean().sqrt()
    bins = torch.arange(2 * detectors, dtype=torch.float64)
    for frequency in range(2 * detectors):  # the discrete Fourier transform, written out
        wave = torch.exp(-2j * torch.pi * frequency * bins / (2 * detectors))
        coefficient = (padded * wave).sum(-1, keepdim=True)
        expected += (response[frequency] * coefficient * wave.conj()).real / (2 * detectors)
    torch.testing.assert_close(RampWeighting(power)(residual), expected)


def test_white_noise_keeps_its_mean_power() -> None:
    noise = torch.randn(1, 1, 400, 180, generator=torch.Generator().manual_seed(1))
    assert RampWeighting(1.0)(noise).square().sum() == pytest.approx(float(noise.square().sum()), rel=0.02)


def test_data_term_is_the_distance_of_the_weighted_residual() -> None:
    data = Phantom(size=16, acquisition=ParallelBeamCT(views=6))
    data.setup("fit")
    measurement = data.measurement
    weighting = RampWeighting(1.0)
    method = DIP(network=TinyNetwork(), data_weighting=weighting, reduction="norm")
    estimate = measurement.initial + 0.1
    residual = weighting(measurement.physics.A(estimate) - measurement.y)
    expected = torch.linalg.vector_norm(residual.flatten(1), dim=1)
    torch.testing.assert_close(method.objective(estimate, measurement)["data"], expected)
    plain = DIP(network=TinyNetwork(), reduction="norm").objective(estimate, measurement)["data"]
    torch.testing.assert_close(plain, distance(measurement.physics.A(estimate), measurement.y, "norm"))


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0])
def test_white_noise_keeps_its_mean_square(power: float) -> None:
    """Its expectation is the mean over unit residuals in every bin, one in each member."""
    bins = torch.eye(64).view(64, 1, 1, 64)
    data = Measurement(torch.zeros_like(bins), Denoising(), bins, ids=tuple(map(str, range(64))), task="ct")
    plain, weighted = (
        DIP(network=TinyNetwork(), reduction="mse", data_weighting=weighting).data_distance(bins, data)
        for weighting in (None, RampWeighting(power))
    )
    assert weighted.mean() == pytest.approx(float(plain.mean()), rel=0.01)


def test_other_data_and_other_objectives_are_refused() -> None:
    options: dict[str, Any] = {"network": TinyNetwork(), "data_weighting": RampWeighting(), "outer_steps": 1}
    method = ASeqDIP(initial_input=InitialEstimate(), optimizer=partial(torch.optim.Adam, lr=1e-3), **options)
    with pytest.raises(ConfigurationError, match=r"sinograms.*model.data_weighting null"):
        fit(method, matrix_measurement(), [InputUpdate()])
    for kind in (DRPDIP, RethinkingDIP):
        with pytest.raises(ConfigurationError, match="data_weighting"):
            kind(**options)
    with pytest.raises(ConfigurationError, match="power"):
        RampWeighting(0.0)
