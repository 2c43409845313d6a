"""Self-guided, reference-guided, TV, SGLD and early-stopped DIP: each against its formula, and what it refuses."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from dip_lightning.callbacks import BestLoss, EarlyStoppingWMV, LearnedInput, PosteriorSamples
from dip_lightning.errors import ConfigurationError, MeasurementError, MissingCallbackError
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.functional.tv_prox import tv_prox
from dip_lightning.inputs import InitialEstimate, UniformNoise
from dip_lightning.methods import (
    DIP,
    ESDIP,
    SGLDDIP,
    TVDIP,
    RefGuidedDIP,
    SelfGuidedDIP,
    TVDIPSplitting,
    base,
    cuda_graph,
)
from dip_lightning.methods.start import NOISE_STREAM
from tests.methods.direct import REDUCTIONS, DirectAdam, double_network, same_parameters
from tests.methods.test_engine import FakeCapture
from tests.support import fit, matrix_measurement

LR = 1e-2
Adam = partial(torch.optim.Adam, lr=LR)


def options(**given: Any) -> dict[str, Any]:
    return {"network": double_network(), "optimizer": Adam, "reinitialise": False, "seed": 5, **given}


class Noises(pl.Callback):
    """Generators in the state that a fit of seed 5 starts with."""

    generators = property(lambda self: MemberGenerators([5 + NOISE_STREAM]))


# Self-guided -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("noise", ["uniform", "centred_uniform", "gaussian"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_selfguided_equals_the_direct_loop(reduction: str, noise: str, batched: bool) -> None:
    measurement, lr_z, alpha, rho, steps = matrix_measurement(), 0.05, 1.5, 0.5, 3
    network = double_network()
    direct = copy.deepcopy(network)
    method = SelfGuidedDIP(
        regularisation=alpha, noise=noise, noise_amplitude=rho, batched=batched, reduction=reduction,
        outer_steps=steps, **options(network=network),
    )  # fmt: skip
    fit(method, measurement, [LearnedInput(lr_z)])

    z = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(5)).double().requires_grad_()
    draws = Noises().generators
    adam = DirectAdam([(list(direct.parameters()), LR), ([z], lr_z)])
    for _ in range(steps):
        outputs = []
        for _ in range(3):
            if noise == "gaussian":
                eta = draws.normal((1, 6, 6), torch.float64)
            else:
                eta = draws.uniform((1, 6, 6), torch.float64) - (0.5 if noise == "centred_uniform" else 0)
            outputs.append(direct(z + rho * z.max() * eta))
        mean = sum(outputs) / 3
        data = REDUCTIONS[reduction](measurement.physics.matrix @ mean.reshape(-1) - measurement.y[0])
        guidance = alpha * REDUCTIONS[reduction](mean - z)
        adam.step(data + guidance)
    assert torch.allclose(method.last_output, mean.detach(), rtol=0, atol=1e-10)
    assert torch.allclose(method.stored_input, z.detach(), rtol=0, atol=1e-10)
    assert torch.allclose(method.terms["data"], data.detach(), rtol=1e-10)
    assert torch.allclose(method.terms["self_guidance"], guidance.detach(), rtol=1e-10)
    same_parameters(network, direct)


def test_selfguided_input_is_one_group_of_the_one_optimiser() -> None:
    method = SelfGuidedDIP(outer_steps=1, **options(optimizer=partial(torch.optim.Adam, lr=LR, weight_decay=0.3)))
    fit(method, matrix_measurement(), [LearnedInput(0.2)])
    weights, z = method.optimizers(use_pl_optimizer=False).param_groups
    assert (weights["lr"], weights["weight_decay"]) == (LR, 0.3)
    assert (z["lr"], z["weight_decay"]) == (0.2, 0.0)
    assert z["params"][0].data_ptr() == method.stored_input.data_ptr()
    assert not method.stored_input.requires_grad


def test_a_detached_amplitude_leaves_no_gradient_to_the_input() -> None:
    gradients = []
    for detach in (False, True):
        method = SelfGuidedDIP(outer_steps=1, detach_amplitude=detach, **options())
        fit(method, matrix_measurement(), [LearnedInput(0.2)])
        z = 4 * torch.rand(1, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 3
        eta = method.input_perturbation(z.requires_grad_())
        assert eta.min() >= 0
        assert eta.max() < 0.5 * z.max()  # not of the largest magnitude
        gradients.append(eta.requires_grad)
    assert gradients == [True, False]


def test_batch_norm_sends_the_draws_through_in_turn() -> None:
    norm = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))
    group = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Conv2d(4, 1, 1))
    assert not SelfGuidedDIP(network=norm).batched
    assert SelfGuidedDIP(network=group).batched


def test_selfguided_demands_a_learned_input_of_the_images_shape() -> None:
    with pytest.raises(MissingCallbackError, match="class_path: LearnedInput"):
        fit(SelfGuidedDIP(**options()), matrix_measurement())
    wide = SelfGuidedDIP(initial_input=UniformNoise(2), **options(network=double_network(2)))
    with pytest.raises(ConfigurationError, match="give the input"):
        fit(wide, matrix_measurement(), [LearnedInput()])


def test_any_method_can_have_its_input_learned() -> None:
    method = DIP(initial_input=UniformNoise(1), outer_steps=2, **options())
    fit(method, matrix_measurement(), [LearnedInput(0.1)])
    drawn = 0.1 * torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(5)).double()
    # Adam's steps are of the size of its rate.
    assert (method.stored_input - drawn).abs().max() == pytest.approx(0.2, rel=0.2)


def test_a_learned_input_may_be_moved_when_the_fit_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """As off a GPU: the trainer then moves every buffer before the last hook."""
    method = DIP(initial_input=UniformNoise(1), outer_steps=2, **options())
    monkeypatch.setattr(method, "cpu", lambda: method._apply(torch.clone))
    fit(method, matrix_measurement(), [LearnedInput(0.1)])
    assert method.stored_input.is_leaf
    assert not method.stored_input.requires_grad


# Reference-guided ------------------------------------------------------------------------------------------------


def reference() -> Tensor:
    return torch.rand(1, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("weight", [0.0, 0.4])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_refguided_equals_the_direct_loop(reduction: str, weight: float) -> None:
    measurement, network = matrix_measurement(reference=reference()), double_network()
    direct = copy.deepcopy(network)
    method = RefGuidedDIP(structure_weight=weight, reduction=reduction, outer_steps=3, **options(network=network))
    fit(method, measurement)
    adam, r = DirectAdam([(list(direct.parameters()), LR)]), reference()
    for _ in range(3):
        output = direct(r)
        loss = REDUCTIONS[reduction](measurement.physics.matrix @ output.reshape(-1) - measurement.y[0])
        if weight:
            d = (output - r)[0, 0]
            down, right = torch.zeros_like(d), torch.zeros_like(d)
            down[:-1], right[:, :-1] = d[1:] - d[:-1], d[:, 1:] - d[:, :-1]
            loss = loss + weight * REDUCTIONS[reduction](torch.stack([down, right]))
        adam.step(loss)
    assert torch.equal(method.stored_input, r)
    assert torch.allclose(method.loss, loss.detach(), rtol=1e-10)
    same_parameters(network, direct)


@pytest.mark.parametrize(
    ("image", "message"),
    [(None, "data.init_args.reference"), (torch.ones(1, 1, 5, 6), "size of the image"), (1e3, "scale it to")],
)
def test_refguided_refuses_a_reference_that_does_not_fit(image: Any, message: str) -> None:
    image = image * reference() if isinstance(image, float) else image
    image = image if image is None else image.double()
    with pytest.raises(MeasurementError, match=message):
        fit(RefGuidedDIP(**options()), matrix_measurement(reference=image))


# Total variation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tv_reduction", ["sum", "mean"])
@pytest.mark.parametrize("isotropic", [True, False])
def test_tvdip_equals_the_direct_loop(isotropic: bool, tv_reduction: str) -> None:
    measurement, network, weight = matrix_measurement(), double_network(), 0.02
    direct = copy.deepcopy(network)
    method = TVDIP(
        tv_weight=weight, tv_isotropic=isotropic, tv_reduction=tv_reduction, initial_input=InitialEstimate(),
        outer_steps=3, **options(network=network),
    )  # fmt: skip
    fit(method, measurement)
    adam = DirectAdam([(list(direct.parameters()), LR)])
    for _ in range(3):
        output = direct(measurement.initial)
        data = REDUCTIONS["mse"](measurement.physics.matrix @ output.reshape(-1) - measurement.y[0])
        image = output[0, 0]
        if isotropic:
            down = torch.cat([image[1:] - image[:-1], torch.zeros(1, 6)])
            right = torch.cat([image[:, 1:] - image[:, :-1], torch.zeros(6, 1)], 1)
            tv = (torch.sqrt(down**2 + right**2 + 1e-8) - 1e-4).sum()
        else:
            tv = image.diff(dim=0).abs().sum() + image.diff(dim=1).abs().sum()
        tv = weight * tv / (36 if tv_reduction == "mean" else 1)
        adam.step(data + tv)
    assert torch.allclose(method.terms["tv"], tv.detach(), rtol=1e-10)
    assert torch.allclose(method.terms["data"], data.detach(), rtol=1e-10)
    same_parameters(network, direct)


@pytest.mark.parametrize("reduction", ["mse", "sum"])
def test_tvdip_splitting_equals_the_direct_loop(reduction: str) -> None:
    measurement, network, weight, outer, inner = matrix_measurement(), double_network(), 0.02, 3, 4
    direct = copy.deepcopy(network)
    method = TVDIPSplitting(
        tv_weight=weight, beta_start=0.1, beta_end=0.9, initial_input=InitialEstimate(), reduction=reduction,
        outer_steps=outer, inner_steps=inner, **options(network=network),
    )  # fmt: skip
    fit(method, measurement)
    adam, w, output = DirectAdam([(list(direct.parameters()), LR)]), None, torch.empty(0)
    for k in range(outer):
        beta = (0.1, 0.3, 0.9)[k]
        if k:
            w = tv_prox(output, weight / (2 * beta))
        for _ in range(inner):
            output = direct(measurement.initial)
            loss = REDUCTIONS[reduction](measurement.physics.matrix @ output.reshape(-1) - measurement.y[0])
            if w is not None:
                loss = loss + beta * REDUCTIONS[reduction](output - w)
            adam.step(loss)
    assert torch.allclose(method.loss, loss.detach(), rtol=1e-9)
    same_parameters(network, direct)


def test_tvdip_splitting_refuses_norms() -> None:
    with pytest.raises(ConfigurationError, match="reduction='norm'"):
        TVDIPSplitting(network=double_network(), reduction="norm")


# SGLD ------------------------------------------------------------------------------------------------------------


def test_sglddip_equals_the_direct_loop() -> None:
    measurement, network, kappa, steps = matrix_measurement(), double_network(), 2.0, 4
    direct = copy.deepcopy(network)
    method = SGLDDIP(param_noise_sigma=kappa, initial_input=InitialEstimate(), outer_steps=2, inner_steps=2,
                     **options(network=network))  # fmt: skip
    fit(method, measurement)
    adam, draws = DirectAdam([(list(direct.parameters()), LR)]), Noises().generators
    for _ in range(steps):
        output = direct(measurement.initial)
        adam.step(REDUCTIONS["mse"](measurement.physics.matrix @ output.reshape(-1) - measurement.y[0]))
        with torch.no_grad():
            for parameter in (direct.first.weight, direct.last.weight):
                parameter += kappa * LR * draws.normal(parameter.shape, torch.float64)[0]
    assert torch.allclose(method.last_output, output.detach(), rtol=0, atol=1e-10)
    same_parameters(network, direct)


@pytest.mark.parametrize("gamma", [1.0, 0.1])
def test_sgld_noise_has_the_stated_variance_and_spares_other_parameters(gamma: float) -> None:
    """Also where a scheduler lowers the rate, here by ``gamma`` after half of the steps."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 40, 3, padding=1), nn.GroupNorm(4, 40), nn.Conv2d(40, 1, 3, padding=1))
    before = [parameter.detach().clone() for parameter in network.parameters()]
    lr, kappa, steps = 1e-3, 2.0, 10
    method = SGLDDIP(
        param_noise_sigma=kappa, network=network, initial_input=UniformNoise(1), reinitialise=False, outer_steps=steps,
        optimizer=partial(_NoStep, lr=lr), lr_scheduler=partial(StepLR, step_size=steps // 2, gamma=gamma), seed=1,
    )  # fmt: skip
    fit(method, matrix_measurement(), [LearnedInput(0.1)], precision="32-true")
    for parameter, old in zip(network.parameters(), before, strict=True):
        moved = (parameter.detach() - old) / (kappa * lr * (steps / 2 * (1 + gamma**2)) ** 0.5)
        if parameter.ndim == 4:
            assert moved.mean().abs() < 4 / moved.numel() ** 0.5
            assert moved.var().item() == pytest.approx(1, abs=4 * (2 / moved.numel()) ** 0.5)
        else:
            assert not moved.any()
    drawn = 0.1 * torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    assert torch.equal(method.stored_input, drawn)  # a learned input is no weight


class _NoStep(torch.optim.SGD):
    """An optimiser that computes gradients and does nothing with them."""

    def step(self, closure: Any = None) -> Any:
        return closure()


# Early stopping --------------------------------------------------------------------------------------------------


def test_esdip_demands_a_rule_that_stops() -> None:
    for callbacks in ([], [EarlyStoppingWMV(action="record")], [BestLoss()], [PosteriorSamples()]):
        with pytest.raises(MissingCallbackError, match="class_path: EarlyStoppingWMV"):
            fit(ESDIP(initial_input=UniformNoise(1), **options()), matrix_measurement(), callbacks)


def test_esdip_is_vanilla_dip_until_it_stops() -> None:
    one = ESDIP(initial_input=UniformNoise(1), outer_steps=6, **options())
    other = DIP(initial_input=UniformNoise(1), outer_steps=6, **options())
    fit(one, matrix_measurement(), [EarlyStoppingWMV(window=3, patience=100)])
    fit(other, matrix_measurement())
    assert torch.equal(one.last_output, other.last_output)


def test_a_reference_is_not_the_target() -> None:
    """The two tensors are not mixed up: without the target nothing changes, without the reference nothing works."""
    measurement = matrix_measurement(reference=reference())
    one, other = (RefGuidedDIP(structure_weight=0.2, outer_steps=2, **options()) for _ in range(2))
    fit(one, measurement)
    fit(other, replace(measurement, target=None))
    assert torch.equal(one.last_output, other.last_output)


# Captured steps --------------------------------------------------------------------------------------------------


class RestoresInput(FakeCapture):
    """A capture executes nothing: a learned input, too, is as it was before."""

    def capture(self, function: Any, generators: Any) -> Any:
        before = self.method.stored_input.detach().clone()
        replay = super().capture(function, generators)
        self.method.set_network_input(before)
        return replay


@pytest.mark.parametrize("kind", [TVDIP, ESDIP, RefGuidedDIP, SelfGuidedDIP])
def test_captured_steps_equal_eager_ones(kind: type[DIP], monkeypatch: pytest.MonkeyPatch) -> None:
    def build() -> Any:
        given = {} if kind in (RefGuidedDIP, SelfGuidedDIP) else {"initial_input": UniformNoise(1), "input_noise": 0.1}
        return kind(outer_steps=3, inner_steps=3, **given, **options())

    def callbacks() -> list[Any]:
        own = {ESDIP: [EarlyStoppingWMV(window=3)], SelfGuidedDIP: [LearnedInput(0.05)]}
        return own.get(kind, [])

    eager, replayed = build(), build()
    fit(eager, matrix_measurement(reference=reference()), callbacks())
    capture = RestoresInput(replayed)
    monkeypatch.setattr(cuda_graph, "_make_capturable", lambda optimizer, method: None)
    monkeypatch.setattr(base, "make_engine", lambda name, device: cuda_graph.CUDAGraph(capture))
    fit(replayed, matrix_measurement(reference=reference()), callbacks())
    assert capture.replays == 9 - cuda_graph.WARM_UP
    assert torch.equal(eager.last_output, replayed.last_output)
    assert torch.equal(eager.stored_input, replayed.stored_input)
