"""Input updates that solve for the image nearest to the output that explains the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from deepinv.optim.linear import least_squares
from torch import Tensor

from dip_lightning.callbacks.input_update import Output, _InputUpdate
from dip_lightning.errors import ConfigurationError
from dip_lightning.measurement import Measurement
from dip_lightning.physics.least_squares import CG_EPS
from dip_lightning.physics.norm import squared_norm

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP


class ProximalInputUpdate(_InputUpdate):
    r"""Make the next input the image near the output that explains the data.

    .. math:: z_k = \arg\min_z \|A z - y\|^2 + \mu \|A\|^2 \|z - f\|^2

    by conjugate gradients from the output :math:`f`. :class:`DataConsistentInputUpdate` puts the measured part back in
    one step, which is right for masks; this solves, and so is right for coils and rays too, weighs the output against
    noisy data, and is well conditioned where the gradient steps of the network are not: aSeqDIP's autoencoding term
    then pulls the network to an image that has what the data say. This is the data step of half-quadratic splitting
    (Geman and Yang, IEEE TIP 4(7), 1995; with deep image priors Mataev et al., arXiv 1903.10176) at the place of
    aSeqDIP's input update; ours, the aSeqDIP authors do not use it.

    With ``report``, the estimate is the same solution for the average of the outputs where they are averaged, or for
    the last output: put this callback behind the averaging and before stopping rules.

    Args:
        weight: :math:`\mu`, in units of the operator: 0.01 for clean data, 0.1 to 0.3 for noisy ones.
        iterations: Iterations of conjugate gradients at each update.
        report: Whether the estimate is data-consistent too.
        output: ``last``, ``recomputed`` or ``average``, as in :class:`InputUpdate`.
        every: Outer steps between two updates.

    Raises:
        ConfigurationError: If an option is out of range.
    """

    def __init__(
        self, weight: float = 0.1, iterations: int = 5, report: bool = True, output: Output = "last", every: int = 1
    ) -> None:
        super().__init__(output, every)
        if weight <= 0 or iterations < 1:
            raise ConfigurationError(f"weight={weight} must be positive and iterations={iterations} at least 1.")
        self.weight = weight
        self.iterations = iterations
        self.report = report
        self._norm: tuple[Measurement, Tensor] | None = None

    @property
    def makes_estimate(self) -> bool:
        """Whether the estimate is made here, and rules that look at it have to come later."""
        return self.report

    def on_train_start(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Check that the physics is linear; see the base class.

        Raises:
            ConfigurationError: If it has no adjoint.
        """
        super().on_train_start(trainer, pl_module)
        physics = pl_module.measurement.physics
        if not hasattr(physics, "A_adjoint"):
            raise ConfigurationError(
                f"ProximalInputUpdate needs a linear physics, and {type(physics).__name__} has no A_adjoint: "
                "use InputUpdate."
            )

    def new_input(self, pl_module: BaseDIP, output: Tensor) -> Tensor:
        """Solve from the output; report."""
        return self._solved(pl_module, output, self.weight)

    def _solved(self, pl_module: BaseDIP, output: Tensor, weight: float | Tensor) -> Tensor:
        measurement = pl_module.measurement
        solved = self.solve(output, measurement, weight)
        if self.report:
            average = pl_module.reports.get("average", output)
            pl_module.report("consistent", solved if average is output else self.solve(average, measurement, weight))
        return solved

    def solve(self, image: Tensor, measurement: Measurement, weight: float | Tensor | None = None) -> Tensor:
        r"""Solve :math:`\min_z \|A z - y\|^2 + \mu \|A\|^2 \|z - \mathrm{image}\|^2`.

        Args:
            image: ``[B, C, H, W]``.
            measurement: Gives :math:`A` and :math:`y`.
            weight: :math:`\mu`, one number or ``[B]``; the callback's own unless given.

        Returns:
            ``[B, C, H, W]``, without gradient.
        """
        physics: Any = measurement.physics
        weight = self.weight if weight is None else weight
        with torch.no_grad():
            solution: Tensor = least_squares(
                physics.A,
                physics.A_adjoint,
                measurement.y,
                z=image,
                init=image,
                gamma=1 / (weight * self.squared_norm(measurement)),
                parallel_dim=[0],
                max_iter=self.iterations,
                eps=CG_EPS,
                tol=0.0,  # every update costs the same, whoever else is in the batch
            )
        return solution

    def squared_norm(self, measurement: Measurement) -> Tensor:
        r"""Compute :math:`\|A\|^2`, ``[B]``, once for a measurement."""
        if self._norm is None or self._norm[0] is not measurement:
            self._norm = (measurement, squared_norm(measurement.physics, measurement.initial))
        return self._norm[1]
