r"""Penalised least squares :math:`\min_x \tfrac12 \|A x - y\|^2 + w R(x)` with a convex penalty.

The weight is stated in units of the image: :math:`w = \mathrm{weight} \cdot \|A\|^2`, so that one gradient step is
followed by denoising with threshold ``weight`` whatever the scale of :math:`A`. It is fixed, or found by a rule of
:mod:`~dip_lightning.compare.baselines.weights`. None looks at the target.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from dip_lightning.compare.baselines.base import Baseline, Watch, linear
from dip_lightning.compare.baselines.weights import by_discrepancy, by_held_out
from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.functional.held_out import Unit
from dip_lightning.measurement import Measurement
from dip_lightning.physics.norm import squared_norm

Rule = Literal["fixed", "discrepancy", "held_out"]
Prox = Callable[[Tensor, float], Tensor]


class PenalisedLeastSquares(Baseline):
    """The part that penalties share: FISTA, and the choice of the weight.

    Args:
        weight: Weight of the penalty in units of the image; where the rule finds it, the largest that is tried is a
            hundred times this.
        rule: ``fixed``; ``discrepancy``, which needs the noise level; or ``held_out``, which needs nothing.
        iterations: Iterations of FISTA (Beck and Teboulle, SIAM J. Imaging Sci. 2009) for each weight.
        tau: Factor of the noise level in the discrepancy principle.
        fraction: Part of the data that ``held_out`` keeps from the search.
        unit: What it keeps: ``element`` (pixels, detector bins, points of k-space), ``view`` or ``line``.

    Raises:
        ConfigurationError: If a number is out of range or an option is unknown.
    """

    def __init__(
        self,
        weight: float = 0.01,
        rule: Rule = "fixed",
        iterations: int = 200,
        tau: float = 1.0,
        fraction: float = 0.05,
        unit: Unit = "element",
    ) -> None:
        if weight <= 0 or iterations < 1 or tau <= 0 or not 0 < fraction < 1:
            raise ConfigurationError(
                f"weight={weight}, iterations={iterations} and tau={tau} must be positive, and fraction={fraction} "
                "between 0 and 1."
            )
        self.weight = weight
        self.rule = check_option("rule", rule, get_args(Rule))
        self.iterations = iterations
        self.tau = tau
        self.fraction = fraction
        self.unit: Unit = check_option("unit", unit, get_args(Unit))

    @classmethod
    def draws(cls, arguments: Mapping[str, Any]) -> bool:
        """Which data are held out is drawn; see the base class."""
        return arguments.get("rule") == "held_out"

    @abstractmethod
    def prox(self, measurement: Measurement) -> Prox:
        """Make the proximal operator ``(image, threshold) -> image`` of the penalty."""

    def reconstruct(self, measurement: Measurement, seed: int, watch: Watch) -> Tensor:
        """Solve with the fixed weight or the one that the rule finds; see the base class."""
        physics = linear(measurement, self)
        prox = self.prox(measurement)
        step = 0.95 / float(squared_norm(physics, measurement.initial).max())

        weight, start, iterations = self.weight, measurement.initial, self.iterations
        settings: dict[str, Any] = {"rule": self.rule, "iterations": iterations}

        def solve(y: Tensor, operator: LinearPhysics, start: Tensor, weight: float) -> Tensor:
            few = iterations // 2 + 1  # each starts where the last one ended
            return fista(start, y, operator, prox, weight, step, few, _unwatched)

        def solve_anew(y: Tensor, operator: LinearPhysics, weight: float) -> Tensor:
            return fista(torch.zeros_like(start), y, operator, prox, weight, step, iterations, _unwatched)

        if self.rule == "discrepancy":
            settings["tau"] = self.tau
            weight = by_discrepancy(measurement, physics, solve, weight, self.tau, type(self).__name__)
        elif self.rule == "held_out":
            settings |= {"fraction": self.fraction, "unit": self.unit}
            weight = by_held_out(measurement, physics, solve_anew, weight, self.fraction, self.unit, seed)
            start = torch.zeros_like(start)  # as in the search: the first image knows the data that were held out there
        self.settings = {"weight": weight, **settings}
        return fista(start, measurement.y, physics, prox, weight, step, iterations, watch)


class TotalVariation(PenalisedLeastSquares):
    r"""Total variation, :math:`R(x) = \sum \|\nabla x\|_2` (Rudin, Osher and Fatemi 1992); deepinv's ``TVDenoiser``.

    Args:
        weight: See :class:`PenalisedLeastSquares`.
        rule: ``fixed``, ``discrepancy`` or ``held_out``.
        iterations: Iterations of FISTA.
        tau: Factor of the noise level in the discrepancy principle.
        fraction: Part of the data that ``held_out`` keeps from the search.
        unit: What it keeps: ``element``, ``view`` or ``line``.
        inner_iterations: Iterations of the denoiser within each, which continues where it was.
    """

    def __init__(
        self,
        weight: float = 0.01,
        rule: Rule = "fixed",
        iterations: int = 200,
        tau: float = 1.0,
        fraction: float = 0.05,
        unit: Unit = "element",
        inner_iterations: int = 20,
    ) -> None:
        super().__init__(weight, rule, iterations, tau, fraction, unit)
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
        rule: ``fixed``, ``discrepancy`` or ``held_out``.
        iterations: Iterations of FISTA.
        tau: Factor of the noise level in the discrepancy principle.
        fraction: Part of the data that ``held_out`` keeps from the search.
        unit: What it keeps: ``element``, ``view`` or ``line``.
        wavelet: Name of the wavelet, as PyWavelets knows it.
        levels: Levels of the transform.
    """

    def __init__(
        self,
        weight: float = 0.01,
        rule: Rule = "fixed",
        iterations: int = 200,
        tau: float = 1.0,
        fraction: float = 0.05,
        unit: Unit = "element",
        wavelet: str = "db4",
        levels: int = 3,
    ) -> None:
        super().__init__(weight, rule, iterations, tau, fraction, unit)
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
