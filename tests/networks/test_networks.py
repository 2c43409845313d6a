"""Every network of the suite, by registration: shapes, seeds, sizes, gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dip_lightning import networks as suite
from dip_lightning.errors import ConfigurationError
from dip_lightning.networks import (
    MediumUNet,
    RandomProjectorNet,
    S2SNet,
    ShallowUNet,
    SkipNet,
    SmallUNet,
    UNet,
    reinitialise,
)
from dip_lightning.networks.blocks import UntrainedNetwork
from dip_lightning.networks.skip import _double, parameter_count

#: A network in this list gets all tests below.
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "medium": MediumUNet,
    "shallow": ShallowUNet,
    "small": SmallUNet,
    "unet_group": lambda *channels: UNet(*channels, channels=(8, 16, 16), norm="group", downsampling="stride"),
    "random_projector": RandomProjectorNet,
    "s2s": lambda *channels: S2SNet(*channels, channels=8, decoder_channels=16, scales=3),
    "skip": lambda *channels: SkipNet(*channels, channels=(8, 8, 8)),
    "skip_zeros": lambda *channels: SkipNet(*channels, channels=(8, 8), padding="zeros"),
    "skip_group": lambda *channels: SkipNet(*channels, channels=(16, 16), norm="group"),
    "projector": lambda *channels: RandomProjectorNet(*channels, channels=(8,)),
    "projector_zeros": lambda *channels: RandomProjectorNet(*channels, channels=(8,), padding="zeros"),
    "projector_group": lambda *channels: RandomProjectorNet(*channels, channels=(16,), norm="group"),
    "projector_plain": lambda *channels: RandomProjectorNet(*channels, channels=(8,), norm="none"),
    "skip_inpainting": lambda *channels: SkipNet(
        *channels, channels=(8, 8, 16), skip_channels=(0, 4, 0), upsampling="nearest", downsampling="avg", filter_down=5
    ),
}


@pytest.fixture(params=NETWORKS, name="build")
def _build(request: pytest.FixtureRequest) -> Callable[..., nn.Module]:
    return NETWORKS[request.param]


def test_every_network_is_in_the_list() -> None:
    listed = {type(build(1, 1)) for build in NETWORKS.values()}
    public = {kind for kind in map(vars(suite).get, suite.__all__) if isinstance(kind, type)}
    decoders = {suite.ConvDecoder, suite.DeepDecoder}  # of one size of image: test_decoders.py
    assert public - decoders - {suite.StackedNetwork} == listed


@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (2, 2), (5, 3)])
def test_channels_and_any_size(build: Callable[..., nn.Module], in_channels: int, out_channels: int) -> None:
    network = build(in_channels, out_channels)
    for height, width in [(32, 32), (33, 47), (18, 21)]:
        assert network(torch.randn(1, in_channels, height, width)).shape == (1, out_channels, height, width)


def test_images_stay_in_place_where_they_are_enlarged_for_the_scales() -> None:
    class Identity(UntrainedNetwork):
        def body(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[-2:] == (8, 12)
            return x

    image = torch.rand(1, 1, 7, 9)
    assert torch.equal(Identity(4)(image), image)


def test_the_seed_alone_decides_the_weights(build: Callable[..., nn.Module]) -> None:
    first, second = build(1, 1), build(1, 1)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    reinitialise(first, 7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    reinitialise(second, 7)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    reinitialise(second, 8)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_weights_are_drawn_again_in_place(build: Callable[..., nn.Module]) -> None:
    network = build(1, 1)
    places = [parameter.data_ptr() for parameter in network.parameters()]
    reinitialise(network, 1)
    assert places == [parameter.data_ptr() for parameter in network.parameters()]


def test_every_parameter_has_a_gradient(build: Callable[..., nn.Module]) -> None:
    """No dead layer, and no bias before a norm layer, whose gradient would be zero."""
    network = build(2, 1).double()
    network(torch.randn(1, 2, 32, 32, dtype=torch.float64)).square().sum().backward()
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-12, name


def test_shifts_are_frozen_only_where_they_have_no_effect(build: Callable[..., nn.Module]) -> None:
    network = build(2, 1).double()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d | nn.GroupNorm)]
    frozen = [norm.bias.requires_grad_(True) for norm in norms if not norm.bias.requires_grad]
    network(torch.randn(1, 2, 32, 32, dtype=torch.float64)).square().sum().backward()
    for bias in frozen:
        assert bias.grad is not None
        assert bias.grad.abs().max() < 1e-12


def test_s2s_has_the_published_convolutions() -> None:
    encoder = [(3, 48), (48, 48), *[(48, 48), (48, 48)] * 4, (48, 96), (96, 96)]
    decoder = [*[(144, 96), (96, 96)] * 4, (99, 64), (64, 32), (32, 3)]
    weights = [(p.shape[1], p.shape[0]) for p in S2SNet().parameters() if p.ndim == 4]
    assert weights == encoder + decoder
    with pytest.raises(ConfigurationError, match="two scales"):
        S2SNet(scales=1)


def test_no_state_but_parameters(build: Callable[..., nn.Module]) -> None:
    """Running statistics would make an eval-mode forward a different image."""
    assert not list(build(1, 1).buffers())


@pytest.mark.parametrize(
    ("network", "expected"),
    [(MediumUNet(2, 2), 4.28e6), (ShallowUNet(3, 3), 1.04e6), (SkipNet(32, 3), 2.217e6)],
)
def test_parameter_counts_are_the_published_ones(network: nn.Module, expected: float) -> None:
    assert parameter_count(network) == pytest.approx(expected, rel=4e-3)


def test_pixels_are_enlarged_about_their_centres_in_skip_nets_and_about_the_corners_in_unets() -> None:
    """As in the released code of either: nearest pixels keep their edge, a U-Net's first and last row stay in place."""
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    centres = ((torch.arange(8.0) + 0.5) / 2 - 0.5).clamp(0, 3)
    torch.testing.assert_close(_double(ramp, "bilinear"), centres.expand(1, 1, 8, 8))
    torch.testing.assert_close(UNet(channels=(8, 8)).upsample(ramp), torch.linspace(0, 3, 8).expand(1, 1, 8, 8))


def test_normal_initialisation() -> None:
    network = UNet(channels=(64, 64, 64), init="normal", init_std=0.02)
    weights = torch.cat([m.weight.flatten() for m in network.modules() if isinstance(m, nn.Conv2d)])
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)
    scales = torch.cat([m.weight for m in network.modules() if isinstance(m, nn.BatchNorm2d)])
    assert scales.mean().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"norm": "bach"}, "batch"),
        ({"output_activation": "sigmiod"}, "sigmoid"),
        ({"channels": (8,)}, "two scales"),
        ({"downsampling": "maxpol"}, "maxpool"),
        ({"init": "norml"}, "normal"),
    ],
)
def test_unknown_options_name_the_near_match(arguments: dict[str, Any], hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        UNet(**arguments)


def test_skip_channels_must_match_scales() -> None:
    with pytest.raises(ConfigurationError, match="3 values for 2 scales"):
        SkipNet(channels=(8, 8), skip_channels=(1, 2, 3))
