"""The U-Net family of the aSeqDIP authors, without layers that are never called."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.networks.blocks import (
    Activation,
    Initialisation,
    Norm,
    OutputActivation,
    UntrainedNetwork,
    double_convolution,
    output_layer,
)

Downsampling = Literal["maxpool", "stride"]


class UNet(UntrainedNetwork):
    """U-Net of double 3x3 convolutions, with bilinear upsampling and concatenated skips.

    ``channels=(64, 128, 256, 256)`` is the authors' medium net (4.28 M parameters; their released class declares
    14.9 M, of which two blocks are never called) and ``(64, 128, 128)`` their shallow one (1.04 M). Source:
    Alkhouri, Liang et al., NeurIPS 2024 (OpenReview K1EG2ABzNE), released code. Convolutions before a norm layer
    have no bias here.

    Args:
        in_channels: Channels of the network input.
        out_channels: Channels of the image.
        channels: Channels of each scale, from full resolution down.
        norm: ``batch``, ``group`` or ``none``.
        activation: Activation after each norm.
        downsampling: ``maxpool`` as released, or ``stride`` (cheaper: the first convolution of a scale strides).
        output_activation: Last layer.
        init: ``normal`` draws N(0, 0.02²) as released; ``default`` is torch's.
        init_std: Standard deviation of ``normal``.

    Raises:
        ConfigurationError: If there are fewer than two scales or an option is unknown.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: tuple[int, ...] = (64, 128, 256, 256),
        norm: Norm = "batch",
        activation: Activation = "relu",
        downsampling: Downsampling = "maxpool",
        output_activation: OutputActivation = "none",
        init: Initialisation = "normal",
        init_std: float = 0.02,
    ) -> None:
        if len(channels) < 2:
            raise ConfigurationError(f"A U-Net needs at least two scales, not channels={channels}.")
        super().__init__(2 ** (len(channels) - 1), init, init_std)
        stride = 2 if check_option("downsampling", downsampling, get_args(Downsampling)) == "stride" else 1
        self.pool = nn.MaxPool2d(2) if stride == 1 else nn.Identity()
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)

        def block(first: int, middle: int, last: int, step: int = 1) -> nn.Sequential:
            return double_convolution((first, middle, last), norm, activation, step)

        self.entry = block(in_channels, channels[0], channels[0])
        self.down = nn.ModuleList(block(a, b, b, stride) for a, b in pairwise(channels))
        self.up = nn.ModuleList()
        below = channels[-1]
        for scale in reversed(range(len(channels) - 1)):
            joined, out = below + channels[scale], channels[max(scale - 1, 0)]
            self.up.append(block(joined, joined // 2, out))
            below = out
        self.exit = nn.Sequential(nn.Conv2d(below, out_channels, 1), output_layer(output_activation))
        self.reset_parameters()

    def body(self, x: Tensor) -> Tensor:
        """Encode, decode; see the base class."""
        skips = [self.entry(x)]
        for down in self.down:
            skips.append(down(self.pool(skips[-1])))
        x = skips.pop()
        for up in self.up:
            x = up(torch.cat([skips.pop(), self.upsample(x)], dim=1))
        result: Tensor = self.exit(x)
        return result


class _PresetUNet(UNet):
    """A U-Net whose scales are settled; what a task decides is left open."""

    preset: ClassVar[dict[str, Any]]

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        norm: Norm = "batch",
        output_activation: OutputActivation = "none",
    ) -> None:
        super().__init__(in_channels, out_channels, norm=norm, output_activation=output_activation, **self.preset)


class MediumUNet(_PresetUNet):
    """The medium U-Net of the aSeqDIP authors: 64-128-256-256 channels, 4.28 M parameters.

    Args:
        in_channels: Channels of the network input.
        out_channels: Channels of the image.
        norm: ``batch``, ``group`` or ``none``.
        output_activation: Last layer.
    """

    preset: ClassVar[dict[str, Any]] = {"channels": (64, 128, 256, 256)}


class ShallowUNet(_PresetUNet):
    """The shallow U-Net of the aSeqDIP authors: 64-128-128 channels, 1.04 M parameters; arguments as MediumUNet."""

    preset: ClassVar[dict[str, Any]] = {"channels": (64, 128, 128)}


class SmallUNet(_PresetUNet):
    """Ours, for CPUs: 32 to 64 channels on five scales, strided, 0.63 M parameters; arguments as MediumUNet."""

    preset: ClassVar[dict[str, Any]] = {
        "channels": (32, 64, 64, 64, 64),
        "activation": "leaky_relu",
        "downsampling": "stride",
    }
