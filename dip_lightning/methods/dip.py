"""Vanilla deep image prior."""

from __future__ import annotations

from torch import Tensor

from dip_lightning.measurement import Measurement
from dip_lightning.methods.base import BaseDIP


class DIP(BaseDIP):
    r"""Deep image prior: :math:`\min_\theta \|A f_\theta(z) - y\|`, estimate :math:`f_\theta(z)`.

    Source: Ulyanov, Vedaldi and Lempitsky, arXiv 1711.10925. The released code minimises the mean square, adds
    normal noise of 1/30 to the input at every step (``input_noise``) and reports the running average of the outputs
    (callback ``OutputAveraging``); all three are options here.
    """

    static_step = True

    def objective(self, estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
        """Data term alone; see the base class."""
        return {"data": self.data_distance(estimate, measurement)}
