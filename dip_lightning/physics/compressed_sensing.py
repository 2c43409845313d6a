"""Acquisition by random Gaussian measurements."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from deepinv.physics import LinearPhysics, Physics
from torch import Tensor

from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.physics.least_squares import least_squares_image
from dip_lightning.physics.noise import MeasurementNoise
from dip_lightning.physics.restoration import RestorationAcquisition

Initial = Literal["adjoint", "pseudo_inverse"]

#: Largest matrix that is made, bytes.
LARGEST = 2 * 1024**3


class GaussianSensing(LinearPhysics):
    r"""Products with a matrix of independent :math:`\mathcal N(0, 1/m)` entries, each channel by itself.

    One matrix ``[m, H W]`` is stored; the adjoint reads the same memory. (deepinv's ``CompressedSensing`` keeps matrix,
    transpose and pseudo-inverse, and computes the last by a singular value decomposition at construction.)

    Args:
        image_shape: ``(C, H, W)``.
        measurements: Rows of the matrix, :math:`m`.
        seed: Seed of the matrix.
    """

    matrix: Tensor

    def __init__(self, image_shape: tuple[int, int, int], measurements: int, seed: int = 0) -> None:
        super().__init__(img_size=image_shape)
        self.image_size = image_shape[1:]
        generator = torch.Generator().manual_seed(seed)
        matrix = torch.randn(measurements, math.prod(self.image_size), generator=generator)
        self.register_buffer("matrix", matrix.div_(math.sqrt(measurements)))

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Measure ``[B, C, H, W]``; gives ``[B, C, m]``."""
        return x.flatten(2) @ self.matrix.T

    def A_adjoint(self, y: Tensor, **kwargs: Any) -> Tensor:
        """Apply the transpose of :meth:`A` to ``[B, C, m]``."""
        return (y @ self.matrix).unflatten(2, self.image_size)


class CompressedSensing(RestorationAcquisition):
    r"""Random Gaussian measurements, :math:`y = A x` with :math:`A_{ij} \sim \mathcal N(0, 1/m)`.

    Memory is ``4 m H W`` bytes: 268 MB for a quarter of the pixels of 128x128. Source of the setting: Heckel and
    Soltanolkotabi, ICML 2020 (a quarter of the pixels).

    Args:
        ratio: Measurements over pixels.
        measurements: Number of measurements of each channel, in place of the ratio.
        seed: Seed of the matrix. It belongs to the operator: the same for every image and noise realisation.
        initial: First estimate: ``adjoint``, :math:`A^\top y`, or ``pseudo_inverse``, the smallest image with these
            data (conjugate gradients).
        noise: Noise of simulated data; none unless given.

    Raises:
        ConfigurationError: If a number is out of range or an option unknown.
    """

    task = "compressedsensing"

    def __init__(
        self,
        ratio: float = 0.25,
        measurements: int | None = None,
        seed: int = 0,
        initial: Initial = "adjoint",
        noise: MeasurementNoise | None = None,
    ) -> None:
        super().__init__(noise)
        if not 0 < ratio <= 1 or (measurements is not None and measurements < 1):
            raise ConfigurationError(f"ratio={ratio} must be in (0, 1] and measurements={measurements} at least 1.")
        self.ratio = ratio
        self.measurements = measurements
        self.seed = seed
        self.first = check_option("initial", initial, get_args(Initial))

    def physics(self, image_shape: tuple[int, int, int]) -> Physics:
        """Draw the matrix; see the base class.

        Raises:
            ConfigurationError: If there are more measurements than pixels, or if the matrix would not fit in memory.
        """
        pixels = image_shape[1] * image_shape[2]
        rows = self.measurements or max(1, round(self.ratio * pixels))
        if rows > pixels:
            raise ConfigurationError(f"measurements={rows} is more than the image's {pixels} pixels.")
        if 4 * rows * pixels > LARGEST:
            raise ConfigurationError(
                f"A Gaussian matrix of {rows} x {pixels} takes {4 * rows * pixels / 1e9:.1f} GB: set data.size to 128 "
                "or less, or a smaller ratio."
            )
        return GaussianSensing(image_shape, rows, self.seed)

    def initial(self, y: Tensor, physics: Physics) -> Tensor:
        """Apply the adjoint or the pseudo-inverse; see the base class."""
        with torch.no_grad():
            return physics.A_adjoint(y) if self.first == "adjoint" else least_squares_image(physics, y)

    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {"ratio": self.ratio, "measurements": self.measurements, "matrix_seed": self.seed}
