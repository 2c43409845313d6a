"""The encoder-decoder with narrow skip connections of the first deep image prior paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dip_lightning.errors import check_option
from dip_lightning.networks.blocks import (
    Activation,
    Initialisation,
    Norm,
    OutputActivation,
    Padding,
    UntrainedNetwork,
    Upsampling,
    activation_layer,
    convolution,
    loses_shift,
    norm_layer,
    output_layer,
    per_scale,
)

Downsampling = Literal["stride", "avg", "max"]


class SkipNet(UntrainedNetwork):
    """Skip network: at each scale a strided encoder, a 1x1 skip branch, and a decoder that joins them.

    The defaults are the denoising and super-resolution net: five scales of 128 channels, four skip channels,
    bilinear upsampling, reflection padding, leaky ReLU 0.2, sigmoid output (2.2 M parameters with 32 input and 3
    output channels). Source: Ulyanov, Vedaldi and Lempitsky, arXiv 1711.10925, and its released code. Convolutions
    before a norm layer have no bias here, and odd sizes are padded once outside rather than cropped at each scale.

    Args:
        in_channels: Channels of the network input.
        out_channels: Channels of the image.
        channels: Channels of each scale, from full resolution down.
        skip_channels: Channels of the skip branches: one number, or one for each scale; 0 leaves the branch out.
        downsampling: ``stride``, ``avg`` or ``max`` pooling.
        upsampling: ``bilinear`` or ``nearest``.
        filter_down: Size of the encoder's filters.
        filter_up: Size of the decoder's filters.
        last_1x1: Whether each decoder ends with a 1x1 convolution.
        padding: ``reflect`` or ``zeros``.
        norm: ``batch``, ``group`` or ``none``.
        activation: Activation after each norm.
        output_activation: Last layer.
        init: ``default`` is torch's, as released; ``normal`` draws N(0, 0.02²).

    Raises:
        ConfigurationError: If lists differ in length or an option is unknown.
    """

    def __init__(
        self,
        in_channels: int = 32,
        out_channels: int = 1,
        channels: tuple[int, ...] = (128, 128, 128, 128, 128),
        skip_channels: int | tuple[int, ...] = 4,
        downsampling: Downsampling = "stride",
        upsampling: Upsampling = "bilinear",
        filter_down: int = 3,
        filter_up: int = 3,
        last_1x1: bool = True,
        padding: Padding = "reflect",
        norm: Norm = "batch",
        activation: Activation = "leaky_relu",
        output_activation: OutputActivation = "sigmoid",
        init: Initialisation = "default",
    ) -> None:
        super().__init__(2 ** len(channels), init)
        check_option("downsampling", downsampling, get_args(Downsampling))
        check_option("upsampling", upsampling, get_args(Upsampling))
        check_option("padding", padding, get_args(Padding))
        self.upsampling = upsampling
        skips = per_scale("skip_channels", skip_channels, len(channels))

        def unit(first: int, second: int, size: int, stride: int = 1) -> list[nn.Module]:
            return [
                convolution(first, second, size, norm, stride, padding if size > 1 else "zeros"),
                norm_layer(norm, second),
                activation_layer(activation),
            ]

        def strided(first: int, second: int) -> list[nn.Module]:
            if downsampling == "stride":
                return unit(first, second, filter_down, 2)
            pool = nn.AvgPool2d(2) if downsampling == "avg" else nn.MaxPool2d(2)
            convolve, *rest = unit(first, second, filter_down)
            return [convolve, pool, *rest]

        self.encoders, self.skips, self.decoders = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        above = in_channels
        for scale, (width, skip) in enumerate(zip(channels, skips, strict=True)):
            self.encoders.append(nn.Sequential(*strided(above, width), *unit(width, width, filter_down)))
            self.skips.append(nn.Sequential(*unit(above, skip, 1)) if skip else nn.Identity())
            below = channels[scale + 1] if scale + 1 < len(channels) else width
            joining = norm_layer(norm, skip + below)
            if isinstance(joining, nn.BatchNorm2d) and loses_shift(norm, padding):
                joining.bias.requires_grad_(False)  # its gradient is zero, and Adam would make it drift
            layers = [joining, *unit(skip + below, width, filter_up)]
            self.decoders.append(nn.Sequential(*layers, *(unit(width, width, 1) if last_1x1 else [])))
            above = width
        self.exit = nn.Sequential(nn.Conv2d(channels[0], out_channels, 1), output_layer(output_activation))
        self.reset_parameters()

    def body(self, x: Tensor) -> Tensor:
        """Encode, then join skips and decode from the coarsest scale up; see the base class."""
        skips: list[Tensor | None] = []
        for encoder, skip in zip(self.encoders, self.skips, strict=True):
            skips.append(None if isinstance(skip, nn.Identity) else skip(x))
            x = encoder(x)
        for decoder, joined in zip(reversed(self.decoders), reversed(skips), strict=True):
            x = _double(x, self.upsampling)
            x = decoder(x if joined is None else torch.cat([joined, x], dim=1))
        result: Tensor = self.exit(x)
        return result


def _double(x: Tensor, mode: Upsampling) -> Tensor:
    if mode == "nearest":
        return nn.functional.interpolate(x, scale_factor=2, mode="nearest")
    return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def parameter_count(network: nn.Module, trained: bool = True) -> int:
    """Count parameters.

    Args:
        network: The network.
        trained: Only those that are optimised.
    """
    parameters: Sequence[nn.Parameter] = list(network.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad or not trained)
