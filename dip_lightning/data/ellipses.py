"""Images of ellipses, antialiased: each pixel is the mean of a grid of samples inside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


class Ellipse(NamedTuple):
    """One ellipse on the square [-1, 1] x [-1, 1], x to the right and y upwards.

    Attributes:
        value: Added inside.
        a: Half axis along the ellipse's own x axis.
        b: Half axis along its own y axis.
        x: Centre.
        y: Centre.
        degrees: Rotation, counter-clockwise.
    """

    value: float
    a: float
    b: float
    x: float
    y: float
    degrees: float


#: Modified Shepp-Logan phantom: the ellipses of Shepp and Logan (IEEE Trans. Nucl. Sci. 21:21, 1974) with the
#: higher contrast of Toft (thesis, DTU, 1996).
MODIFIED_SHEPP_LOGAN = (
    Ellipse(1.0, 0.69, 0.92, 0.0, 0.0, 0.0),
    Ellipse(-0.8, 0.6624, 0.874, 0.0, -0.0184, 0.0),
    Ellipse(-0.2, 0.11, 0.31, 0.22, 0.0, -18.0),
    Ellipse(-0.2, 0.16, 0.41, -0.22, 0.0, 18.0),
    Ellipse(0.1, 0.21, 0.25, 0.0, 0.35, 0.0),
    Ellipse(0.1, 0.046, 0.046, 0.0, 0.1, 0.0),
    Ellipse(0.1, 0.046, 0.046, 0.0, -0.1, 0.0),
    Ellipse(0.1, 0.046, 0.023, -0.08, -0.605, 0.0),
    Ellipse(0.1, 0.023, 0.023, 0.0, -0.606, 0.0),
    Ellipse(0.1, 0.023, 0.046, 0.06, -0.605, 0.0),
)


def random_ellipses(seed: Sequence[int], smallest: int = 8, largest: int = 24) -> list[Ellipse]:
    """Draw a body and things inside it, all within the circle of radius 1 that a CT scan sees.

    Args:
        seed: Seed, one or several non-negative numbers.
        smallest: Least number of things inside the body.
        largest: Greatest number.

    Returns:
        The body, of value 0.3 to 0.5, then the rest, of values -0.3 to 0.5, which may overlap.
    """
    uniform = np.random.default_rng(list(seed)).uniform
    body = Ellipse(uniform(0.3, 0.5), uniform(0.6, 0.95), uniform(0.6, 0.95), 0, 0, uniform(0, 180))
    inside = []
    for _ in range(int(uniform(smallest, largest + 1))):
        a, b = (math.exp(uniform(math.log(0.02), math.log(0.35))) for _ in range(2))
        distance, direction = uniform(0, 0.9) * (1 - max(a, b)), uniform(0, 2 * math.pi)
        x, y = distance * math.cos(direction), distance * math.sin(direction)
        inside.append(Ellipse(uniform(-0.3, 0.5), a, b, x, y, uniform(0, 180)))
    return [body, *inside]


def ellipse_image(ellipses: Sequence[Ellipse], size: int, samples: int = 4) -> Tensor:
    """Sum ellipses on a pixel grid that covers [-1, 1] x [-1, 1], row 0 at the top.

    Args:
        ellipses: What to draw.
        size: Pixels along each side.
        samples: Samples in each pixel along each side.

    Returns:
        ``[1, size, size]``, float32, clipped to [0, 1].
    """
    n = size * samples
    x = (2 * torch.arange(n, dtype=torch.float64) + 1) / n - 1
    y = -x[:, None]
    fine = torch.zeros(n, n, dtype=torch.float64)
    for ellipse in ellipses:
        angle = math.radians(ellipse.degrees)
        along = (x - ellipse.x) * math.cos(angle) + (y - ellipse.y) * math.sin(angle)
        across = (y - ellipse.y) * math.cos(angle) - (x - ellipse.x) * math.sin(angle)
        fine += ellipse.value * ((along / ellipse.a) ** 2 + (across / ellipse.b) ** 2 <= 1)
    return functional.avg_pool2d(fine.clamp(0, 1)[None], samples).float()
