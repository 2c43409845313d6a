"""Images made by linear algebra alone."""

from __future__ import annotations

from torch import Tensor

from dip_lightning.compare.baselines.base import Baseline, Watch, linear
from dip_lightning.errors import ConfigurationError
from dip_lightning.measurement import Measurement
from dip_lightning.physics.least_squares import least_squares_image


class Initial(Baseline):
    """The measurement's first image: filtered back-projection, zero-filled image, the noisy or blurred input."""

    def reconstruct(self, measurement: Measurement, seed: int, watch: Watch) -> Tensor:
        """Copy the first image; see the base class."""
        self.settings = {}
        return measurement.initial.clone()


class Adjoint(Baseline):
    r"""The adjoint :math:`A^\top y`; times the one number that fits the data best, unless ``scale`` is off.

    Args:
        scale: Whether to multiply by :math:`\langle A x, y \rangle / \|A x\|^2` with :math:`x = A^\top y`.
    """

    def __init__(self, scale: bool = True) -> None:
        self.scale = scale

    def reconstruct(self, measurement: Measurement, seed: int, watch: Watch) -> Tensor:
        """Apply the adjoint; see the base class."""
        physics = linear(measurement, self)
        x = physics.A_adjoint(measurement.y)
        self.settings = {"scale": self.scale}
        if not self.scale:
            return x
        predicted = physics.A(x)
        factor = (predicted.conj() * measurement.y).real.sum() / predicted.abs().square().sum()
        return factor * x


class ConjugateGradient(Baseline):
    r"""Least squares :math:`\min_x \|A x - y\|^2` by conjugate gradients on the normal equations (CG-SENSE for MRI).

    Started at zero. Few iterations regularise; many fit the noise.

    Args:
        iterations: Iterations at most.
        tolerance: Relative residual at which to stop earlier.

    Raises:
        ConfigurationError: If a number is out of range.
    """

    def __init__(self, iterations: int = 20, tolerance: float = 1e-6) -> None:
        if iterations < 1 or tolerance < 0:
            raise ConfigurationError(f"iterations={iterations} or tolerance={tolerance} is out of range.")
        self.iterations = iterations
        self.tolerance = tolerance

    def reconstruct(self, measurement: Measurement, seed: int, watch: Watch) -> Tensor:
        """Solve; see the base class."""
        physics = linear(measurement, self)
        self.settings = {"iterations": self.iterations, "tolerance": self.tolerance}
        return least_squares_image(physics, measurement.y, self.iterations, self.tolerance)
