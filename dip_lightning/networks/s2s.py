"""The network of Self2Self and Rethinking-DIP."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dip_lightning.errors import ConfigurationError
from dip_lightning.networks.blocks import (
    Activation,
    Initialisation,
    Norm,
    OutputActivation,
    UntrainedNetwork,
    double_convolution,
    output_layer,
)


class S2SNet(UntrainedNetwork):
    """Encoder of narrow strided blocks, decoder that ends with the network input itself beside its own features.

    Five encoder blocks of two 3x3 convolutions halve the image, one more block leads to the decoder's width; four
    decoder blocks follow nearest-neighbour upsampling and the encoder's map of that scale, and the last convolutions
    (64, 32, image) see the input image at full resolution. It is made for denoising, where the input is the noisy
    image. Source: Jo, Chun and Choi, ICCV 2021 (arXiv 2108.12841), after Quan et al., CVPR 2020 (Self2Self).
    Convolutions before a norm layer have no bias here.

    Args:
        in_channels: Channels of the network input.
        out_channels: Channels of the image.
        channels: Channels of the encoder.
        decoder_channels: Channels of the decoder.
        scales: How often the image is halved.
        norm: ``batch``, ``group`` or ``none``.
        activation: Activation after each norm.
        output_activation: Last layer.
        init: ``default`` is torch's; ``normal`` draws N(0, 0.02²).

    Raises:
        ConfigurationError: If there are fewer than two scales or an option is unknown.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        channels: int = 48,
        decoder_channels: int = 96,
        scales: int = 5,
        norm: Norm = "batch",
        activation: Activation = "softplus",
        output_activation: OutputActivation = "sigmoid",
        init: Initialisation = "default",
    ) -> None:
        if scales < 2:
            raise ConfigurationError(f"S2SNet needs at least two scales, not {scales}.")
        super().__init__(2**scales, init)

        def block(first: int, middle: int, last: int, stride: int = 1) -> nn.Sequential:
            return double_convolution((first, middle, last), norm, activation, stride, "reflect")

        widths = [in_channels, *[channels] * (scales - 1)]
        self.down = nn.ModuleList(block(width, channels, channels, 2) for width in widths)
        self.bottleneck = block(channels, decoder_channels, decoder_channels)
        joined = decoder_channels + channels
        self.up = nn.ModuleList(block(joined, decoder_channels, decoder_channels) for _ in range(scales - 1))
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.exit = nn.Sequential(
            block(decoder_channels + in_channels, 64, 32),
            nn.Conv2d(32, out_channels, 3, padding=1, padding_mode="reflect"),
            output_layer(output_activation),
        )
        self.reset_parameters()

    def body(self, x: Tensor) -> Tensor:
        """Encode, decode; see the base class."""
        maps = [x]
        for down in self.down:
            maps.append(down(maps[-1]))
        image = self.bottleneck(maps.pop())
        for up in self.up:
            image = up(torch.cat([self.upsample(image), maps.pop()], dim=1))
        result: Tensor = self.exit(torch.cat([self.upsample(image), maps.pop()], dim=1))
        return result
