r"""Rules that find the weight of a penalty without the target.

Morozov's discrepancy principle takes the largest weight whose residual is what the noise explains,
:math:`\|A x_w - y\|^2 = \tau^2 m \sigma^2` with :math:`m` data values of noise level :math:`\sigma` (points of
k-space that were not sampled are zero and do not count). Held-out data need no noise level: the weight is the one whose
image, made from the others, predicts them best (cross-validation with one fold). Their noise must be independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from deepinv.physics import LinearPhysics
from torch import Tensor

from dip_lightning.errors import MeasurementError
from dip_lightning.functional.held_out import Unit, held_out_mask
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.measurement import Measurement
from dip_lightning.physics.masked import leave_out, measured
from dip_lightning.physics.noise_level import present_data

#: ``(y, physics, start, weight) -> image``.
Solve = Callable[[Tensor, LinearPhysics, Tensor, float], Tensor]
#: ``(y, physics, weight) -> image``, from zero.
SolveAnew = Callable[[Tensor, LinearPhysics, float], Tensor]

_HALVINGS = 12  # of the interval, in the logarithm
_COARSE = 11  # weights from the largest down, a factor of sqrt(10) apart


def by_discrepancy(
    measurement: Measurement, physics: LinearPhysics, solve: Solve, weight: float, tau: float, name: str
) -> float:
    """Find the weight by the discrepancy principle.

    Args:
        measurement: Data and noise level.
        physics: Its operator.
        solve: Makes the image of a weight.
        weight: A thousandth to a hundred times this is searched.
        tau: Factor of the noise level.
        name: Of the baseline, for the message.

    Returns:
        The weight.

    Raises:
        MeasurementError: If the noise level is unknown or zero.
    """
    level = measurement.noise_level
    if not level:
        raise MeasurementError(
            f"{name} with rule: discrepancy needs the noise level of {', '.join(measurement.ids)}, "
            f"which is {'zero' if level == 0 else 'unknown'}; use rule: fixed or held_out."
        )
    allowed = tau**2 * int(present_data(measurement).sum()) * level**2
    low, high = math.log(weight / 1000), math.log(weight * 100)
    x = measurement.initial
    for _ in range(_HALVINGS):  # the residual grows with the weight
        middle = (low + high) / 2
        x = solve(measurement.y, physics, x, math.exp(middle))
        residual = float((physics.A(x) - measurement.y).abs().square().sum())
        low, high = (middle, high) if residual < allowed else (low, middle)
    return math.exp(low)


def by_held_out(
    measurement: Measurement,
    physics: LinearPhysics,
    solve: SolveAnew,
    weight: float,
    fraction: float,
    unit: Unit,
    seed: int,
) -> float:
    """Find the weight by held-out data: among weights a factor of 3.2 apart, then 1.5 apart around the best.

    Args:
        measurement: Data.
        physics: Its operator.
        solve: Makes the image of a weight.
        weight: A thousandth to a hundred times this is searched.
        fraction: Part of the data that is held out.
        unit: What is held out.
        seed: Which data are held out.

    Returns:
        The weight for all data, whose squares count more by what was held out.
    """
    known = measured(physics, measurement.initial)
    generators = MemberGenerators([seed] * measurement.batch_size)
    # The middle of k-space stays: it has most of the energy, and would decide alone.
    held = held_out_mask(known, fraction, unit, generators, keep_centre=0.08 if unit == "line" else 0.0)
    kept = leave_out(physics, (~held).to(measurement.y))
    y = kept.mask * measurement.y

    def error(logarithm: float) -> float:
        x = solve(y, kept, math.exp(logarithm))
        return float((held * (physics.A(x) - measurement.y)).abs().square().sum())

    top, apart = math.log(weight * 100), math.log(10) / 2
    errors = {logarithm: error(logarithm) for logarithm in (top - k * apart for k in range(_COARSE))}
    best = min(errors, key=errors.__getitem__)
    errors |= {logarithm: error(logarithm) for logarithm in (best + apart / 3, best - apart / 3)}
    return math.exp(min(errors, key=errors.__getitem__)) / (1 - fraction)
