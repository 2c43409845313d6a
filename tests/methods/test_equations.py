"""Each method against a direct float64 loop written from its formula."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from dip_lightning.callbacks import DataConsistentInputUpdate, InputUpdate
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.inputs import InitialEstimate, UniformNoise
from dip_lightning.methods import DIP, ASeqDIP
from dip_lightning.methods.start import NOISE_STREAM
from dip_lightning.penalties import TotalVariation
from tests.support import TinyNetwork, fit, matrix_measurement

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "norm": lambda d: (d * d).sum().sqrt(),
    "mse": lambda d: (d * d).sum() / d.numel(),
    "sum": lambda d: (d * d).sum(),
}
LR, BETA1, BETA2, EPS = 1e-2, 0.9, 0.999, 1e-8


class PlainAdam:
    """Adam from its paper (arXiv 1412.6980), parameter by parameter."""

    def __init__(self, network: nn.Module) -> None:
        self.parameters = list(network.parameters())
        self.m = [torch.zeros_like(p) for p in self.parameters]
        self.v = [torch.zeros_like(p) for p in self.parameters]
        self.t = 0

    def step(self, loss: Tensor) -> None:
        self.t += 1
        gradients = torch.autograd.grad(loss, self.parameters)
        with torch.no_grad():
            for p, g, m, v in zip(self.parameters, gradients, self.m, self.v, strict=True):
                m.mul_(BETA1).add_((1 - BETA1) * g)
                v.mul_(BETA2).add_((1 - BETA2) * g * g)
                p -= LR * (m / (1 - BETA1**self.t)) / ((v / (1 - BETA2**self.t)).sqrt() + EPS)


def double_network(in_channels: int = 1) -> nn.Module:
    torch.manual_seed(3)
    return TinyNetwork(in_channels).double()


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_dip_equals_the_direct_loop(reduction: str, noise: float) -> None:
    measurement = matrix_measurement()
    network = double_network(2)
    direct = copy.deepcopy(network)
    method = DIP(
        network=network,
        initial_input=UniformNoise(channels=2, scale=0.1),
        optimizer=partial(torch.optim.Adam, lr=LR),
        reduction=reduction,
        input_noise=noise,
        outer_steps=2,
        inner_steps=3,
        reinitialise=False,
        seed=5,
    )
    fit(method, measurement)

    z, draws = method.stored_input.clone(), MemberGenerators([5 + NOISE_STREAM])
    matrix, adam, size = measurement.physics.matrix, PlainAdam(direct), measurement.initial.shape
    for _ in range(6):
        output = direct(z + noise * draws.normal(z.shape[1:], torch.float64))
        loss = REDUCTIONS[reduction](matrix @ output.reshape(-1) - measurement.y[0])
        adam.step(loss)
    assert torch.allclose(method.last_output, output.detach().reshape(size), rtol=0, atol=1e-10)
    assert torch.allclose(method.loss, loss.detach(), rtol=1e-10, atol=0)
    for ours, theirs in zip(network.parameters(), direct.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)


def plain_update(output: Tensor, direct: nn.Module, z: Tensor, matrix: Tensor, y: Tensor) -> Tensor:
    return output


def recomputed_update(output: Tensor, direct: nn.Module, z: Tensor, matrix: Tensor, y: Tensor) -> Tensor:
    return direct(z).detach()


def consistent_update(output: Tensor, direct: nn.Module, z: Tensor, matrix: Tensor, y: Tensor) -> Tensor:
    return output + (matrix.T @ (y - matrix @ output.reshape(-1))).reshape(output.shape)


def projected_update(output: Tensor, direct: nn.Module, z: Tensor, matrix: Tensor, y: Tensor) -> Tensor:
    residual = y - matrix @ output.reshape(-1)
    return output + (torch.linalg.pinv(matrix) @ residual).reshape(output.shape)


UPDATES = {
    "plain": (lambda: InputUpdate(), plain_update, 1e-10),
    "recomputed": (lambda: InputUpdate(output="recomputed"), recomputed_update, 1e-10),
    "adjoint": (lambda: DataConsistentInputUpdate(correction="adjoint"), consistent_update, 1e-10),
    # deepinv's pseudo-inverse iterates to its own tolerance
    "pseudo_inverse": (lambda: DataConsistentInputUpdate(correction="pseudo_inverse"), projected_update, 1e-3),
}


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_aseqdip_equals_the_direct_loop(reduction: str, update: str) -> None:
    measurement = matrix_measurement()
    callback, formula, tolerance = UPDATES[update]
    network = double_network()
    direct = copy.deepcopy(network)
    weight, outer_steps, inner_steps = 0.7, 3, 4
    method = ASeqDIP(
        regularisation=weight,
        network=network,
        initial_input=InitialEstimate(),
        optimizer=partial(torch.optim.Adam, lr=LR),
        reduction=reduction,
        outer_steps=outer_steps,
        inner_steps=inner_steps,
        reinitialise=False,
    )
    fit(method, measurement, [callback()])

    matrix, y, adam = measurement.physics.matrix, measurement.y[0], PlainAdam(direct)
    z = (matrix.T @ y).reshape(measurement.initial.shape)
    for _ in range(outer_steps):
        for _ in range(inner_steps):
            output = direct(z)
            data = REDUCTIONS[reduction](matrix @ output.reshape(-1) - y)
            autoencoding = weight * REDUCTIONS[reduction](output - z)
            adam.step(data + autoencoding)
        z = formula(output.detach(), direct, z, matrix, y)
    assert torch.allclose(method.stored_input, z, rtol=0, atol=tolerance)
    assert torch.allclose(method.terms["data"], data.detach(), rtol=tolerance, atol=tolerance)
    assert torch.allclose(method.terms["autoencoding"], autoencoding.detach(), rtol=tolerance, atol=tolerance)
    for ours, theirs in zip(network.parameters(), direct.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=tolerance)


def test_penalties_are_added_by_name_and_weight() -> None:
    measurement = matrix_measurement()
    method = DIP(
        network=double_network(),
        initial_input=InitialEstimate(),
        penalties=[TotalVariation(0.3, isotropic=False)],
        outer_steps=1,
        reinitialise=False,
    )
    fit(method, measurement)
    image = double_network()(measurement.initial)[0, 0]
    expected = 0.3 * (image.diff(dim=0).abs().sum() + image.diff(dim=1).abs().sum())
    assert torch.allclose(method.terms["tv"], expected.detach(), rtol=1e-12)
    assert torch.allclose(method.loss, method.terms["data"] + expected.detach(), rtol=1e-12)


@pytest.mark.parametrize("rows", [2, 4])
def test_a_linear_network_converges_to_the_closed_form(rows: int) -> None:
    r"""f = J theta from theta = 0 tends to W A^T (A W A^T)^+ y with W = J J^T: an oblique projection."""
    measurement = matrix_measurement(size=4, rows=rows)
    network = nn.Conv2d(1, 1, 3, padding=1, bias=False).double()
    nn.init.zeros_(network.weight)
    z, matrix, y = measurement.initial, measurement.physics.matrix, measurement.y[0]
    jacobian = nn.functional.unfold(z, 3, padding=1)[0].T
    values = torch.linalg.svdvals(matrix @ jacobian).square()
    step = 0.5 / values.max().item()
    steps = int(torch.log(torch.tensor(1e-8)) / torch.log(1 - 2 * step * values.min())) + 1
    assert steps < 2000, "the example is too badly conditioned to be a quick test"
    method = DIP(
        network=network,
        initial_input=InitialEstimate(),
        optimizer=partial(torch.optim.SGD, lr=step),
        reduction="sum",
        outer_steps=1,
        inner_steps=steps,
        reinitialise=False,
    )
    fit(method, measurement)
    w = jacobian @ jacobian.T
    closed = w @ matrix.T @ torch.linalg.pinv(matrix @ w @ matrix.T) @ y
    assert (method.last_output.reshape(-1) - closed).abs().max() < 1e-6
