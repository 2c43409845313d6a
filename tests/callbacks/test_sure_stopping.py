"""Stein's estimate of a whole fit: the second fit is a fit, the estimate is the closed form where there is one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import deepinv
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, StepLR

from dip_lightning.callbacks import (
    DenoisedInputUpdate,
    HeldOutStopping,
    InputUpdate,
    LearnedInput,
    OutputAveraging,
    PosteriorSamples,
    ProximalInputUpdate,
    SUREStopping,
)
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.inputs import InitialEstimate, UniformNoise
from dip_lightning.measurement import Measurement
from dip_lightning.methods import DIP, SGLDDIP, ASeqDIP, BaseDIP, SelfGuidedDIP, TVDIPSplitting
from dip_lightning.physics import AdditiveGaussian, Deblurring, GaussianKernel
from dip_lightning.physics.masked import leave_out
from tests.methods.test_battery import SaveAt, problem, same
from tests.support import Shrink, TinyNetwork, complex_measurement, fit, matrix_measurement

Adam = partial(torch.optim.Adam, lr=2e-2)
KINDS: dict[str, tuple[type[BaseDIP], dict[str, Any], list[Any]]] = {
    "dip": (DIP, {"initial_input": UniformNoise(1), "input_noise": 0.1}, []),
    "scheduled": (DIP, {"initial_input": UniformNoise(1), "lr_scheduler": partial(StepLR, step_size=3, gamma=0.5)}, []),
    "momentum in a cycle": (
        DIP,
        {"initial_input": UniformNoise(1), "lr_scheduler": partial(OneCycleLR, max_lr=0.05, total_steps=10)},
        [],
    ),
    "momentum to and fro": (
        DIP,
        {
            "initial_input": UniformNoise(1),
            "optimizer": partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
            "lr_scheduler": partial(CyclicLR, base_lr=1e-3, max_lr=1e-2, step_size_up=3),
        },
        [],
    ),
    "from the data": (DIP, {"initial_input": InitialEstimate()}, []),
    "aseqdip": (ASeqDIP, {"initial_input": InitialEstimate("minmax")}, [InputUpdate]),
    "sgld": (SGLDDIP, {"initial_input": UniformNoise(1)}, []),
    "selfguided": (SelfGuidedDIP, {}, [LearnedInput]),
}


def measurement() -> Measurement:
    return replace(problem(), make_initial=lambda y, physics: physics.A_adjoint(y))


def method(kind: type[BaseDIP], **options: Any) -> BaseDIP:
    return kind(
        **{"network": TinyNetwork(), "optimizer": Adam, "outer_steps": 5, "inner_steps": 2, "seed": 3, **options}
    )


@pytest.mark.parametrize("name", KINDS)
def test_the_second_fit_is_the_fit_of_the_shifted_data(name: str) -> None:
    kind, options, callbacks = KINDS[name]
    rule, followed, alone = SUREStopping(), method(kind, **options), method(kind, **options)
    fit(followed, measurement(), [rule, *(callback() for callback in callbacks)])
    plain = method(kind, **options)
    fit(plain, measurement(), [callback() for callback in callbacks])
    followed.reports.clear()  # what was selected
    same(plain, followed)  # being followed changes nothing

    shifted = measurement()
    y = shifted.y + 0.05 * rule._probe
    fit(
        alone,
        replace(shifted, y=y, initial=shifted.physics.A_adjoint(y)),
        [callback() for callback in callbacks],
    )
    assert torch.equal(rule._twin.output, alone.last_output)


def test_the_statistic_is_the_formula() -> None:
    values, followed, rule = [], method(DIP, initial_input=UniformNoise(1)), SUREStopping(0.1, step=0.5)

    class Compute(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            matrix, y, b = pl_module.measurement.physics.matrix, pl_module.measurement.y[0], rule._probe[0]
            x, twin = pl_module.last_output.reshape(-1), rule._twin.output.reshape(-1)
            divergence = b @ (matrix @ twin - matrix @ x) / (0.5 * 0.1)
            m = len(y)
            risk = ((matrix @ x - y).square().sum() - m * 0.01 + 2 * 0.01 * divergence) / m
            values.append((risk.item(), pl_module.record["stop_statistic"].item()))

    fit(followed, measurement(), [rule, Compute()])
    assert rule._probe.abs().eq(1).all()
    assert len(values) == 5
    for direct, recorded in values:
        assert recorded == pytest.approx(direct, rel=1e-9)
    best = min(range(5), key=lambda k: values[k][0])
    assert rule.summary()["iteration"] == 2 * (best + 1)


def test_a_linear_fit_has_the_closed_form_divergence() -> None:
    """Gradient descent on a linear network is a linear map H of the data, written out here."""
    clean = matrix_measurement(size=5)
    network = nn.Conv2d(1, 1, 3, padding=1, bias=False).double()
    nn.init.zeros_(network.weight)
    matrix, y, step, steps, sigma = clean.physics.matrix, clean.y[0], 0.05, 8, 0.1
    z = torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(0)).double()
    jacobian = matrix @ nn.functional.unfold(z, 3, padding=1)[0].T
    weights = torch.zeros(9, len(y), dtype=torch.float64)  # theta as a linear map of y
    for _ in range(steps):
        predicted, weights = jacobian @ weights, weights - 2 * step * jacobian.T @ (jacobian @ weights - torch.eye(20))
    rule = SUREStopping(sigma, step=0.3, action="record")
    dip = DIP(
        network=network, initial_input=UniformNoise(1, 1.0), optimizer=partial(torch.optim.SGD, lr=step),
        reduction="sum", outer_steps=steps, reinitialise=False, seed=0,
    )  # fmt: skip
    record: list[float] = []

    class Keep(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            record.append(pl_module.record["stop_statistic"].item())

    fit(dip, clean, [rule, Keep()])
    # The last output is that of the weights before the last step.
    residual, b = predicted @ y - y, rule._probe[0]
    expected = (residual.square().sum() - 20 * sigma**2 + 2 * sigma**2 * b @ predicted @ b) / 20
    assert record[-1] == pytest.approx(expected.item(), rel=1e-8)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_resumes_with_its_second_fit(name: str, average: bool, tmp_path: Path) -> None:
    kind, options, callbacks = KINDS[name]

    def hooks() -> list[Any]:
        return [*(callback() for callback in callbacks), *([OutputAveraging(0.8)] if average else [])]

    path, rules = tmp_path / "last.ckpt", [SUREStopping(), SUREStopping()]
    through, resumed = method(kind, **options), method(kind, **options)
    fit(through, measurement(), [*hooks(), rules[0], SaveAt(3, path)])
    fit(resumed, measurement(), [*hooks(), rules[1]], ckpt_path=str(path))
    same(through, resumed)
    assert rules[0].summary() == rules[1].summary()
    assert torch.equal(rules[0]._twin.output, rules[1]._twin.output)


UPDATES: dict[str, list[Any]] = {
    "averaged": [partial(OutputAveraging, 0.8), InputUpdate],
    "average as input": [partial(OutputAveraging, 0.8), partial(InputUpdate, output="average")],
    "proximal": [partial(OutputAveraging, 0.8), partial(ProximalInputUpdate, report=True)],
    "denoised": [partial(DenoisedInputUpdate, Shrink(), report=True)],
    "denoised share": [partial(OutputAveraging, 0.8), partial(DenoisedInputUpdate, Shrink(), share=0.7)],
}


@pytest.mark.parametrize("name", UPDATES)
def test_the_second_fit_has_averages_and_inputs_of_its_own(name: str) -> None:
    """Both fits are those that would be made without the rule, and it compares what they would report."""

    def run(data: Measurement, *rules: Any) -> BaseDIP:
        made = method(ASeqDIP, initial_input=InitialEstimate("minmax"))
        fit(made, data, [*(make() for make in UPDATES[name]), *rules])
        return made

    rule = SUREStopping(action="record")
    followed, plain = run(measurement(), rule), run(measurement())
    followed.reports.pop("recorded_sure")
    same(plain, followed)
    shifted = measurement()
    y = shifted.y + 0.05 * rule._probe
    alone = run(replace(shifted, y=y, initial=shifted.physics.A_adjoint(y)))
    assert torch.equal(rule._twin.output, alone.last_output)
    assert torch.equal(rule._twin.estimate, alone.current_estimate)
    predicted, b = plain.measurement.physics.A(plain.current_estimate), rule._probe
    divergence = (b * (plain.measurement.physics.A(alone.current_estimate) - predicted)).sum() / 0.05
    risk = ((predicted - plain.measurement.y).square().sum() + 0.05**2 * (2 * divergence - 20)) / 20
    assert followed.record["stop_statistic"].item() == pytest.approx(risk.item(), rel=1e-9)


@pytest.mark.parametrize("update", [ProximalInputUpdate(report=True), DenoisedInputUpdate(Shrink(), share=0.5)])
def test_an_update_that_makes_the_estimate_comes_before(update: Any) -> None:
    callbacks = [SUREStopping(), update]
    with pytest.raises(ConfigurationError, match="put it before SUREStopping"):
        fit(method(ASeqDIP, initial_input=InitialEstimate()), measurement(), callbacks)


@pytest.mark.parametrize("corrected", [False, True])
def test_averaged_outputs_have_averaged_differences(corrected: bool) -> None:
    rule, w, outputs = SUREStopping(), 0.8, []

    class Keep(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            outputs.append(rule._twin.output)

    followed = method(DIP, initial_input=UniformNoise(1), inner_steps=1)
    fit(followed, measurement(), [OutputAveraging(w, corrected), rule, Keep()])
    weights = [w**4, *((1 if corrected else 1 - w) * w**past for past in (3, 2, 1, 0))]
    twin = sum(weight * output for weight, output in zip(weights, outputs, strict=True)) / sum(weights)
    assert torch.allclose(rule._twin.estimate, twin, atol=1e-12)


def test_data_that_were_not_measured_are_neither_probed_nor_counted() -> None:
    whole, kept = measurement(), torch.ones(1, 20, dtype=torch.float64)
    kept[0, ::3] = 0
    masked = replace(whole, y=kept * whole.y, physics=leave_out(whole.physics, kept))
    rule, followed = SUREStopping(0.1), method(DIP, initial_input=UniformNoise(1), outer_steps=1, inner_steps=1)
    fit(followed, masked, [rule])
    assert torch.equal(rule._probe.abs(), kept)
    data, twin = (masked.physics.A(output) for output in (followed.last_output, rule._twin.output))
    m = kept.sum()
    risk = (data - masked.y).square().sum() / m - 0.01 + 2 * 0.01 * (rule._probe * (twin - data)).sum() / 0.1 / m
    assert followed.record["stop_statistic"].item() == pytest.approx(risk.item(), rel=1e-9)


def test_beside_held_out_data_the_second_fit_starts_from_what_is_left() -> None:
    """From the first image of the shifted data, made as the first fit's was."""
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    acquisition = Deblurring(GaussianKernel(1.0), "valid", AdditiveGaussian(10))
    rule, followed = SUREStopping(), method(DIP, initial_input=InitialEstimate())
    fit(followed, acquisition.simulate(image, ["a"], [0]), [HeldOutStopping(0.1, action="record"), rule])
    left = followed.measurement
    y = left.y + rule._sigma * rule._probe
    alone = method(DIP, initial_input=InitialEstimate())
    fit(alone, replace(left, y=y, initial=left.make_initial(y, left.physics)), [])
    assert not torch.equal(alone.stored_input, followed.stored_input)
    assert torch.equal(rule._twin.output, alone.last_output)


def test_follows_the_error_of_a_denoised_image() -> None:
    ramp = torch.linspace(0, 1, 24)
    clean = (0.5 + 0.4 * torch.sin(9 * ramp)[:, None] * torch.cos(6 * ramp))[None, None]
    y = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = Measurement(
        y=y, physics=deepinv.physics.Denoising(), initial=y, ids=("a",), task="denoising", noise_level=0.1, target=clean
    )
    rule, errors, risks = SUREStopping(patience=10**6), [], []

    class Errors(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            errors.append((pl_module.current_estimate - clean).square().mean().item())
            risks.append(pl_module.record["stop_statistic"].item())

    dip = method(DIP, network=TinyNetwork(8, width=16), initial_input=UniformNoise(8, 1.0), outer_steps=150)
    fit(dip, noisy, [OutputAveraging(0.9), rule, Errors()])
    late = slice(50, None)
    gap = [risk - error for risk, error in zip(risks[late], errors[late], strict=True)]
    assert max(map(abs, gap)) < 0.3 * 0.1**2
    assert errors[rule.summary()["iteration"] // 2 - 1] < min(errors) + 0.1 * 0.1**2


@pytest.mark.parametrize(
    ("kind", "callbacks", "message"),
    [(TVDIPSplitting, [], "more than weights and input"), (DIP, [PosteriorSamples()], "not PosteriorSamples")],
)
def test_says_what_it_cannot_follow(kind: type[BaseDIP], callbacks: list[Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        fit(method(kind, initial_input=UniformNoise(1)), measurement(), [SUREStopping(), *callbacks])


class Scaled(DIP):
    """Trains a factor beside the network."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.factor = nn.Parameter(torch.ones(()))

    def trained_parameters(self) -> list[Any]:
        return [*super().trained_parameters(), self.factor]


def test_a_method_that_trains_something_else_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="trains more than"):
        fit(method(Scaled, initial_input=UniformNoise(1)), measurement(), [SUREStopping()])


def test_complex_data_are_refused() -> None:
    data = complex_measurement(noise_level=0.1)
    with pytest.raises(ConfigurationError, match="takes real data"):
        fit(method(DIP, initial_input=UniformNoise(1)), data, [SUREStopping()], precision="64-true")


def test_needs_a_noise_level() -> None:
    with pytest.raises(MeasurementError, match="SUREStopping needs the noise level"):
        fit(method(DIP, initial_input=UniformNoise(1)), replace(measurement(), noise_level=None), [SUREStopping()])
