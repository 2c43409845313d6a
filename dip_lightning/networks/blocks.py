"""Pieces that the untrained networks are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.networks.initialise import normal_weights, reset_children

Norm = Literal["batch", "group", "none"]
Activation = Literal["relu", "leaky_relu", "softplus", "swish"]
OutputActivation = Literal["none", "sigmoid", "tanh", "relu"]
Initialisation = Literal["default", "normal"]
Padding = Literal["zeros", "reflect"]
Upsampling = Literal["bilinear", "nearest"]

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(0.2, inplace=True),
    "softplus": nn.Softplus,
    "swish": lambda: nn.SiLU(inplace=True),
}
_OUTPUTS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}


def norm_layer(kind: Norm, channels: int, groups: int = 8) -> nn.Module:
    """Build a norm layer that keeps no running statistics: a DIP network always normalises by its own input.

    Args:
        kind: ``batch``, ``group`` or ``none``.
        channels: Channels to normalise.
        groups: Groups of ``group``; the largest divisor of ``channels`` up to it is taken.

    Raises:
        ConfigurationError: If the kind is unknown.
    """
    check_option("norm", kind, get_args(Norm))
    if kind == "batch":
        return nn.BatchNorm2d(channels, track_running_stats=False)
    if kind == "group":
        return nn.GroupNorm(max(g for g in range(1, min(groups, channels) + 1) if channels % g == 0), channels)
    return nn.Identity()


def activation_layer(kind: Activation) -> nn.Module:
    """Build an activation by name.

    Raises:
        ConfigurationError: If the name is unknown.
    """
    return _ACTIVATIONS[check_option("activation", kind, _ACTIVATIONS)]()


def output_layer(kind: OutputActivation) -> nn.Module:
    """Build an output activation by name.

    Raises:
        ConfigurationError: If the name is unknown.
    """
    return _OUTPUTS[check_option("output_activation", kind, _OUTPUTS)]()


def convolution(
    in_channels: int, out_channels: int, size: int, norm: Norm, stride: int = 1, padding: Padding = "zeros"
) -> nn.Conv2d:
    """Build a convolution that keeps the image size at stride 1.

    It has no bias where a norm layer follows. Batch norm takes it away again: its gradient would be zero, and Adam
    would turn rounding into drift. Group norm takes away only what the channels of a group have in common; the rest
    is left to the shifts of its own.
    """
    return nn.Conv2d(in_channels, out_channels, size, stride, size // 2, bias=norm == "none", padding_mode=padding)


def loses_shift(norm: Norm, padding: Padding) -> bool:
    """Say whether a padded convolution with its norm layer gives the same for an input with shifted channels.

    A shift of the whole input, padding and all, comes out as one number a channel, which batch norm takes away. Zeros
    around the image are not shifted with it.

    Args:
        norm: Norm layer behind the convolution.
        padding: Of the convolution.
    """
    return norm == "batch" and padding == "reflect"


def double_convolution(
    channels: tuple[int, int, int],
    norm: Norm,
    activation: Activation,
    stride: int = 1,
    padding: Padding = "zeros",
) -> nn.Sequential:
    """Build two 3x3 convolutions, each with norm and activation; the first strides.

    Args:
        channels: Of the input, between the two, and of the output.
        norm: Norm layers.
        activation: Activations.
        stride: Stride of the first.
        padding: Of both.
    """
    layers: list[nn.Module] = []
    for first, second, step in ((*channels[:2], stride), (*channels[1:], 1)):
        layers += [
            convolution(first, second, 3, norm, step, padding),
            norm_layer(norm, second),
            activation_layer(activation),
        ]
    return nn.Sequential(*layers)


class UntrainedNetwork(nn.Module):
    """A network for images of any size, whose weights can be drawn again in place.

    Args:
        multiple: Height and width are padded to a multiple of this, and the output is cropped back.
        init: ``default`` is torch's own initialisation; ``normal`` draws N(0, ``init_std``²) weights.
        init_std: Standard deviation of ``normal``.
    """

    def __init__(self, multiple: int, init: Initialisation = "default", init_std: float = 0.02) -> None:
        super().__init__()
        self.multiple = multiple
        self.init = check_option("init", init, get_args(Initialisation))
        self.init_std = init_std

    def reset_parameters(self) -> None:
        """Draw all weights again."""
        reset_children(self)
        if self.init == "normal":
            normal_weights(self, self.init_std)

    def body(self, x: Tensor) -> Tensor:
        """Map images whose sides are multiples of :attr:`multiple`.

        Args:
            x: ``[B, C_in, H, W]``.

        Returns:
            ``[B, C_out, H, W]``.
        """
        raise NotImplementedError(f"{type(self).__name__} must define body().")

    def forward(self, x: Tensor) -> Tensor:
        """Map images of any size.

        Args:
            x: ``[B, C_in, H, W]``.

        Returns:
            ``[B, C_out, H, W]``.
        """
        height, width = x.shape[-2:]
        down, right = -height % self.multiple, -width % self.multiple
        if down == 0 and right == 0:
            return self.body(x)
        mode = "reflect" if down < height and right < width else "replicate"
        return self.body(F.pad(x, (0, right, 0, down), mode=mode))[..., :height, :width]


def per_scale(name: str, values: int | list[int] | tuple[int, ...], scales: int) -> list[int]:
    """Spread one value over all scales, or check that there is one for each.

    Args:
        name: The argument's name, for the message.
        values: One value, or one for each scale.
        scales: Number of scales.

    Raises:
        ConfigurationError: If a list has another length.
    """
    if isinstance(values, int):
        return [values] * scales
    if len(values) != scales:
        raise ConfigurationError(f"{name} has {len(values)} values for {scales} scales.")
    return list(values)
