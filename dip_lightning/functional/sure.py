r"""Risk estimates that need no truth: Stein's for Gaussian noise (SURE) and its relative for Poisson noise (PURE).

For data :math:`y` of independent noise with variances :math:`v_i`, and a smooth :math:`g(y)` that estimates the clean
data :math:`\mu`,

.. math:: \frac1m \Big( \|g(y) - y\|^2 + 2 \sum_i v_i\,\partial g_i / \partial y_i - \sum_i v_i \Big)

has the mean of :math:`\|g(y) - \mu\|^2 / m`: exactly for Gaussian noise, :math:`v_i = \sigma^2` (Stein 1981), and to
first order in the gain for Poisson noise :math:`y \sim \zeta\,\mathrm{Poisson}(\mu / \zeta)` with
:math:`v_i = \zeta y_i` (Luisier, Blu and Unser, IEEE TIP 20(3), 2011; there the derivative is a difference of one
count). The divergence is estimated with a random probe ``b`` of independent entries with mean 0 and variance 1, by
:math:`E\,(v \odot b)^T J b` (Ramani, Blu and Unser, IEEE TIP 17(9), 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.random import MemberGenerators

Probe = Literal["gaussian", "rademacher"]


def check_real(y: Tensor) -> None:
    """Check that data are real: the divergence of a function of complex ones is another one.

    Args:
        y: Data, or what has their type.

    Raises:
        ConfigurationError: If they are complex.
    """
    if y.is_complex():
        raise ConfigurationError(
            "Stein's risk estimate takes real data, and these are complex: give their real and imaginary parts as "
            "channels, or take a method or a stopping rule without it (HeldOutStopping)."
        )


def draw_probe(kind: Probe, generators: MemberGenerators, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Draw a probe of mean 0 and variance 1.

    Args:
        kind: ``gaussian``, or ``rademacher``: plus or minus one, whose estimates scatter less.
        generators: Randomness of each member.
        shape: Shape of one member.
        dtype: Floating-point type.

    Returns:
        ``[B, *shape]``.
    """
    if kind == "gaussian":
        return generators.normal(shape, dtype)
    return torch.where(generators.uniform(shape, dtype) < 0.5, -1.0, 1.0).to(dtype)


def product_with_jacobian(output: Tensor, point: Tensor, left: Tensor, right: Tensor) -> Tensor:
    r"""Bilinear form :math:`l^T J r` of the Jacobian of ``output`` by ``point``, by automatic differentiation.

    The result can be differentiated again, which the training of a network on it needs. With
    :math:`l = v \odot b` and :math:`r = b` it is a probe's estimate of :math:`\sum_i v_i J_{ii}`.

    Args:
        output: ``[B, ...]``, computed from ``point``; no member from another member's.
        point: ``[B, ...]``, a tensor that requires grad.
        left: ``[B, ...]`` of the output's shape.
        right: ``[B, ...]`` of the point's shape.

    Returns:
        ``[B]``.
    """
    (transposed,) = torch.autograd.grad((left * output).sum(), point, create_graph=True)
    return (transposed * right).flatten(1).sum(1)


def product_by_difference(output: Tensor, shifted: Tensor, left: Tensor, step: Tensor) -> Tensor:
    r"""The same bilinear form by a finite difference, :math:`l^T (f(p + h r) - f(p)) / h`.

    Args:
        output: :math:`f(p)`, ``[B, ...]``.
        shifted: :math:`f(p + h r)`, ``[B, ...]``.
        left: ``[B, ...]`` of the output's shape.
        step: :math:`h` of each member, ``[B]``, in units of the point.

    Returns:
        ``[B]``.
    """
    return (left * (shifted - output)).flatten(1).sum(1) / step


def risk_terms(residual: Tensor, variance: Tensor, divergence: Tensor, count: Tensor) -> dict[str, Tensor]:
    r"""Put an estimate of the mean square error together.

    Args:
        residual: :math:`g(y) - y`, ``[B, ...]``.
        variance: :math:`v`, of the same shape; zero where nothing was measured.
        divergence: :math:`\sum_i v_i\,\partial g_i/\partial y_i` or an estimate of it, ``[B]``.
        count: Number of data :math:`m` of each member, ``[B]``.

    Returns:
        ``data``, :math:`(\|g(y) - y\|^2 - \sum_i v_i) / m`, and ``divergence``, :math:`2 D / m`, each ``[B]``. Their
        sum is the estimate; it can be negative.

    Raises:
        ConfigurationError: If the data are complex.
    """
    check_real(residual)
    data = (residual.flatten(1).square().sum(1) - variance.flatten(1).sum(1)) / count
    return {"data": data, "divergence": 2 * divergence / count}
