r"""Penalised least squares :math:`\min_x \tfrac12 \|A x - y\|^2 + w R(x)` with a convex penalty.

The weight is stated in units of the image: :math:`w = \mathrm{weight} \cdot \|A\|^2`, so that one gradient step is
followed by denoising with threshold ``weight`` whatever the scale of :math:`A`. It is fixed, or found by Morozov's
discrepancy principle: the largest weight whose residual is what the noise explains,
:math:`\|A x_w - y\|^2 = \tau^2 m \sigma^2` with :math:`m` data values of noise level :math:`\sigma` (points of
k-space that were not sampled are zero and do not count). Neither looks at the target.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Literal, get_args

from deepinv.physics import LinearPhysics
from torch import Tensor

from dip_lightning.compare.baselines.base import Baseline, Watch, linear, squared_norm
from dip_lightning.errors import ConfigurationError, MeasurementError, check_option
from dip_lightning.measurement import Measurement
from dip_lightning.physics.noise_level import present_data

Rule = Literal["fixed", "discrepancy"]
Prox = Callable[[Tensor, float], Tensor]
_SEARCH = 12  # halvings of the interval, in the logarithm


class PenalisedLeastSquares(Baseline):
    """The part that penalties share: FISTA, and the choice of the weight.

    Args:
        weight: Weight of the penalty in units of the image; where the rule finds it, the largest that is tried is a
            hundred times this.
        rule: ``fixed``, or ``discrepancy`` (needs the noise level).
        iterations: Iterations of FISTA (Beck and Teboulle, SIAM J. Imaging Sci. 2009) for each weight.
        tau: Factor of the noise level in the discrepancy principle.

    Raises:
        ConfigurationError: If a number is out of range or the rule is unknown.
    """

    def __init__(self, weight: float = 0.01, rule: Rule = "fixed", iterations: int = 200, tau: float = 1.0) -> None:
        if weight <= 0 or iterations < 1 or tau <= 0:
            raise ConfigurationError(f"weight={weight}, iterations={iterations} and tau={tau} must be positive.")
        self.weight = weight
        self.rule = check_option("rule", rule, get_args(Rule))
        self.iterations = iterations
        self.tau = tau

    @abstractmethod
    def prox(self, measurement: Measurement) -> Prox:
        """Make the proximal operator ``(image, threshold) -> image`` of the penalty."""

    def reconstruct(self, measurement: Measurement, seed: int, watch: Watch) -> Tensor:
        """Solve with the fixed weight or the one that the rule finds; see the base class."""
        physics = linear(measurement, self)
        prox = self.prox(measurement)
        step = 0.95 / squared_norm(physics, measurement.initial)
        weight = self.weight
        if self.rule == "discrepancy":
            weight = self._discrepancy(measurement, physics, prox, step)
        self.settings = {"weight": weight, "rule": self.rule, "tau": self.tau, "iterations": self.iterations}
        return fista(measurement.initial, measurement.y, physics, prox, weight, step, self.iterations, watch)

    def _discrepancy(self, measurement: Measurement, physics: LinearPhysics, prox: Prox, step: float) -> float:
        level = measurement.noise_level
        if not level:
            raise MeasurementError(
                f"{type(self).__name__} with rule: discrepancy needs the noise level of {', '.join(measurement.ids)}, "
                f"which is {'zero' if level == 0 else 'unknown'}; use rule: fixed."
            )
        values = int(present_data(measurement).sum()) * (2 if measurement.y.is_complex() else 1)
        allowed = self.tau**2 * values * level**2
        low, high = math.log(self.weight / 1000), math.log(self.weight * 100)
        x = measurement.initial
        for _ in range(_SEARCH):  # the residual grows with the weight
            middle = (low + high) / 2
            x = fista(x, measurement.y, physics, prox, math.exp(middle), step, self.iterations // 2 + 1, _unwatched)
            residual = float((physics.A(x) - measurement.y).abs().square().sum())
            low, high = (middle, high) if residual < allowed else (low, middle)
        return math.exp(low)


class TotalVariation(PenalisedLeastSquares):
    r"""Total variation, :math:`R(x) = \sum \|\nabla x\|_2` (Rudin, Osher and Fatemi 1992); deepinv's ``TVDenoiser``.

    Args:
        weight: See :class:`PenalisedLeastSquares`.
        rule: ``fixed`` or ``discrepancy``.
        iterations: Iterations of FISTA.
        tau: Factor of the noise level in the discrepancy principle.
        inner_iterations: Iterations of the denoiser within each, which continues where it was.
    """

    def __init__(
        self,
        weight: float = 0.01,
        rule: Rule = "fixed",
        iterations: int = 200,
        tau: float = 1.0,
        inner_iterations: int = 20,
    ) -> None:
        super().__init__(weight, rule, iterations, tau)
        self.inner_iterations = inner_iterations

    def prox(self, measurement: Measurement) -> Prox:
        """Total variation denoising; see the base class."""
        from deepinv.models import TVDenoiser

        denoiser = TVDenoiser(n_it_max=self.inner_iterations, crit=0.0)
        return lambda image, threshold: denoiser(image, threshold)


class Wavelet(PenalisedLeastSquares):
    r"""Sum of the absolute detail coefficients of an orthonormal wavelet transform.

    deepinv's ``WaveletDenoiser``; its ``WaveletPrior`` multiplies the threshold by 0.1.

    Args:
        weight: See :class:`PenalisedLeastSquares`.
        rule: ``fixed`` or ``discrepancy``.
        iterations: Iterations of FISTA.
        tau: Factor of the noise level in the discrepancy principle.
        wavelet: Name of the wavelet, as PyWavelets knows it.
        levels: Levels of the transform.
    """

    def __init__(
        self,
        weight: float = 0.01,
        rule: Rule = "fixed",
        iterations: int = 200,
        tau: float = 1.0,
        wavelet: str = "db4",
        levels: int = 3,
    ) -> None:
        super().__init__(weight, rule, iterations, tau)
        self.wavelet = wavelet
        self.levels = levels

    def prox(self, measurement: Measurement) -> Prox:
        """Soft thresholding of wavelet coefficients; see the base class."""
        try:
            from deepinv.models import WaveletDenoiser

            device = measurement.initial.device
            denoiser = WaveletDenoiser(level=self.levels, wv=self.wavelet, non_linearity="soft", device=device)
        except ImportError as error:
            raise ConfigurationError(
                "Wavelet needs the package ptwt: pip install 'dip_lightning[baselines]'."
            ) from error
        return lambda image, threshold: denoiser(image, threshold)


def fista(
    start: Tensor,
    y: Tensor,
    physics: LinearPhysics,
    prox: Prox,
    weight: float,
    step: float,
    iterations: int,
    watch: Watch,
) -> Tensor:
    r"""Minimise :math:`\tfrac12 \|A x - y\|^2 + \frac{\mathrm{weight}}{\mathrm{step}} R(x)`.

    Args:
        start: First image, ``[B, C, H, W]``.
        y: Data.
        physics: :math:`A`.
        prox: Proximal operator of :math:`R`.
        weight: Threshold of each application of it.
        step: Step size, below :math:`1 / \|A\|^2`.
        iterations: How many.
        watch: Is shown every iterate.

    Returns:
        ``[B, C, H, W]``.
    """
    x, ahead, momentum = start, start, 1.0
    for iteration in range(1, iterations + 1):
        before = x
        x = prox(ahead - step * physics.A_adjoint(physics.A(ahead) - y), weight)
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = x + (momentum - 1) / following * (x - before)
        momentum = following
        watch(iteration, x)
    return x


def _unwatched(iteration: int, image: Tensor) -> None:
    """Record nothing of the search for a weight."""
