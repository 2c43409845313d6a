"""Fits whose outputs are written down beforehand, so that what callbacks make of them can be computed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from deepinv.physics import Denoising
from torch import Tensor, nn

from dip_lightning.inputs import InitialEstimate
from dip_lightning.measurement import Measurement
from dip_lightning.methods import DIP


class ScriptedNetwork(nn.Module):
    """Gives one image after the other, whatever its input and its single weight are.

    The first forward pass, which checks shapes before the fit, does not count.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.members = images.shape[1]
        self.weight = nn.Parameter(torch.ones(()))
        self.register_buffer("images", images)
        self.register_buffer("calls", torch.tensor(-1))

    def forward(self, x: Tensor) -> Tensor:
        image = self.images[max(int(self.calls), 0)]
        self.calls += 1
        return image + 0 * self.weight


def constant_images(*levels: Sequence[float]) -> Tensor:
    """Constant images ``[T, B, 1, 4, 4]``, from the levels of each member."""
    return torch.tensor(levels, dtype=torch.float32).T[:, :, None, None, None].expand(-1, -1, 1, 4, 4).clone()


def scripted(images: Tensor, inner_steps: int = 1, **options: Any) -> DIP:
    """Vanilla DIP that puts out ``[T, B, C, H, W]``."""
    return DIP(
        network=ScriptedNetwork(images),
        initial_input=InitialEstimate(),
        outer_steps=images.shape[0] // inner_steps,
        inner_steps=inner_steps,
        reinitialise=False,
        **options,
    )


def denoising(images: Tensor, **fields: Any) -> Measurement:
    """A denoising measurement of the right shape."""
    y = torch.zeros_like(images[0])
    ids = tuple(f"m{member}" for member in range(y.shape[0]))
    return Measurement(y=y, physics=Denoising(), initial=y, ids=ids, task="denoising", **fields)
