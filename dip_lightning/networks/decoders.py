"""Decoders: networks that enlarge a small random grid into an image, without an encoder."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from dip_lightning.errors import ConfigurationError
from dip_lightning.networks.blocks import (
    Initialisation,
    Norm,
    OutputActivation,
    UntrainedNetwork,
    Upsampling,
    norm_layer,
    output_layer,
)

Size = tuple[int, int]


class Decoder(UntrainedNetwork):
    """A network whose input is smaller than its output.

    Attributes:
        image_size: Height and width of the output, set by :meth:`set_image_size`. Methods set it to the size of the
            image that they reconstruct, so that no configuration has to name it. ``None``: every enlargement doubles.
    """

    image_size: Size | None = None

    def __init__(self, init: Initialisation = "default") -> None:
        super().__init__(1, init)

    def set_image_size(self, size: Size) -> None:
        """Set the size of the output.

        Args:
            size: Height and width.
        """
        self.image_size = (size[0], size[1])

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge a grid to an image.

        Args:
            x: ``[B, C_in, h, w]``.

        Returns:
            ``[B, C_out, H, W]``.
        """
        return self.body(x)


class DeepDecoder(Decoder):
    """Deep decoder: 1x1 convolutions between bilinear enlargements; the image is made by upsampling alone.

    A block is a 1x1 convolution without bias, enlargement by 2, ReLU, and a norm layer; the last block does not
    enlarge. With ``n`` blocks the input has ``1 / 2^(n-1)`` of the image's height and width:
    ``UniformNoise(channels=128, scale=0.1, downscale=32)`` for six blocks. Where that does not divide the image, the
    output is cropped. Source: Heckel and Hand, arXiv 1810.03982 (six blocks of 64 or 128 channels: 25,536 or 100,224
    parameters for colour images of 512x512), and its released code.

    Args:
        in_channels: Channels of the network input.
        out_channels: Channels of the image.
        channels: Channels of each block.
        upsampling: ``bilinear`` or ``nearest``.
        norm: ``batch``, ``group`` or ``none``, after the ReLU.
        output_activation: Last layer.
        init: ``default`` is torch's; ``normal`` draws N(0, 0.02²).

    Raises:
        ConfigurationError: If there is no block or an option is unknown.
    """

    def __init__(
        self,
        in_channels: int = 128,
        out_channels: int = 1,
        channels: tuple[int, ...] = (128, 128, 128, 128, 128, 128),
        upsampling: Upsampling = "bilinear",
        norm: Norm = "batch",
        output_activation: OutputActivation = "sigmoid",
        init: Initialisation = "default",
    ) -> None:
        super().__init__(init)
        if not channels:
            raise ConfigurationError("A deep decoder needs at least one block: channels is empty.")
        self.upsampling = upsampling
        widths = (in_channels, *channels)
        self.mix = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(norm_layer(norm, width) for width in channels)
        self.exit = nn.Sequential(nn.Conv2d(channels[-1], out_channels, 1, bias=False), output_layer(output_activation))
        self.reset_parameters()

    def body(self, x: Tensor) -> Tensor:
        """Enlarge and mix channels; see the base class.

        Raises:
            ConfigurationError: If the input is too small for the image.
        """
        height, width = self.image_size or (x.shape[-2] * self.factor, x.shape[-1] * self.factor)
        if x.shape[-2] * self.factor < height or x.shape[-1] * self.factor < width:
            raise ConfigurationError(
                f"DeepDecoder enlarges its input {list(x.shape[-2:])} by {self.factor}, which does not fill the image "
                f"{[height, width]}: set downscale={self.factor} in initial_input, or more or fewer channels."
            )
        for number, (mix, norm) in enumerate(zip(self.mix, self.norms, strict=True), start=1):
            x = mix(x)
            if number < len(self.mix):
                x = enlarge(x, (2 * x.shape[-2], 2 * x.shape[-1]), self.upsampling)
            x = norm(F.relu(x))
        result: Tensor = self.exit(x[..., :height, :width])
        return result

    @property
    def factor(self) -> int:
        """How much larger the output is than the input, along each side."""
        return int(2 ** (len(self.mix) - 1))


class ConvDecoder(Decoder):
    r"""ConvDecoder: 3x3 convolutions between nearest-neighbour enlargements of a small grid.

    All layers but the last enlarge, so that sizes grow geometrically: layer :math:`n` of :math:`L` works at
    :math:`\lceil h\,(H / h)^{n / (L - 1)} \rceil`; each is enlargement, 3x3 convolution, ReLU, norm layer, and a 1x1
    convolution ends the network. The input is a small grid of any size: ``UniformNoise(channels=256, scale=1.0,
    size=[8, 4])`` for MRI. Source: Darestani and Heckel, arXiv 2007.02471, and its released code, whose output is the
    image of each coil; ours is the image, as the physics wants it.

    Args:
        in_channels: Channels of the network input.
        out_channels: Channels of the image.
        layers: Number of 3x3 layers.
        channels: Channels of each.
        upsampling: ``nearest`` or ``bilinear``.
        norm: ``batch``, ``group`` or ``none``, after the ReLU.
        output_activation: Last layer.
        init: ``default`` is torch's; ``normal`` draws N(0, 0.02²).

    Raises:
        ConfigurationError: If there are fewer than two layers or an option is unknown.
    """

    def __init__(
        self,
        in_channels: int = 256,
        out_channels: int = 2,
        layers: int = 7,
        channels: int = 256,
        upsampling: Upsampling = "nearest",
        norm: Norm = "batch",
        output_activation: OutputActivation = "none",
        init: Initialisation = "default",
    ) -> None:
        super().__init__(init)
        if layers < 2:
            raise ConfigurationError(f"layers={layers}: ConvDecoder needs at least two.")
        self.upsampling = upsampling
        # The convolution keeps its bias: a ReLU stands between it and the norm layer.
        widths = [in_channels, *[channels] * layers]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(inplace=True), norm_layer(norm, b))
            for a, b in pairwise(widths)
        )
        self.exit = nn.Sequential(nn.Conv2d(channels, out_channels, 1), output_layer(output_activation))
        self.reset_parameters()

    def body(self, x: Tensor) -> Tensor:
        """Enlarge and convolve; see the base class."""
        for size, layer in zip(self.sizes((x.shape[-2], x.shape[-1])), self.layers[:-1], strict=True):
            x = layer(enlarge(x, size, self.upsampling))
        result: Tensor = self.exit(self.layers[-1](x))
        return result

    def sizes(self, grid: Size) -> list[Size]:
        """Sizes after each enlargement.

        Args:
            grid: Height and width of the input.
        """
        steps = len(self.layers) - 1
        if self.image_size is None:
            return [(grid[0] * 2**n, grid[1] * 2**n) for n in range(1, steps + 1)]
        between = [(_between(grid[0], self.image_size[0], n / steps), _between(grid[1], self.image_size[1], n / steps))
                   for n in range(1, steps)]  # fmt: skip
        return [*between, self.image_size]


def enlarge(x: Tensor, size: Size, mode: Upsampling) -> Tensor:
    """Interpolate to a size.

    Args:
        x: ``[B, C, h, w]``.
        size: Height and width of the result.
        mode: ``bilinear`` (pixel centres) or ``nearest``.

    Returns:
        ``[B, C, H, W]``.
    """
    return F.interpolate(x, size, mode=mode, align_corners=False if mode == "bilinear" else None)


def _between(small: int, large: int, part: float) -> int:
    # The tolerance keeps exact powers, such as 4 (16/4)^(1/2) = 8, from being rounded up to 9.
    return math.ceil(small * (large / small) ** part - 1e-9)
