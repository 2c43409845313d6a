"""Filtered back-projection in parallel and fan beam.

A. C. Kak and M. Slaney, Principles of Computerized Tomographic Imaging, IEEE Press 1988, chapter 3.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.physics.coverage import ray_weights
from dip_lightning.physics.geometry import FanGeometry, Geometry

FBPFilter = Literal["ram-lak", "shepp-logan", "cosine", "hann"]


def filtered_back_projection(
    sinogram: Tensor, geometry: Geometry, filter: FBPFilter = "ram-lak", frequency_scaling: float = 1.0
) -> Tensor:
    r"""Reconstruct images from line integrals.

    Parallel beam: :math:`x(p) = \sum_\theta (h * w_\theta\, y_\theta)(s(p))`.
    Fan beam, with :math:`a = u R / D` the detector position scaled to the rotation centre and :math:`\gamma` the ray's
    angle against the central one: :math:`x(p) = \sum_\beta U^{-2}\, (h * w_\beta\, y_\beta \cos\gamma)(a(p))` with
    :math:`U` the distance from the source along the central ray, in units of :math:`R`.
    :math:`h` is the exact discrete ramp, :math:`w` comes from :func:`~dip_lightning.physics.coverage.ray_weights`;
    values are absolute.

    Args:
        sinogram: Line integrals, ``[B, 1, views, detectors]``, dimensionless.
        geometry: How they were measured.
        filter: Window on the ramp.
        frequency_scaling: Cut-off as a fraction of the Nyquist frequency of the coarser of detector and pixel grid,
            in (0, 1].

    Returns:
        ``[B, 1, H, W]`` in 1/mm. Differentiable.

    Raises:
        ConfigurationError: If the filter is unknown or the frequency scaling out of range.
    """
    if not 0 < frequency_scaling <= 1:
        raise ConfigurationError(f"frequency_scaling={frequency_scaling} must be in (0, 1].")
    fan = geometry.magnification if isinstance(geometry, FanGeometry) else 1.0
    weights = ray_weights(geometry) * np.cos(geometry.fan_angles())
    data = sinogram[:, 0] * torch.as_tensor(weights).to(sinogram)
    # The filter leaves tails beyond the detector's ends. Pixels that land there need them: without, corners outside
    # the field of view are too bright, and so is the side that an offset detector sees from one direction only.
    beyond = (geometry.reach + abs(geometry.detector_offset)) / geometry.detector_spacing - geometry.detectors / 2
    margin = max(0, math.ceil(beyond))
    data = pad(data, (margin, margin))
    spacing = geometry.detector_spacing / fan
    # Finer detail than the pixel grid can hold would come back as noise.
    cutoff = frequency_scaling * min(1.0, spacing / geometry.pixel_size)
    filtered = filter_views(data, filter, cutoff) / spacing
    return _back_project(filtered, geometry)[:, None]


def filter_views(views: Tensor, filter: FBPFilter = "ram-lak", cutoff: float = 1.0) -> Tensor:
    r"""Convolve with the ramp :math:`h_0 = 1/4`, :math:`h_n = -1/(\pi n)^2` for odd ``n``, 0 for even (unit spacing).

    Args:
        views: ``[..., detectors]``.
        filter: Window on the ramp.
        cutoff: Frequency at which the window ends, as a fraction of the Nyquist frequency, in (0, 1].

    Returns:
        The filtered views, of the same shape.

    Raises:
        ConfigurationError: If the filter is unknown.
    """
    check_option("filter", filter, get_args(FBPFilter))
    detectors = views.shape[-1]
    length = 2 ** math.ceil(math.log2(max(2 * detectors, 4)))
    n = torch.arange(length, dtype=torch.float64)
    n = torch.minimum(n, length - n)
    ramp = torch.where(n % 2 == 1, -1 / (math.pi * n.clamp(min=1)) ** 2, torch.zeros_like(n))
    ramp[0] = 0.25
    response = torch.fft.rfft(ramp).real * _window(filter, length, cutoff)
    spectrum = torch.fft.rfft(pad(views, (0, length - detectors))) * response.to(views)
    return torch.fft.irfft(spectrum, n=length)[..., :detectors]


def _window(filter: FBPFilter, length: int, cutoff: float) -> Tensor:
    relative = torch.linspace(0, 1, length // 2 + 1, dtype=torch.float64) / cutoff
    windows = {
        "ram-lak": torch.ones_like(relative),
        "shepp-logan": torch.sinc(relative / 2),
        "cosine": torch.cos(math.pi / 2 * relative),
        "hann": 0.5 * (1 + torch.cos(math.pi * relative)),
    }
    return windows[filter] * (relative <= 1 + 1e-9)


def _back_project(filtered: Tensor, geometry: Geometry) -> Tensor:
    """Sum the filtered views ``[B, views, detectors]`` over the rays through each pixel, interpolating linearly."""
    height, width = geometry.image_shape
    bins = filtered.shape[-1]
    x = (torch.arange(width).to(filtered) - (width - 1) / 2) * geometry.pixel_size
    y = ((height - 1) / 2 - torch.arange(height).to(filtered))[:, None] * geometry.pixel_size
    padded = pad(filtered, (1, 1))  # a zero at either end: pixels that the detector did not see get nothing
    image = filtered.new_zeros(len(filtered), height * width)
    for view, angle in enumerate(geometry.angles):
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        position, weight = x * cos + y * sin, None
        if isinstance(geometry, FanGeometry):
            distance = (geometry.source_origin + y * cos - x * sin).flatten()
            position = position * geometry.source_detector / distance.view(height, width)
            weight = (geometry.source_origin / distance) ** 2
        bin_ = (position.flatten() - geometry.detector_offset) / geometry.detector_spacing
        bin_ = (bin_ + (bins + 1) / 2).clamp(0, bins + 1)
        lower = bin_.floor().clamp(max=bins).long()
        values = torch.lerp(padded[:, view, lower], padded[:, view, lower + 1], bin_ - lower)
        image = image + (values if weight is None else values * weight)
    return image.view(-1, height, width)
