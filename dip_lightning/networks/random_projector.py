"""A network whose filters stay random."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dip_lightning.networks.blocks import Norm, Padding, UntrainedNetwork, loses_shift
from dip_lightning.networks.skip import SkipNet


class RandomProjectorNet(UntrainedNetwork):
    """Shallow skip network with frozen random filters; a batch norm on the input and the norm layers are trained.

    One scale of 64 channels and four skip channels: with three input and output channels the released network has
    82,979 parameters, of which the filters and their biases (82,323) are frozen. Biases before a norm layer have no
    effect, frozen or not, and are left out here; the shift of the input's norm is trained only where the next norm
    layer does not take it away again, which it does with ``norm: batch`` and ``padding: reflect``. Source: Deep Random
    Projector, Li et al., CVPR 2023, and its released code.

    Args:
        in_channels: Channels of the network input.
        out_channels: Channels of the image.
        channels: Channels of each scale, from full resolution down.
        skip_channels: Channels of the skip branches.
        norm: ``batch``, ``group`` or ``none``.
        padding: ``reflect`` or ``zeros``.
        **options: See :class:`~dip_lightning.networks.skip.SkipNet`.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        channels: tuple[int, ...] = (64,),
        skip_channels: int | tuple[int, ...] = 4,
        norm: Norm = "batch",
        padding: Padding = "reflect",
        **options: Any,
    ) -> None:
        super().__init__(1)
        self.entry = nn.BatchNorm2d(in_channels, track_running_stats=False)
        self.entry.bias.requires_grad_(not loses_shift(norm, padding))
        self.entry.weight.requires_grad_(in_channels > 1 or norm == "none")  # norms take a common factor away
        self.projector = SkipNet(
            in_channels, out_channels, channels, skip_channels, norm=norm, padding=padding, **options
        )
        for module in self.projector.modules():
            if isinstance(module, nn.Conv2d):
                module.requires_grad_(False)

    def reset_parameters(self) -> None:
        """Draw all weights again, the frozen ones too."""
        self.entry.reset_parameters()
        self.projector.reset_parameters()

    def body(self, x: Tensor) -> Tensor:
        """Normalise the input and project it; see the base class."""
        result: Tensor = self.projector(self.entry(x))
        return result
