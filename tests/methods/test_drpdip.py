"""Deep random projector: what is frozen, what is trained, and the loss."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from dip_lightning.callbacks import LearnedInput
from dip_lightning.errors import ConfigurationError, MissingCallbackError
from dip_lightning.methods import DRPDIP
from dip_lightning.networks import RandomProjectorNet, SkipNet, reinitialise
from dip_lightning.networks.skip import parameter_count
from tests.methods.direct import DirectAdam, double_network, same_parameters
from tests.support import fit, matrix_measurement

LR = 0.05


def method(**options: Any) -> DRPDIP:
    options = {"network": RandomProjectorNet(1, 1, (8,), 2), "outer_steps": 4, "seed": 5, **options}
    return DRPDIP(optimizer=partial(torch.optim.Adam, lr=LR), **options)


def test_parameters_are_the_published_ones() -> None:
    """82,979 as released, less biases before norm layers (260), plus the norm of the input; 656 norms less shifts."""
    network = RandomProjectorNet()
    assert parameter_count(network.projector, trained=False) == 82_979 - 260
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert parameter_count(network) == 656 - 68 + 3
    assert {id(p) for p in network.parameters() if p.requires_grad} <= {id(p) for m in norms for p in m.parameters()}


def test_drawn_again_from_the_seed_filters_too() -> None:
    one, other = RandomProjectorNet(init="normal"), RandomProjectorNet(init="normal")
    reinitialise(one, 3)
    reinitialise(other, 3)
    same_parameters(one, other, 0)
    filters = torch.cat([m.weight.flatten() for m in one.modules() if isinstance(m, nn.Conv2d)])
    assert filters.std().item() == pytest.approx(0.02, rel=0.02)
    reinitialise(other, 4)
    assert not torch.equal(one.projector.exit[0].weight, other.projector.exit[0].weight)


@pytest.mark.parametrize("channels", [1, 2])
def test_every_trained_parameter_has_a_gradient(channels: int) -> None:
    network = RandomProjectorNet(channels, 1, (8,), 2).double()
    network(torch.randn(1, channels, 12, 12, dtype=torch.float64)).square().sum().backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 1e-12, name


def test_filters_stay_input_and_norms_move() -> None:
    drp = method(reinitialise=False)
    before = copy.deepcopy(drp.network)
    fit(drp, matrix_measurement(size=8), [LearnedInput(LR)])
    for (name, now), then in zip(drp.network.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(now, then.to(now.dtype)) != now.requires_grad, name
    start = method(outer_steps=1)
    fit(start, matrix_measurement(size=8), [LearnedInput(1e-12)])
    assert (drp.stored_input - start.stored_input).abs().max() > LR


@pytest.mark.parametrize("weight", [0.0, 0.45])
def test_drpdip_equals_the_direct_loop(weight: float) -> None:
    measurement, network = matrix_measurement(), double_network()
    direct = copy.deepcopy(network)
    drp = method(network=network, tv_weight=weight, reinitialise=False, outer_steps=3)
    fit(drp, measurement, [LearnedInput(LR)])

    z = 0.1 * torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(5)).double()
    z.requires_grad_()
    adam = DirectAdam([(list(direct.parameters()), LR), ([z], LR)])
    for _ in range(3):
        image = direct(z)
        data = (measurement.physics.matrix @ image.reshape(-1) - measurement.y[0]).square().mean().sqrt()
        tv = (image.diff(dim=-1).abs().sum() + image.diff(dim=-2).abs().sum()) / image.numel()
        adam.step(data + weight * tv)
    assert torch.allclose(drp.terms["data"], data.detach(), rtol=1e-10)
    assert torch.allclose(drp.terms["tv"], weight * tv.detach(), rtol=1e-10)
    assert torch.allclose(drp.stored_input, z.detach(), rtol=0, atol=1e-6)
    same_parameters(network, direct, 1e-6)  # Adam divides near-zero gradients by their own size


def test_without_a_learned_input_it_says_what_to_add() -> None:
    with pytest.raises(MissingCallbackError, match="LearnedInput"):
        fit(method(), matrix_measurement(size=8))


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="TotalVariation"):
        method(tv_weight=-1.0)


def test_the_released_shape_is_a_skip_network_of_one_scale() -> None:
    assert isinstance(RandomProjectorNet().projector, SkipNet)
    assert RandomProjectorNet()(torch.rand(1, 3, 17, 18)).shape == (1, 3, 17, 18)
