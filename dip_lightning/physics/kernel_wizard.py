"""The generator of blurred images of Tran et al., "Explore image deblurring via encoded blur kernel space" (CVPR 2021).

The layers stand in the order, and under the names, of the published weights (``GOPRO_wVAE.pth`` and its like), so that
these can be loaded; the part that estimates a kernel from a pair of images is left out.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dip_lightning.errors import MeasurementError

#: Channels of the kernel code for each feature channel.
CODE = 8
#: Pixels that one position of the kernel code stands for.
STRIDE = 128

#: Parts of the published weights that belong to the estimation of a kernel.
_UNUSED = ("kernel_extractor.",)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():  # small residuals at the start, as the authors have them
            for layer in (self.conv1, self.conv2):
                nn.init.kaiming_normal_(layer.weight).mul_(0.1)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(torch.relu(self.conv1(x)))


class _Level(nn.Module):
    """One level of the adapter: halve, go deeper (at the bottom: join the kernel code), double, join the input."""

    def __init__(self, outer: int, inner: int, deeper: _Level | None, outermost: bool = False) -> None:
        super().__init__()
        halve = nn.Conv2d(outer, inner, 4, stride=2, padding=1, bias=False)
        self.down = nn.Sequential(halve) if outermost else nn.Sequential(nn.LeakyReLU(0.2), halve)
        self.submodule = deeper
        double = nn.ConvTranspose2d(2 * inner, outer, 4, stride=2, padding=1, bias=outermost)
        self.up = nn.Sequential(nn.ReLU(), double, *([nn.Tanh()] if outermost else []))
        self.outermost = outermost

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        below = self.down(x)
        below = torch.cat([below, code], 1) if self.submodule is None else self.submodule(below, code)
        up = self.up(below)
        return up if self.outermost else torch.cat([up, x], 1)


class _Adapter(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        level = _Level(8 * width, 8 * width, None)
        for outer, inner in ((4, 8), (2, 4), (1, 2)):
            level = _Level(outer * width, inner * width, level)
        self.model = _Level(width, width, level, outermost=True)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        return self.model(x, code)


class KernelWizard(nn.Module):
    r"""Blurs sharp images by a kernel code, :math:`y = x + g(x, k)`; differentiable, not linear in the image.

    Features at a quarter of the resolution, a U-Net of five more halvings that joins the code at its bottom, and a
    residual decoder: one position of the code stands for 128x128 pixels. 23.7 M parameters as published.

    Args:
        width: Feature channels; 64 as published.
        front_blocks: Residual blocks of the encoder; 10 as published.
        back_blocks: Residual blocks of the decoder; 20 as published.
        channels: Channels of the image; 3 as published.
    """

    def __init__(self, width: int = 64, front_blocks: int = 10, back_blocks: int = 20, channels: int = 3) -> None:
        super().__init__()
        encoder: list[nn.Module] = []
        for inputs, stride in ((channels, 1), (width, 2), (width, 2)):
            encoder += [nn.Conv2d(inputs, width, 3, stride, 1), nn.LeakyReLU(0.1)]
        self.feature_extractor = nn.Sequential(*encoder, *(_Residual(width) for _ in range(front_blocks)))
        self.adapter = _Adapter(width)
        decoder: list[nn.Module] = [_Residual(width) for _ in range(back_blocks)]
        for _ in range(2):
            decoder += [nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.LeakyReLU(0.1)]
        decoder += [nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(width, channels, 3, padding=1)]
        self.recon_trunk = nn.Sequential(*decoder)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Blur images.

        Args:
            x: ``[B, 3, H, W]`` in [0, 1], sides multiples of 128.
            code: ``[1 or B, 8 * width, H / 128, W / 128]``.

        Returns:
            ``[B, 3, H, W]``, not clipped.
        """
        features = self.feature_extractor(x)
        return x + self.recon_trunk(self.adapter(features, code.expand(len(x), -1, -1, -1)))


def load_weights(network: KernelWizard, path: Path) -> None:
    """Load published weights.

    Args:
        network: Takes them.
        path: A state dictionary (``.pth``), with or without the estimation of kernels.

    Raises:
        MeasurementError: If the file cannot be read or does not fit; the message says which weights.
    """
    state = _read_state(path)
    state = OrderedDict((name, value) for name, value in state.items() if not name.startswith(_UNUSED))
    own = network.state_dict()
    missing, extra = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    wrong = [name for name in own if name in state and own[name].shape != state[name].shape]
    if missing or extra or wrong:
        found = "; ".join(
            f"{len(names)} {what} ({names[0]}, ...)"
            for what, names in (("missing", missing), ("unknown", extra), ("of another shape", wrong))
            if names
        )
        raise MeasurementError(f"The weights in {path} do not fit the KernelWizard network: {found}.")
    network.load_state_dict(state)


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise MeasurementError(f"The weights {path} do not exist; leave weights out for fixed random ones.")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling raises whatever it runs into
        raise MeasurementError(f"The weights {path} cannot be read. ({type(error).__name__}: {error})") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise MeasurementError(f"{path} holds no state dictionary but a {type(state).__name__}.")
    return {name.removeprefix("module."): value for name, value in state.items()}
