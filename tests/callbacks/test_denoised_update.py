"""Denoised input updates against their formula."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from deepinv.physics import Inpainting

from dip_lightning.callbacks import DenoisedInputUpdate, InputUpdate, OutputAveraging, ProximalInputUpdate
from dip_lightning.errors import ConfigurationError
from dip_lightning.inputs import InitialEstimate
from dip_lightning.methods import ASeqDIP
from dip_lightning.physics.masked import leave_out
from dip_lightning.physics.norm import squared_norm
from tests.callbacks.test_input_update import Inputs
from tests.support import Shrink, TinyNetwork, fit, matrix_measurement


def method() -> ASeqDIP:
    return ASeqDIP(
        network=TinyNetwork(),
        optimizer=partial(torch.optim.Adam, lr=1e-2),
        seed=0,
        outer_steps=4,
        inner_steps=2,
        initial_input=InitialEstimate(),
    )


def test_input_is_the_denoised_solution_and_the_strength_follows_the_residual() -> None:
    measurement, denoiser, inputs = matrix_measurement(), Shrink(), Inputs()
    update = DenoisedInputUpdate(denoiser, strength=0.7, largest=1e9, weight=0.3, iterations=20)
    fit(method(), measurement, [update, inputs])
    physics: Any = measurement.physics
    solve = ProximalInputUpdate(weight=0.3, iterations=20).solve
    assert len(inputs.rows) == 4
    for (stored, output), strength in zip(inputs.rows, denoiser.strengths, strict=True):
        rms = (physics.A(output) - measurement.y).square().mean().sqrt()
        expected = 0.7 * rms / squared_norm(physics, output).sqrt()
        assert strength == pytest.approx(expected.item(), rel=1e-12)
        torch.testing.assert_close(stored, Shrink()(solve(output, measurement), strength), rtol=1e-12, atol=1e-14)


def test_a_spread_weighs_data_and_output_by_their_errors() -> None:
    """Identity, noise s in the image: z = (y + m f) / (1 + m), m = (s / spread)^2, is the mean of two Gaussians."""
    physics = Inpainting(img_size=(1, 6, 6), mask=torch.ones(1, 1, 6, 6))
    y, output = torch.rand(2, 1, 6, 6), torch.rand(2, 1, 6, 6)
    both = replace(matrix_measurement(), y=y, physics=physics, initial=y)
    update = DenoisedInputUpdate(strength=1.0, largest=1e9, spread=0.2, iterations=3)
    noise = update.noise(output, both)
    torch.testing.assert_close(noise, (output - y).square().mean((1, 2, 3)).sqrt())
    inverse_variance = 1 / noise.square()[:, None, None, None]
    expected = (inverse_variance * y + output / 0.2**2) / (inverse_variance + 1 / 0.2**2)
    torch.testing.assert_close(update.solve(output, both, update.weight_for(noise)), expected)


def test_a_spread_takes_the_place_of_the_weight_in_a_fit() -> None:
    measurement, inputs = matrix_measurement(), Inputs()
    update = DenoisedInputUpdate(Shrink(), largest=1e9, weight=123.0, spread=0.3, iterations=20)
    fit(method(), measurement, [update, inputs])
    for stored, output in inputs.rows:
        strength = update.noise(output, measurement)
        weight = (strength / 0.3).square().item()
        solved = ProximalInputUpdate(weight=weight, iterations=20).solve(output, measurement)
        torch.testing.assert_close(stored, Shrink()(solved, strength.item()), rtol=1e-12, atol=1e-14)


def test_data_that_are_not_there_do_not_dilute_the_residual() -> None:
    measurement = matrix_measurement()
    mask = torch.ones_like(measurement.y)
    mask[:, ::2] = 0
    masked = replace(measurement, y=mask * measurement.y, physics=leave_out(measurement.physics, mask))
    physics: Any = masked.physics
    image = torch.ones_like(measurement.initial)
    residual = (physics.A(image) - masked.y)[mask.bool()]
    expected = residual.square().mean().sqrt() / squared_norm(physics, image).sqrt()
    strength = DenoisedInputUpdate(strength=1.0, largest=1e9).noise(image, masked)
    assert strength.item() == pytest.approx(expected.item(), rel=1e-12)


def test_each_member_is_denoised_by_its_own_residual() -> None:
    physics = Inpainting(img_size=(1, 6, 6), mask=torch.ones(1, 1, 6, 6))
    images = torch.rand(2, 1, 6, 6)
    both = replace(matrix_measurement(), y=torch.rand(2, 1, 6, 6), physics=physics, initial=images)
    strengths = DenoisedInputUpdate(largest=1e9).noise(images, both)
    for i in range(2):
        one = replace(both, y=both.y[i : i + 1], initial=images[i : i + 1])
        assert torch.equal(DenoisedInputUpdate(largest=1e9).noise(images[i : i + 1], one), strengths[i : i + 1])


def test_the_strength_is_capped() -> None:
    denoiser = Shrink()
    fit(method(), matrix_measurement(), [DenoisedInputUpdate(denoiser, strength=1e6, largest=0.05)])
    assert denoiser.strengths == pytest.approx([0.05] * 4)


@pytest.mark.parametrize("output", ["last", "average"])
def test_the_average_gives_the_residual_and_on_request_the_image(output: Any) -> None:
    measurement, denoiser = matrix_measurement(), Shrink()
    update = DenoisedInputUpdate(denoiser, largest=1e9, output=output)
    fitted = method()
    fit(fitted, measurement, [OutputAveraging(0.5), update])
    average = fitted.reports["average"]
    assert denoiser.strengths[-1] == pytest.approx(update.noise(average, measurement).item(), rel=1e-12)
    image = average if output == "average" else fitted.last_output
    expected = Shrink()(update.solve(image, measurement), denoiser.strengths[-1])
    torch.testing.assert_close(fitted.stored_input, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("output", ["last", "average"])
def test_the_estimate_has_its_share_of_the_new_input(output: Any) -> None:
    fitted = method()
    fit(fitted, matrix_measurement(), [OutputAveraging(0.5), DenoisedInputUpdate(Shrink(), share=0.7, output=output)])
    expected = 0.7 * fitted.stored_input + 0.3 * fitted.reports["average"]
    torch.testing.assert_close(fitted.estimate, expected, rtol=1e-12, atol=1e-14)
    whole, silent = method(), method()
    fit(whole, matrix_measurement(), [DenoisedInputUpdate(Shrink(), share=1.0, output="last")])
    assert torch.equal(whole.estimate, whole.stored_input)
    update, consistent = DenoisedInputUpdate(Shrink(), report=True, share=0.5, output=output), method()
    fit(consistent, matrix_measurement(), [OutputAveraging(0.5), update])
    solved = update.solve(consistent.reports["average"], consistent.measurement)
    torch.testing.assert_close(consistent.estimate, (solved + consistent.stored_input) / 2, rtol=1e-9, atol=1e-12)
    fit(silent, matrix_measurement(), [OutputAveraging(0.5), DenoisedInputUpdate(Shrink())])
    assert torch.equal(silent.estimate, silent.reports["average"])


def test_an_average_that_nobody_makes_is_refused_before_the_first_step() -> None:
    inputs = Inputs()
    with pytest.raises(ConfigurationError, match="OutputAveraging"):
        fit(method(), matrix_measurement(), [InputUpdate(output="average"), inputs])
    assert not inputs.rows


def test_without_a_denoiser_it_is_block_matching() -> None:
    fitted = method()
    measurement = matrix_measurement(size=16, rows=40)
    fit(fitted, measurement, [DenoisedInputUpdate(strength=2.0)])
    assert fitted.stored_input.isfinite().all()
    assert not torch.equal(fitted.stored_input, fitted.last_output)


@pytest.mark.parametrize(
    "wrong", [{"strength": 0.0}, {"largest": -1.0}, {"weight": 0.0}, {"output": "mean"}, {"share": 1.5}]
)
def test_impossible_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        DenoisedInputUpdate(**wrong)
