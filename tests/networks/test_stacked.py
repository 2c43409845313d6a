"""Stacked networks: every member is what it would be alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.gradients import clip_member_gradients
from dip_lightning.networks import DeepDecoder, RandomProjectorNet, SkipNet, StackedNetwork, UNet, reinitialise

SEEDS = [4, 9, 2]


def plain() -> nn.Module:
    """A user's own network, with running statistics and a shared weight."""
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1), nn.ReLU(), nn.Conv2d(1, 1, 3, padding=1))
    network[3].weight = network[0].weight
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "unet": lambda: UNet(channels=(4, 8), downsampling="stride"),
    "unet_group": lambda: UNet(channels=(8, 8), norm="group"),
    "skip": lambda: SkipNet(1, channels=(4, 4), skip_channels=2),
    "skip_nearest": lambda: SkipNet(1, channels=(4, 4), skip_channels=0, upsampling="nearest", downsampling="avg"),
    "random_projector": lambda: RandomProjectorNet(1, 1, channels=(4,), skip_channels=2),
    "decoder": lambda: DeepDecoder(1, channels=(4, 4)),
    "plain": plain,
}


@pytest.fixture(params=NETWORKS, name="build")
def _build(request: pytest.FixtureRequest) -> Callable[[], nn.Module]:
    return NETWORKS[request.param]


def trained(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


@pytest.mark.parametrize("evaluation", ["vmap", "loop"])
def test_twenty_steps_equal_those_of_single_networks(build: Callable[[], nn.Module], evaluation: str) -> None:
    """Weights from seeds, own statistics, clipping and Adam: 1e-8 in float64, in 21 x 18 pixels."""
    stacked = StackedNetwork(build().double(), len(SEEDS), evaluation)
    stacked.reinitialise(SEEDS)
    x = torch.randn(len(SEEDS), 1, 21, 18, dtype=torch.float64)
    y = 0.3
    optimizer = torch.optim.Adam(trained(stacked), lr=1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        output = stacked(x)
        (output - y).square().flatten(1).sum(1).sum().backward()
        clip_member_gradients(stacked.parameters(), 0.5)
        optimizer.step()

    for member, seed in enumerate(SEEDS):
        alone = build().double()
        reinitialise(alone, seed)
        optimizer = torch.optim.Adam(trained(alone), lr=1e-2)
        for _ in range(20):
            optimizer.zero_grad()
            own = alone(x[member : member + 1])
            (own - y).square().sum().backward()
            nn.utils.clip_grad_norm_(alone.parameters(), 0.5)
            optimizer.step()
        torch.testing.assert_close(output[member], own[0], rtol=0, atol=1e-8)
        for name, tensor in stacked.member_state(member).items():
            torch.testing.assert_close(tensor, alone.state_dict()[name], rtol=0, atol=1e-8, msg=name)


def test_a_member_neither_sees_nor_moves_another(build: Callable[[], nn.Module]) -> None:
    stacked = StackedNetwork(build(), 2)
    x = torch.randn(2, 1, 16, 16)
    stacked(x)[1].square().sum().backward()
    for parameter in trained(stacked):
        assert not parameter.grad[0].any()
        assert parameter.grad[1].any()
    other = torch.stack([x[0], torch.full_like(x[1], torch.nan)])
    assert stacked(other)[0].isfinite().all()


def test_parameters_keep_their_places_when_weights_are_drawn_again(build: Callable[[], nn.Module]) -> None:
    stacked = StackedNetwork(build(), 2)
    places = [parameter.data_ptr() for parameter in stacked.parameters()]
    stacked.reinitialise([1, 2])
    assert places == [parameter.data_ptr() for parameter in stacked.parameters()]
    assert len(places) == len(list(build().parameters()))


def test_members_that_stay_keep_weights_and_parameter_objects(build: Callable[[], nn.Module]) -> None:
    stacked = StackedNetwork(build(), 3)
    stacked.reinitialise(SEEDS)
    x = torch.randn(3, 1, 16, 16)
    before, objects = stacked(x).detach(), [id(p) for p in stacked.parameters()]
    stacked.keep([0, 2])
    assert stacked.members == 2
    torch.testing.assert_close(stacked(x[[0, 2]]), before[[0, 2]])
    assert objects == [id(p) for p in stacked.parameters()]
    stacked.resize(4)
    stacked.reinitialise([9, 9, 9, 9])
    torch.testing.assert_close(stacked(x[[1, 1, 1, 1]])[3], before[1])


def test_members_start_as_copies_of_the_network_and_leave_it_alone() -> None:
    network = UNet(channels=(4, 8))
    stacked, x = StackedNetwork(network, 2), torch.randn(1, 1, 8, 8)
    torch.testing.assert_close(stacked(torch.cat([x, x])), network(torch.cat([x])).expand(2, -1, -1, -1))
    before = [parameter.clone() for parameter in network.parameters()]
    stacked.reinitialise([1, 2])
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert not any("single" in name for name in stacked.state_dict())


def test_frozen_parameters_stay_frozen() -> None:
    network = SkipNet(1, channels=(4, 4))
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    stacked = StackedNetwork(network, 2)
    assert frozen
    assert frozen == [n for n, p in stacked.network.named_parameters() if not p.requires_grad]


def test_what_does_not_fit_is_refused() -> None:
    stacked = StackedNetwork(UNet(channels=(4, 8)), 2)
    with pytest.raises(ConfigurationError, match="3 inputs for the 2 members"):
        stacked(torch.randn(3, 1, 8, 8))
    with pytest.raises(ConfigurationError, match="1 seeds for the 2 members"):
        stacked.reinitialise([1])
    with pytest.raises(ConfigurationError, match="stacked again"):
        StackedNetwork(stacked, 2)
    with pytest.raises(ConfigurationError, match="at least 1"):
        StackedNetwork(UNet(channels=(4, 8)), 0)
    with pytest.raises(ConfigurationError, match="vmap"):
        StackedNetwork(UNet(channels=(4, 8)), 2, "vmapp")


def test_parameters_that_no_seed_draws_are_named_once_for_all_members() -> None:
    """Constants that training has not moved are what they would be set to, and are not named."""

    class Coded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.code = nn.Parameter(torch.ones(3)), nn.Parameter(torch.randn(1, 1, 4, 4))
            self.convolution = nn.Conv2d(1, 1, 1)

    with pytest.warns(UserWarning, match="Coded: code would be the same with every seed") as seen:
        StackedNetwork(Coded(), 3).reinitialise([1, 2, 3])
    assert len(seen) == 1


def test_parameters_that_are_drawn_through_data_are_not_named(recwarn: pytest.WarningsRecorder) -> None:
    class Drawn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.code = nn.Parameter(torch.empty(8))
            self.reset_parameters()

        def reset_parameters(self) -> None:
            self.code.data.uniform_()

    for network in (Drawn(), nn.Sequential(Drawn(), nn.BatchNorm2d(8), nn.PReLU(8), nn.Linear(8, 8))):
        reinitialise(network, 1)
    assert not recwarn.list
