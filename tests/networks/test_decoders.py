"""Decoders: published sizes, images of any size, and their place in a fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.inputs import GaussianNoise, UniformNoise
from dip_lightning.methods import DIP
from dip_lightning.networks import ConvDecoder, DeepDecoder, reinitialise
from dip_lightning.networks.decoders import Decoder
from dip_lightning.networks.skip import parameter_count
from tests.support import fit, matrix_measurement

SMALL: dict[str, Callable[..., Decoder]] = {
    "deep": lambda *channels: DeepDecoder(*channels, channels=(8, 8, 6)),
    "conv": lambda *channels: ConvDecoder(*channels, layers=4, channels=8),
}


@pytest.fixture(params=SMALL, name="build")
def _build(request: pytest.FixtureRequest) -> Callable[..., Decoder]:
    return SMALL[request.param]


@pytest.mark.parametrize(("width", "published"), [(64, 25_536), (128, 100_224)])
def test_deep_decoder_has_the_published_number_of_parameters(width: int, published: int) -> None:
    """Heckel and Hand, arXiv 1810.03982: six layers, colour images."""
    assert parameter_count(DeepDecoder(width, 3, (width,) * 6)) == published


def test_deep_decoder_of_512_pixels_starts_from_16() -> None:
    network = DeepDecoder(4, 3, (4,) * 6)
    assert network(torch.rand(1, 4, 16, 16)).shape == (1, 3, 512, 512)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (17, 18)])
def test_any_image_size(build: Callable[..., Decoder], size: tuple[int, int]) -> None:
    network = build(5, 2)
    network.set_image_size(size)
    grid = [-(-side // 4) for side in size]
    assert network(torch.rand(1, 5, *grid)).shape == (1, 2, *size)


@pytest.mark.parametrize(
    ("grid", "image", "steps", "expected"),
    [
        ((4, 4), (32, 32), 4, [(8, 8), (16, 16), (32, 32)]),
        # the sizes of the released code for knee images: ceil(8 (640/8)^(n/6)), ceil(4 (368/4)^(n/6))
        ((8, 4), (640, 368), 7, [(17, 9), (35, 19), (72, 39), (149, 82), (309, 174), (640, 368)]),
    ],
)
def test_sizes_grow_geometrically(
    grid: tuple[int, int], image: tuple[int, int], steps: int, expected: list[tuple[int, int]]
) -> None:
    network = ConvDecoder(1, 1, layers=steps, channels=1)
    network.set_image_size(image)
    assert network.sizes(grid) == expected


def test_deep_decoder_block_by_block() -> None:
    """Mix, enlarge, rectify, normalise; mix, rectify, normalise; mix, sigmoid."""
    network = DeepDecoder(3, 1, (4, 2)).double()
    x = torch.rand(1, 3, 5, 4, dtype=torch.float64)
    h = x
    for number, (mix, norm) in enumerate(zip(network.mix, network.norms, strict=True)):
        h = torch.einsum("oc,bchw->bohw", mix.weight[..., 0, 0], h)
        if number == 0:
            h = nn.Upsample(scale_factor=2, mode="bilinear")(h)
        h = h.clamp(min=0)
        variance, mean = torch.var_mean(h, dim=(0, 2, 3), keepdim=True, unbiased=False)
        h = (h - mean) / (variance + norm.eps).sqrt()  # the affine part is the identity at the start
    expected = torch.sigmoid(torch.einsum("oc,bchw->bohw", network.exit[0].weight[..., 0, 0], h))
    assert torch.allclose(network(x), expected, rtol=0, atol=1e-12)


def test_too_small_an_input_says_what_to_set() -> None:
    network = DeepDecoder(3, 1, (4, 2))
    network.set_image_size((16, 16))
    with pytest.raises(ConfigurationError, match="downscale=2"):
        network(torch.rand(1, 3, 4, 4))


def test_every_parameter_has_a_gradient_and_the_seed_decides(build: Callable[..., Decoder]) -> None:
    first, second = build(3, 1).double(), build(3, 1).double()
    first(torch.rand(1, 3, 4, 4, dtype=torch.float64)).square().sum().backward()
    for name, parameter in first.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-12, name
    reinitialise(first, 5)
    reinitialise(second, 5)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not list(first.buffers())


@pytest.mark.parametrize("kind", [UniformNoise, GaussianNoise])
def test_noise_on_a_coarser_grid(kind: type[UniformNoise]) -> None:
    measurement = matrix_measurement(size=9)
    assert kind(3, downscale=4)(measurement, MemberGenerators([0])).shape == (1, 3, 3, 3)
    assert kind(3, size=(2, 5))(measurement, MemberGenerators([0])).shape == (1, 3, 2, 5)
    with pytest.raises(ConfigurationError, match="only one"):
        kind(3, size=(2, 5), downscale=2)


def test_a_fit_tells_the_decoder_the_size_of_the_image(build: Callable[..., Decoder]) -> None:
    measurement = matrix_measurement(size=9)
    method = DIP(network=build(3, 1), initial_input=UniformNoise(3, 0.1, downscale=4), outer_steps=3)
    fit(method, measurement)
    assert method.last_output.shape == measurement.initial.shape
    assert method.network.image_size == (9, 9)
