"""Acquisitions: what turns an image, or a file of measured data, into a :class:`Measurement`.

An acquisition knows its task's physics, noise, first estimate and scaling; a DataModule knows where images or data
come from. Any DataModule combines with any acquisition.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from deepinv.physics import Physics
from torch import Tensor

from dip_lightning.errors import demand_attribute
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.measurement import Measurement, check_tensor


class Acquisition(ABC):
    """Builds the physics of a task for an image shape, and measurements with it."""

    #: Name of the task in run folders and tables.
    task: ClassVar[str]

    @abstractmethod
    def physics(self, image_shape: tuple[int, int, int]) -> Physics:
        """Build the forward operator.

        Args:
            image_shape: ``(C, H, W)``.

        Returns:
            A deepinv physics on images ``[B, C, H, W]``.

        Raises:
            ConfigurationError: If the shape does not fit the geometry.
        """

    @abstractmethod
    def initial(self, y: Tensor, physics: Physics) -> Tensor:
        """Make the first image from the data alone.

        Args:
            y: Data, ``[B, ...]``.
            physics: What :meth:`physics` built.

        Returns:
            ``[B, C, H, W]``.
        """

    def add_noise(self, clean: Tensor, generators: MemberGenerators) -> tuple[Tensor, float | None]:
        """Add the acquisition's noise; none unless a subclass says otherwise.

        Args:
            clean: Noiseless data, ``[B, ...]``.
            generators: Randomness of each member.

        Returns:
            Noisy data and its noise level (standard deviation in units of ``y``; ``None`` where it has no single one).
        """
        return clean, 0.0

    def describe(self) -> dict[str, Any]:
        """Fields that every measurement of this acquisition gets: ``value_range``, ``magnitude``, ``metadata``."""
        return {}

    def simulate(self, image: Tensor, ids: Sequence[str], seeds: Sequence[int], **fields: Any) -> Measurement:
        """Measure an image.

        Args:
            image: Ground truth, ``[B, C, H, W]``.
            ids: Folder-safe name of each member.
            seeds: Seed of each member's noise.
            **fields: Further fields of the measurement (``units``, ``reference``, ...).

        Returns:
            A validated measurement with ``target`` set.

        Raises:
            ConfigurationError: If the class has no :attr:`task`.
        """
        demand_attribute(self, "task", "its name in run folders and tables")
        check_tensor(f"image {', '.join(ids)}", image)
        channels, height, width = image.shape[1:]
        physics = self.physics((channels, height, width))
        y, level = self.add_noise(physics.A(image), MemberGenerators(seeds))
        return self.accept(y, ids, physics=physics, target=image, noise_level=level, **fields)

    def accept(
        self,
        y: Tensor,
        ids: Sequence[str],
        *,
        physics: Physics | None = None,
        image_shape: tuple[int, int, int] | None = None,
        **fields: Any,
    ) -> Measurement:
        """Take measured data as it is.

        Args:
            y: Data, ``[B, ...]``.
            ids: Folder-safe name of each member.
            physics: Forward operator, or
            image_shape: the shape that it is built for.
            **fields: Further fields of the measurement (``target``, ``noise_level``, ``units``, ...).

        Returns:
            A validated measurement.

        Raises:
            ValueError: If neither the physics nor the image shape is given.
            ConfigurationError: If the class has no :attr:`task`.
            MeasurementError: If the data are not finite or do not fit the physics.
        """
        demand_attribute(self, "task", "its name in run folders and tables")
        check_tensor(f"y of measurement {', '.join(ids)}", y)
        if physics is None:
            if image_shape is None:
                raise ValueError("Give the physics, or the image shape to build it for.")
            physics = self.physics(image_shape)
        fields = {"make_initial": self.initial, **self.describe(), **fields}
        measurement = Measurement(
            y=y, physics=physics, initial=self.initial(y, physics), ids=tuple(ids), task=self.task, **fields
        )
        return measurement.validate()
