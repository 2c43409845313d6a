"""Complex images from real ones."""

from __future__ import annotations

import torch
from torch import Tensor

from dip_lightning.errors import ConfigurationError


def complex_channels(image: Tensor, phase: float = 1.0) -> Tensor:
    r"""Make a real image complex by a smooth phase, :math:`\varphi = a\,(u^2 - v + uv)/3` with u, v from -1 to 1.

    Magnitude images have no phase, measured ones always do; without one, half of k-space would repeat the other half.

    Args:
        image: ``[B, 1, H, W]``, or ``[B, 2, H, W]``, which is left as it is.
        phase: Largest phase a, radians.

    Returns:
        Real and imaginary part, ``[B, 2, H, W]``.

    Raises:
        ConfigurationError: If there are more channels.
    """
    channels, height, width = image.shape[1:]
    if channels == 2:
        return image
    if channels != 1:
        raise ConfigurationError(f"MRI takes gray images, or complex ones of two channels, not {channels}: set gray.")
    v = torch.linspace(-1, 1, height, dtype=image.dtype, device=image.device)[:, None]
    u = torch.linspace(-1, 1, width, dtype=image.dtype, device=image.device)[None, :]
    angle = phase * (u * u - v + u * v) / 3
    return torch.cat([image * angle.cos(), image * angle.sin()], dim=1)
