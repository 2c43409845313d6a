"""Reference-guided deep image prior."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.functional.losses import distance
from dip_lightning.functional.tv_prox import gradient
from dip_lightning.inputs import NetworkInput, ReferenceImage
from dip_lightning.measurement import Measurement
from dip_lightning.methods.dip import DIP

#: A reference whose values span this many times the image's range, or less than its inverse, has another scaling.
_LARGEST_RATIO = 10.0


class RefGuidedDIP(DIP):
    r"""Reference-guided DIP: the network input is an image of a similar object, fixed.

    .. math:: \min_\theta \|A f_\theta(r) - y\| + \gamma \|\nabla f_\theta(r) - \nabla r\|

    Source: Zhao et al., Sensors 20(1):308, 2020. The comparisons in the Self-Guided DIP and aSeqDIP papers take the
    data term alone, as ``structure_weight=0`` does. :math:`\nabla` are forward differences; where the reference has
    another contrast, its gradients are not those of the image, and the weight should stay zero. The reference comes
    from the DataModule (``data.init_args.reference``).

    Args:
        structure_weight: Weight :math:`\gamma` of the distance between the gradients.
        initial_input: First input; by default the reference.
        **kwargs: See :class:`~dip_lightning.methods.settings.FitSettings`.

    Raises:
        ConfigurationError: If the weight is negative.
    """

    static_step = True

    def __init__(self, structure_weight: float = 0.0, initial_input: NetworkInput | None = None, **kwargs: Any) -> None:
        super().__init__(initial_input=initial_input or ReferenceImage(), **kwargs)
        if structure_weight < 0:
            raise ConfigurationError(f"structure_weight={structure_weight} must not be negative.")
        self.structure_weight = structure_weight

    def setup(self, stage: str) -> None:
        """Check the reference against the image; see the base class.

        Raises:
            MeasurementError: If there is none, or it has another size or another scaling than the initial image.
        """
        if stage == "fit":
            check_reference(self.take_measurement(self.trainer), same_channels=self.structure_weight > 0)
        super().setup(stage)

    def objective(self, estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
        """Data term, and the distance of the gradients where it has a weight; see the base class."""
        terms = super().objective(estimate, measurement)
        if self.structure_weight:
            assert measurement.reference is not None
            difference = distance(gradients(estimate), gradients(measurement.reference), self.reduction)
            terms["structure"] = self.structure_weight * difference
        return terms


def gradients(image: Tensor) -> Tensor:
    """Forward differences of an image down and to the right, zero across the border.

    Args:
        image: ``[B, C, H, W]``.

    Returns:
        ``[B, 2 C, H, W]``.
    """
    return torch.cat(tuple(gradient(image)), dim=1)


def check_reference(measurement: Measurement, same_channels: bool = False) -> None:
    """Check that a measurement has a reference that can guide its reconstruction.

    Args:
        measurement: What is fitted; its target is not read.
        same_channels: Whether the channels must be those of the image.

    Raises:
        MeasurementError: If there is no reference, or its size or its scaling is not the image's.
    """
    reference, initial = measurement.reference, measurement.initial
    if reference is None:
        raise MeasurementError(
            "RefGuidedDIP needs an image of a similar object; set data.init_args.reference to a file or an index."
        )
    first = 1 if same_channels else 2
    if reference.ndim != 4 or len(reference) != len(initial) or reference.shape[first:] != initial.shape[first:]:
        raise MeasurementError(
            f"The reference {list(reference.shape)} must have the size of the image {list(initial.shape)}: crop or "
            "resize it as the image was."
        )
    ratio = float(reference.abs().amax() / initial.abs().amax().clamp_min(torch.finfo(initial.dtype).tiny))
    if not 1 / _LARGEST_RATIO <= ratio <= _LARGEST_RATIO:
        raise MeasurementError(
            f"The reference's largest value is {ratio:.3g} times that of the initial image: scale it to the image's "
            f"units ({measurement.units})."
        )
