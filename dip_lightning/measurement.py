"""The measurement that a fit reconstructs: data, forward operator, and what is known beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from deepinv.physics import Physics
from torch import Tensor

from dip_lightning.errors import MeasurementError
from dip_lightning.placement import move_physics, move_tensor


@dataclass(frozen=True)
class Measurement:
    r"""One or more measurements :math:`y = A x + n` that are reconstructed together.

    Every tensor has a leading dimension ``B``, the number of measurements; ``B = 1`` is the ordinary case.

    Attributes:
        y: Measured data, ``[B, ...]``.
        physics: Forward operator :math:`A` from images ``[B, C, H, W]`` to data of ``y``'s shape.
        initial: First image made from ``y`` alone (FBP, zero-filled, noisy image), ``[B, C, H, W]``.
        ids: A folder-safe name for each member; all different, except where one measurement is repeated.
        task: ``ct``, ``mri``, ``denoising``, ... : the second half of the run folder's name.
        target: Ground truth or reference reconstruction, ``[B, C, H, W]``. For the record only: no fit reads it.
        reference: Image of a similar object, for reference-guided methods, ``[B, C, H, W]``.
        noise_level: Standard deviation of the noise on ``y``, in units of ``y``; ``None`` where unknown.
        value_range: Range of the image values ``(low, high)``: metrics clip to it and take its length as data range.
            ``None`` scores unclipped, with the target's maximum as data range (MRI).
        magnitude: Whether images are two-channel complex, to be scored and shown by their magnitude.
        crop: Height and width of the centre that metrics score; ``None`` scores the whole image (fastMRI: 320x320).
        units: What an image value of 1 means, e.g. ``"mu / 0.08 per mm"``.
        make_initial: Makes the first image from other data and the physics, as ``initial`` was made from ``y``;
            ``None`` where it is not known how.
        metadata: Anything worth keeping in the record (file, slice, geometry, scaling).
        repetitions: Where measurements stand in the batch several times, to be fitted from several seeds: which time
            this is for each member, added to its seed. ``None`` where none is repeated.
    """

    y: Tensor
    physics: Physics
    initial: Tensor
    ids: tuple[str, ...]
    task: str
    target: Tensor | None = None
    reference: Tensor | None = None
    noise_level: float | None = None
    value_range: tuple[float, float] | None = (0.0, 1.0)
    magnitude: bool = False
    crop: tuple[int, int] | None = None
    units: str = "1"
    metadata: dict[str, Any] = field(default_factory=dict)
    make_initial: Callable[[Tensor, Physics], Tensor] | None = None
    repetitions: tuple[int, ...] | None = None

    @property
    def batch_size(self) -> int:
        """Number of measurements reconstructed together, ``B``."""
        return self.initial.shape[0]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape ``(C, H, W)`` of one image."""
        channels, height, width = self.initial.shape[1:]
        return channels, height, width

    def as_image(self, output: Tensor) -> Tensor:
        """Take a network's output as an image: in this measurement's precision, zero where no coil sees the image.

        Data say nothing about such pixels, and they would drift.

        Args:
            output: ``[B, C, H, W]``.

        Returns:
            The same shape, with gradients.
        """
        image = output.to(self.initial.dtype).contiguous()
        support: Tensor | None = getattr(self.physics, "image_support", None)
        return image if support is None else image * support

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Data and images by the names of their fields, those that there are; each with a row for each member."""
        found = {name: getattr(self, name) for name in ("y", "initial", "target", "reference")}
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Measurement:
        """Copy to a device, and to a floating-point precision.

        Args:
            device: Where the tensors and the physics go.
            dtype: ``torch.float32`` or ``torch.float64``; complex data, and complex buffers of the physics, get the
                matching complex type. ``None`` keeps the precision.

        Returns:
            A new measurement, which shares with this one what need not change; this one stays as it is, see
            :func:`~dip_lightning.placement.move_physics`.
        """
        moved: dict[str, Any] = {name: move_tensor(tensor, device, dtype) for name, tensor in self.tensors.items()}
        return replace(self, physics=move_physics(self.physics, device, dtype), **moved)

    def validate(self) -> Measurement:
        """Check everything that would otherwise fail, or mislead, after hours of fitting.

        Returns:
            The measurement itself.

        Raises:
            MeasurementError: If a tensor is not floating point, not finite or of the wrong shape, or if the names
                of the members are not one per member and distinct.
        """
        if self.initial.ndim != 4:
            raise MeasurementError(f"The initial image must be [B, C, H, W], not {list(self.initial.shape)}.")
        members = set(zip(self.ids, self.repetitions or (0,) * len(self.ids), strict=True))
        if len(self.ids) != self.batch_size or len(members) != len(self.ids):
            raise MeasurementError(f"{self.batch_size} measurements need as many distinct ids, not {self.ids}.")
        for name, tensor in self.tensors.items():
            check_tensor(f"{name} of measurement {', '.join(self.ids)}", tensor)
        if self.target is not None and self.target.shape != self.initial.shape:
            shapes = f"{list(self.target.shape)} is not the initial image's {list(self.initial.shape)}"
            raise MeasurementError(f"The target's shape {shapes}.")
        self._check_physics()
        return self

    def _check_physics(self) -> None:
        try:
            with torch.no_grad():
                predicted = self.physics.A(self.initial)
        except (RuntimeError, ValueError) as error:
            raise MeasurementError(
                f"The physics {type(self.physics).__name__} does not accept images of shape "
                f"{list(self.initial.shape)}: {error}"
            ) from error
        if predicted.shape != self.y.shape:
            raise MeasurementError(
                f"y has shape {list(self.y.shape)}, but {type(self.physics).__name__} maps images "
                f"{list(self.initial.shape)} to {list(predicted.shape)}. Give the geometry that y was measured with."
            )


def check_tensor(name: str, tensor: Tensor) -> Tensor:
    """Return ``tensor`` if it can be fitted: a tensor, floating point or complex, not empty, finite.

    Args:
        name: What the tensor is, for the message.
        tensor: The tensor to check.

    Raises:
        MeasurementError: If it is none of torch's or of an integer type, or if a value is NaN or infinite, or if there
            are none.
    """
    if not isinstance(tensor, Tensor):
        raise MeasurementError(
            f"{name} must be a torch tensor, not {type(tensor).__name__}: torch.from_numpy makes one."
        )
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise MeasurementError(f"{name} has type {tensor.dtype}; convert it to float32 and state its range.")
    if tensor.numel() == 0:
        raise MeasurementError(f"{name} is empty (shape {list(tensor.shape)}).")
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise MeasurementError(f"{name} holds {bad} NaN or infinite values of {tensor.numel()}; mask or repair them.")
    return tensor
