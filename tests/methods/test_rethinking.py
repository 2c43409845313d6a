"""Rethinking-DIP against its formula, with explicit matrices; what it needs; that it denoises."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import deepinv
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from dip_lightning.callbacks import HeldOutStopping, ZeroCrossing
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.measurement import Measurement
from dip_lightning.methods import RethinkingDIP
from dip_lightning.methods.start import NOISE_STREAM
from tests.methods.direct import DirectAdam, double_network, same_parameters
from tests.methods.test_battery import problem
from tests.support import MatrixPhysics, fit

LR = 1e-2


def options(**given: Any) -> dict[str, Any]:
    adam = partial(torch.optim.Adam, lr=LR)
    return {"network": double_network(), "optimizer": adam, "reinitialise": False, "seed": 5, "outer_steps": 3, **given}


def plain_loss(
    kind: str, network: Any, matrix: Tensor, y: Tensor, variance: Tensor, perturbed: Tensor, b: Tensor, h: float
) -> Tensor:
    """The loss from explicit Jacobians: data y' -> A f(A^T y')."""

    def predict(data: Tensor) -> Tensor:
        return matrix @ network((matrix.T @ data).reshape(1, 1, 6, 6)).reshape(-1)

    if kind == "exact":
        jacobian = torch.autograd.functional.jacobian(predict, perturbed, create_graph=True)
        divergence = (variance * b) @ jacobian @ b
    else:
        divergence = (variance * b) @ (predict(perturbed + h * b) - predict(perturbed)) / h
    m = y.numel()
    return ((predict(perturbed) - y).square().sum() - variance.sum() + 2 * divergence) / m


@pytest.mark.parametrize("model", ["gaussian", "poisson"])
@pytest.mark.parametrize("perturbation", [0.0, 0.5])
@pytest.mark.parametrize("kind", ["exact", "difference"])
def test_equals_the_direct_loop(kind: str, perturbation: float, model: str) -> None:
    sigma, gain, measurement, network = 0.05, 0.02, problem(), double_network()
    measurement = replace(measurement, y=measurement.y + 2.0)  # counts are not negative
    direct = copy.deepcopy(network)
    method = RethinkingDIP(
        divergence=kind, perturbation=perturbation, noise_model=model, gain=gain, difference_step=0.3,
        **options(network=network),
    )  # fmt: skip
    fit(method, measurement)

    matrix, y = measurement.physics.matrix, measurement.y[0]
    assert y.min() > 0
    variance = torch.full_like(y, sigma**2) if model == "gaussian" else gain * y
    draws, adam = MemberGenerators([5 + NOISE_STREAM]), DirectAdam([(list(direct.parameters()), LR)])
    for _ in range(3):
        perturbed = y
        if perturbation:
            s = perturbation * draws.uniform((1,), torch.float64)[0]
            perturbed = y + s * variance.sqrt() * draws.normal(y.shape, torch.float64)[0]
        b = draws.normal(y.shape, torch.float64)[0]
        loss = plain_loss(kind, direct, matrix, y, variance, perturbed, b, 0.3 * variance.mean().sqrt())
        adam.step(loss)
    assert torch.allclose(method.loss, loss.detach(), rtol=1e-9)
    same_parameters(network, direct)


def noisy_image(sigma: float = 0.1, **fields: Any) -> Measurement:
    ramp = torch.linspace(0, 1, 24)
    clean = (0.5 + 0.4 * torch.sin(9 * ramp)[:, None] * torch.cos(6 * ramp))[None, None]
    y = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    fields = {"noise_level": sigma, "target": clean, **fields}
    return Measurement(y=y, physics=deepinv.physics.Denoising(), initial=y, ids=("a",), task="denoising", **fields)


def half_missing(sigma: float = 0.1) -> Measurement:
    mask = (torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    plain = noisy_image(sigma)
    physics = deepinv.physics.Inpainting((1, 24, 24), mask=mask)
    return replace(plain, y=mask * plain.y, initial=mask * plain.y, physics=physics)


@pytest.mark.parametrize("kind", ["exact", "difference"])
def test_the_loss_estimates_the_error_and_the_image_gets_better(kind: str) -> None:
    measurement = noisy_image()
    method = RethinkingDIP(
        divergence=kind, probe="rademacher", **options(network=double_network().float(), outer_steps=200)
    )
    errors, losses = [], []

    class Errors(ZeroCrossing):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            errors.append((pl_module.last_output - measurement.target).square().mean().item())
            losses.append(pl_module.loss.item())

    fit(method, measurement, [Errors()])
    tail = slice(100, None)
    estimated, true = sum(losses[tail]) / 100, sum(errors[tail]) / 100
    assert true < 0.7 * 0.1**2
    assert estimated == pytest.approx(true, abs=0.25 * 0.1**2)


def test_masked_data_are_neither_counted_nor_given_noise() -> None:
    measurement = half_missing()
    mask = measurement.physics.mask
    method = RethinkingDIP(**options(network=double_network().float(), outer_steps=1))
    fit(method, measurement)
    assert method.variance(method.measurement).sum().item() == pytest.approx(mask.sum().item() * 0.01)
    assert not method.variance(method.measurement)[mask == 0].any()


def test_a_refit_counts_all_data_also_after_a_resume(tmp_path: Path) -> None:
    """The first pass is fitted without some of them: those are no data there, and data in the second."""
    measurement, path = half_missing(), tmp_path / "second.ckpt"

    class SaveInSecondPass(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            if rule.summary()["refitted"] and pl_module.outer_step == 1:
                trainer.save_checkpoint(path)

    def refit(*callbacks: pl.Callback, ckpt_path: str | None = None) -> RethinkingDIP:
        method = RethinkingDIP(**options(network=double_network().float(), outer_steps=4))
        fit(method, measurement, list(callbacks), ckpt_path=ckpt_path)
        return method

    rule = HeldOutStopping(0.2, refit=True)
    through = refit(rule, SaveInSecondPass())
    resumed = refit(HeldOutStopping(0.2, refit=True), ckpt_path=str(path))
    steps = rule.summary()["iteration"]
    fresh = RethinkingDIP(**options(network=double_network().float(), outer_steps=steps))
    fit(fresh, measurement)
    for method in (through, resumed, fresh):
        variance = method.variance(method.measurement)
        assert variance.sum().item() == pytest.approx(measurement.physics.mask.sum().item() * 0.01)
        assert torch.equal(method.last_output, fresh.last_output)


def test_in_mixed_precision_the_operator_stays_in_single_precision() -> None:
    measurement, seen = problem(), []

    class Watched(MatrixPhysics):
        def A(self, x: Tensor, **_: Any) -> Tensor:
            seen.append(super().A(x))
            return seen[-1]

        def A_adjoint(self, y: Tensor, **_: Any) -> Tensor:
            seen.append(super().A_adjoint(y))
            return seen[-1]

    physics = Watched(measurement.physics.matrix, measurement.image_shape)
    for kind in ("exact", "difference"):
        method = RethinkingDIP(divergence=kind, **options(network=double_network().float()))
        fit(method, replace(measurement, physics=physics).to("cpu", torch.float32), precision="bf16-mixed")
        assert method.last_output.isfinite().all()
    assert seen
    assert not [values for values in seen if values.dtype == torch.bfloat16]


def test_data_below_zero_have_no_poisson_noise() -> None:
    method = RethinkingDIP(noise_model="poisson", gain=0.02, **options())
    measurement = problem()
    assert measurement.y.min() < 0
    assert torch.equal(method.variance(measurement), 0.02 * torch.relu(measurement.y))


def test_says_what_it_needs() -> None:
    with pytest.raises(MeasurementError, match="needs the noise level"):
        fit(RethinkingDIP(**options(network=double_network().float())), noisy_image(noise_level=None))
    with pytest.raises(ConfigurationError, match="gain"):
        RethinkingDIP(network=double_network(), noise_model="poisson")
    with pytest.raises(ConfigurationError, match="reduction"):
        RethinkingDIP(network=double_network(), reduction="norm")
    with pytest.raises(ConfigurationError, match="divergence='exat'"):
        RethinkingDIP(network=double_network(), divergence="exat")  # type: ignore[arg-type]


def test_every_fit_takes_the_noise_level_of_its_measurement() -> None:
    method, first = RethinkingDIP(**options()), problem()
    fit(method, first)
    second = replace(first, noise_level=2 * first.noise_level)
    fit(method, second)
    assert float(method.variance(second).max()) == pytest.approx((2 * first.noise_level) ** 2)
