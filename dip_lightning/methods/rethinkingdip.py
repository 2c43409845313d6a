"""Deep image prior on a risk estimate."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.functional.sure import Probe, draw_probe, product_by_difference, product_with_jacobian, risk_terms
from dip_lightning.inputs import InputMap, LinearEstimate
from dip_lightning.measurement import Measurement
from dip_lightning.methods.base import BaseDIP
from dip_lightning.physics.noise_level import known_noise_level, present_data

NoiseModel = Literal["gaussian", "poisson"]
Divergence = Literal["exact", "difference"]


class RethinkingDIP(BaseDIP):
    r"""Rethinking-DIP: the network denoises the data themselves, and is fitted to an estimate of its true error.

    For denoising, the network's input is the noisy image and the loss is Stein's unbiased risk estimate

    .. math:: \frac1m \big( \|f_\theta(y') - y\|^2 - m \sigma^2 + 2 \sigma^2\,b^T J_f(y')\,b \big)

    with a fresh probe ``b`` at every step, and the input perturbed to
    :math:`y' = y + s\,\epsilon,\ s \sim U[0, \rho\,\sigma]` (eSURE). Source: Jo, Chun and Choi, ICCV 2021 (arXiv
    2108.12841), who stop when the loss falls below zero (callback ``ZeroCrossing``) and average the outputs
    (``OutputAveraging``). With ``noise="poisson"`` the variance is :math:`\zeta y` in place of :math:`\sigma^2`
    (PURE). The loss needs the noise level, or the gain; the truth is nowhere looked at.

    **Other operators.** The paper has denoising alone. With a linear :math:`A`, the same estimate holds for the clean
    data: the input is :math:`R y'`, with :math:`R` the adjoint or the pseudo-inverse, and the loss estimates
    :math:`\|A f_\theta(R y') - A x\|^2 / m` with the divergence :math:`b^T A J_f R\,b`. What :math:`A` does not see
    is left to the network alone, and a small error of the data is no small error of the image where :math:`A` is
    ill-conditioned. This is an extension of ours, not of the paper.

    Args:
        noise_model: ``gaussian`` or ``poisson``.
        noise_level: :math:`\sigma` in units of the data; ``None`` takes the measurement's.
        gain: :math:`\zeta` of Poisson noise, in units of the data per count (one over the peak count).
        divergence: ``exact`` by differentiating twice, or ``difference`` by a second forward pass.
        difference_step: Step of ``difference``, as a fraction of the noise's standard deviation.
        probe: ``gaussian`` as in the paper, or ``rademacher``.
        perturbation: :math:`\rho` of eSURE; 0 is plain SURE.
        input_map: :math:`R`: ``adjoint``, or ``pseudo_inverse`` (for CT, the filtered back-projection).
        **kwargs: See :class:`~dip_lightning.methods.settings.FitSettings`; the input is :math:`R y` and the
            reduction ``mse``.

    Raises:
        ConfigurationError: If an option is unknown or out of range.
    """

    _known: tuple[Measurement, Tensor] | None = None
    _probed: tuple[Tensor, Tensor, Tensor, Tensor | None]

    weighs_data = False

    def __init__(
        self,
        noise_model: NoiseModel = "gaussian",
        noise_level: float | None = None,
        gain: float | None = None,
        divergence: Divergence = "exact",
        difference_step: float = 0.5,
        probe: Probe = "gaussian",
        perturbation: float = 0.5,
        input_map: InputMap = "adjoint",
        **kwargs: Any,
    ) -> None:
        super().__init__(initial_input=LinearEstimate(input_map), **kwargs)
        check_option("reduction", self.reduction, ("mse",))
        numbers = (1.0 if noise_level is None else noise_level, 1.0 if gain is None else gain, difference_step)
        if min(numbers) <= 0 or perturbation < 0:
            raise ConfigurationError(
                f"noise_level={noise_level}, gain={gain} and difference_step={difference_step} must be positive, and "
                f"perturbation={perturbation} not negative."
            )
        self.noise_model: NoiseModel = check_option("noise_model", noise_model, get_args(NoiseModel))
        if noise_model == "poisson" and gain is None:
            raise ConfigurationError("noise_model='poisson' needs the gain: set gain to one over the peak count.")
        self.noise_level = noise_level
        self.gain = gain
        self.divergence: Divergence = check_option("divergence", divergence, get_args(Divergence))
        self.difference_step = difference_step
        self.probe: Probe = check_option("probe", probe, get_args(Probe))
        self.perturbation = perturbation
        self.input_map = LinearEstimate(input_map)

    def on_fit_start(self) -> None:
        """Check that the estimate holds for this measurement; see the base class.

        Raises:
            ConfigurationError: If the forward operator is not linear.
            MeasurementError: If the noise level is not known.
        """
        super().on_fit_start()
        if not isinstance(self.measurement.physics, LinearPhysics):
            raise ConfigurationError(
                f"{type(self).__name__} needs a linear forward operator, not {type(self.measurement.physics).__name__}."
            )
        if self.noise_model == "gaussian":
            self._sigma = known_noise_level(self.measurement, self.noise_level, type(self).__name__)

    def variance(self, measurement: Measurement) -> Tensor:
        """Variance of the noise on every datum, zero where nothing was measured; of the data's shape."""
        y = measurement.y
        if self.noise_model == "poisson":
            assert self.gain is not None
            return self.gain * y.clamp_min(0)
        return self._sigma**2 * self._present(measurement).to(y.dtype)

    def forward_estimate(self) -> Tensor:
        """Denoise the perturbed data, and draw the probe; see the base class."""
        z = self.network_input().detach()
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):  # mixed precision is the network's alone
            variance = self.variance(self.measurement)
            z, left, right = self._draw_perturbation(z, variance)
        if self.divergence == "exact":
            self._probed = left, right, z.requires_grad_(), None
        else:
            step = self._step(self.measurement, variance).view(-1, 1, 1, 1)
            self._probed = left, right, z, self.network(z + (step * right).to(z.dtype))
        return self.network(z)

    def _draw_perturbation(self, z: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Input of the perturbed data; the probe seen by the adjoint, weighted by the variance, and by the input."""
        physics, y = self.measurement.physics, self.measurement.y
        if self.perturbation > 0:
            strength = self.perturbation * self.generators.uniform((1,) * (y.ndim - 1), y.dtype)
            noise = variance.sqrt() * self.generators.normal(y.shape[1:], y.dtype)
            z = z + self.input_map.apply(physics, strength * noise).to(z.dtype)
        probe = draw_probe(self.probe, self.generators, y.shape[1:], y.dtype)
        return z, physics.A_adjoint(variance * probe), self.input_map.apply(physics, probe)

    def objective(self, estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
        """Risk estimate in two terms; see the base class."""
        variance = self.variance(measurement)
        left, right, point, shifted = self._probed
        del self._probed  # the graph in it would outlive the step, and with it the old shape of the weights
        if shifted is None:
            divergence = product_with_jacobian(estimate, point, left, right)
        else:
            divergence = product_by_difference(
                estimate, shifted.to(estimate.dtype), left, self._step(measurement, variance)
            )
        count = self._present(measurement).flatten(1).sum(1)
        return risk_terms(measurement.physics.A(estimate) - measurement.y, variance, divergence, count)

    def _step(self, measurement: Measurement, variance: Tensor) -> Tensor:
        count = self._present(measurement).flatten(1).sum(1)
        return self.difference_step * (variance.flatten(1).sum(1) / count).sqrt()

    def _present(self, measurement: Measurement) -> Tensor:
        """Data that count; found anew when others are fitted: fewer members, or all data after some were held out."""
        if self._known is None or self._known[0] is not measurement:
            self._known = (measurement, present_data(measurement))
        return self._known[1]
