"""Downsampling with an antialiasing filter as an exact separable matrix."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
import torch
from deepinv.physics import LinearPhysics
from numpy.typing import NDArray
from torch import Tensor

from dip_lightning.errors import ConfigurationError, check_option

Filter = Literal["lanczos2", "bicubic", "gaussian", "box"]
Array = NDArray[np.float64]


def filter_profile(filter: Filter, distance: Array) -> Array:
    r"""Value of a filter at a distance in pixels of the small image.

    ``lanczos2``: :math:`\mathrm{sinc}(t)\,\mathrm{sinc}(t/2)` for :math:`|t| < 2`; ``bicubic``: Keys' kernel with
    :math:`a = -1/2` (MATLAB's ``imresize``, Pillow); ``gaussian``: standard deviation 1/2, cut off at 2; ``box``: 1 for
    :math:`|t| < 1/2`, the mean over blocks.
    """
    t = np.abs(distance)
    if filter == "lanczos2":
        return np.where(t < 2, np.sinc(t) * np.sinc(t / 2), 0.0)
    if filter == "bicubic":
        near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
        return np.where(t <= 1, near, np.where(t < 2, far, 0.0))
    if filter == "gaussian":
        return np.where(t < 2, np.exp(-2 * t**2), 0.0)
    return np.where(t < 0.5, 1.0, 0.0)


def downsampling_matrix(length: int, factor: int, filter: Filter) -> Array:
    """Matrix that shrinks one axis.

    Pixel ``i`` of the small image is centred on the block of ``factor`` pixels that it covers; the filter is stretched
    by the factor, its weights sum to one, and the image goes on as its mirror image beyond the edge (the edge pixel
    repeated, as in MATLAB's ``imresize``).

    Args:
        length: Pixels of the large image, a multiple of ``factor``.
        factor: How many times smaller.
        filter: Antialiasing filter.

    Returns:
        ``[length // factor, length]``.
    """
    small = length // factor
    reach = 2 * factor
    matrix = np.zeros((small, length))
    for row in range(small):
        centre = (row + 0.5) * factor - 0.5
        columns = np.arange(math.floor(centre - reach), math.ceil(centre + reach) + 1)
        weights = filter_profile(filter, (columns - centre) / factor)
        mirrored = np.mod(columns, 2 * length)
        mirrored = np.where(mirrored < length, mirrored, 2 * length - 1 - mirrored)
        np.add.at(matrix[row], mirrored, weights / weights.sum())
    return matrix


class SeparableDownsampling(LinearPhysics):
    r"""Shrinks images along both axes, :math:`y = R_h\, x\, R_w^\top`, with the exact adjoint and pseudo-inverse.

    Args:
        image_shape: ``(C, H, W)``, both sides multiples of ``factor``.
        factor: How many times smaller.
        filter: Antialiasing filter.

    Raises:
        ConfigurationError: If a side is no multiple of the factor or the filter is unknown.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, image_shape: tuple[int, int, int], factor: int, filter: Filter = "lanczos2") -> None:
        super().__init__(img_size=image_shape)
        check_option("filter", filter, get_args(Filter))
        if image_shape[1] % factor or image_shape[2] % factor:
            raise ConfigurationError(
                f"Images of {image_shape[1]}x{image_shape[2]} cannot be made {factor} times smaller: set data.size, or "
                f"crop with data.multiple: {factor}."
            )
        for name, length in (("rows", image_shape[1]), ("columns", image_shape[2])):
            self.register_buffer(name, torch.from_numpy(downsampling_matrix(length, factor, filter)).float())

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Shrink ``[B, C, H, W]`` to ``[B, C, H / factor, W / factor]``."""
        return self.rows @ x @ self.columns.T

    def A_adjoint(self, y: Tensor, **kwargs: Any) -> Tensor:
        """Apply the transpose of :meth:`A`."""
        return self.rows.T @ y @ self.columns

    def A_dagger(self, y: Tensor, **kwargs: Any) -> Tensor:
        """Smallest image that shrinks to ``y``."""
        return torch.linalg.pinv(self.rows) @ y @ torch.linalg.pinv(self.columns).T
