"""Deep image prior with total variation."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.functional.losses import distance
from dip_lightning.functional.tv_prox import tv_prox
from dip_lightning.measurement import Measurement
from dip_lightning.methods.dip import DIP
from dip_lightning.penalties import TotalVariation

TVReduction = Literal["sum", "mean"]


class TVDIP(DIP):
    r"""TV-DIP: :math:`\min_\theta \|A f_\theta(z) - y\| + \lambda\,\mathrm{TV}(f_\theta(z))`, by its gradient.

    Sources: Liu et al., ICASSP 2019 (arXiv 1810.12864); for CT, Baguer, Leuschner and Schmidt 2020 (arXiv
    2003.04989), whose released settings are the defaults: mean-square data term, and the sum of the absolute
    differences with weight 1e-4. They return the output of least total loss: callback ``BestLoss``.

    Args:
        tv_weight: Weight :math:`\lambda`.
        tv_isotropic: Euclidean length of the gradient, or the sum of its parts' absolute values.
        tv_reduction: ``sum`` over pixels and channels, or their ``mean``.
        **kwargs: See :class:`~dip_lightning.methods.settings.FitSettings`.

    Raises:
        ConfigurationError: If the weight is negative or the reduction unknown.
    """

    static_step = True

    def __init__(
        self, tv_weight: float = 1e-4, tv_isotropic: bool = False, tv_reduction: TVReduction = "sum", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.total_variation = TotalVariation(tv_weight, tv_isotropic, tv_reduction)

    def objective(self, estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
        """Data term and total variation; see the base class."""
        return {**super().objective(estimate, measurement), "tv": self.total_variation(estimate)}


class TVDIPSplitting(DIP):
    r"""TV-DIP by half-quadratic splitting: total variation acts on an auxiliary image ``w``, by its proximal map.

    Outer step :math:`k` first solves, then makes its optimiser steps on,

    .. math:: w_k = \arg\min_w \lambda\,\mathrm{TV}(w) + \beta_k \|f_\theta(z) - w\|^2, \qquad
        \min_\theta \|A f_\theta(z) - y\|^2 + \beta_k \|f_\theta(z) - w_k\|^2

    with :math:`\beta_k` growing geometrically from ``beta_start`` to ``beta_end``. Where both settle, and
    :math:`\beta` is large, this is the minimum of TV-DIP's own objective. The first outer step has no output yet and
    makes its steps on the data term alone. With ``reduction="mse"`` both squares are divided by their number of
    elements, and the sum of TV by that of the image: :math:`\lambda` then weighs the mean of TV.

    Args:
        tv_weight: Weight :math:`\lambda`.
        tv_isotropic: Euclidean length of the gradient, or the sum of its parts' absolute values.
        beta_start: First weight :math:`\beta` of the coupling.
        beta_end: Its weight in the last outer step.
        prox_iterations: Iterations of the proximal map.
        inner_steps: Optimiser steps for each ``w``.
        **kwargs: See :class:`~dip_lightning.methods.settings.FitSettings`; ``reduction`` is ``mse`` or ``sum``.

    Raises:
        ConfigurationError: If a number is out of range, or the reduction is ``norm``.
    """

    auxiliary: Tensor

    def __init__(
        self,
        tv_weight: float = 1e-2,
        tv_isotropic: bool = True,
        beta_start: float = 0.01,
        beta_end: float = 0.5,
        prox_iterations: int = 100,
        inner_steps: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(inner_steps=inner_steps, **kwargs)
        check_option("reduction", self.reduction, ("mse", "sum"))
        if tv_weight < 0 or not 0 < beta_start <= beta_end or prox_iterations < 1:
            raise ConfigurationError(
                f"tv_weight={tv_weight} must not be negative, beta_start={beta_start} must be positive and at most "
                f"beta_end={beta_end}, and prox_iterations={prox_iterations} at least 1."
            )
        self.tv_weight = tv_weight
        self.tv_isotropic = tv_isotropic
        self.beta_start = beta_start
        self.beta_end = beta_end
        self.prox_iterations = prox_iterations

    @property
    def beta(self) -> float:
        """Weight of the coupling in the current outer step."""
        progress = self.outer_step / max(self.outer_steps - 1, 1)
        return float(self.beta_start * (self.beta_end / self.beta_start) ** progress)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Solve for the auxiliary image, then make an outer step; see the base class."""
        if self.outer_step:
            self.auxiliary = tv_prox(
                self.last_output, self.tv_weight / (2 * self.beta), self.tv_isotropic, self.prox_iterations
            )
        super().training_step(batch, batch_idx)

    def objective(self, estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
        """Data term and coupling to the auxiliary image; see the base class."""
        terms = super().objective(estimate, measurement)
        if self.outer_step:
            terms["coupling"] = self.beta * distance(estimate, self.of_stack(self.auxiliary), self.reduction)
        return terms
