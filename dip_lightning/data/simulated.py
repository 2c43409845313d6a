"""The common part of DataModules that hold images: the acquisition measures them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dip_lightning.data.base import MeasurementDataModule, with_metadata
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.measurement import Measurement
from dip_lightning.physics.acquisition import Acquisition


class SimulatedMeasurements(MeasurementDataModule):
    """Measurements simulated from images; a subclass says which.

    The noise of the measurement at ``index`` has the seed ``noise_seed + index``, so that it is the same whether it
    is reconstructed alone or in a batch.

    Args:
        acquisition: Measures the images: forward operator, noise, first estimate.
        noise_seed: Seed of the measurement noise.
        index: Which measurement of the set.
        batch: How many, from ``index`` on, are reconstructed together.
        repeat: From how many seeds each is reconstructed at once.

    Raises:
        ConfigurationError: If the acquisition is none or a number is out of range.
    """

    #: What an image value of 1 means.
    units: str = "1"

    def __init__(
        self, acquisition: Acquisition, noise_seed: int = 0, index: int = 0, batch: int = 1, repeat: int = 1
    ) -> None:
        super().__init__(index=index, batch=batch, repeat=repeat)
        if not isinstance(acquisition, Acquisition):
            raise ConfigurationError(f"data.acquisition must be an Acquisition, not {type(acquisition).__name__}.")
        if noise_seed < 0:
            raise ConfigurationError(f"data.noise_seed={noise_seed} must not be negative.")
        self.acquisition = acquisition
        self.noise_seed = noise_seed

    @abstractmethod
    def image(self, index: int) -> tuple[Tensor, str]:
        """Make or read one image.

        Args:
            index: Which one.

        Returns:
            ``[C, H, W]`` in [0, 1], and a folder-safe name that no other index has.
        """

    def reference_image(self) -> tuple[Tensor, str] | None:
        """An image of a similar object for reference-guided methods.

        Returns:
            ``[C, H, W]`` in [0, 1] and what it is; ``None`` unless one was asked for.
        """
        return None

    def source(self) -> dict[str, Any]:
        """What the record keeps about where the images are from."""
        return {}

    def load(self, indices: Sequence[int]) -> Measurement:
        """Measure the images; see the base class.

        Raises:
            ConfigurationError: If the reference image is one of the images that are reconstructed, or
                :meth:`image` gives no name.
            MeasurementError: If the images, or the reference, have different shapes.
        """
        found = [self.image(index) for index in indices]
        if not all(isinstance(one, tuple) and len(one) == 2 for one in found):
            raise ConfigurationError(f"{type(self).__name__}.image must return an image, [C, H, W], and its name.")
        images, ids = zip(*found, strict=True)
        shapes = {name: list(image.shape) for name, image in zip(ids, images, strict=True)}
        if len({tuple(shape) for shape in shapes.values()}) > 1:
            raise MeasurementError(
                f"Images that are reconstructed together must have one shape, not {shapes}; "
                "set data.size, or data.batch to 1."
            )
        seeds = [self.noise_seed + index for index in indices]
        metadata: dict[str, Any] = {**self.source(), "noise_seeds": seeds}
        target, reference = torch.stack(images), None
        similar = self.reference_image()
        if similar is not None:
            reference, metadata["reference"] = _repeat(*similar, target, ids), similar[1]
        fields = with_metadata(self.acquisition, metadata, units=self.units, reference=reference)
        return self.acquisition.simulate(target, ids, seeds, **fields)


def _repeat(reference: Tensor, name: str, target: Tensor, ids: Sequence[str]) -> Tensor:
    """The reference for every member, if it is an image of another object than each of them."""
    if reference.shape != target.shape[1:]:
        raise MeasurementError(
            f"The reference image has shape {list(reference.shape)}, not {list(target.shape[1:])} "
            "as the images that are reconstructed; set data.size."
        )
    for member, image in zip(ids, target, strict=True):
        if torch.equal(reference, image):
            raise ConfigurationError(
                f"The reference image {name} is the ground truth of {member} itself: a method would start from the "
                "answer. Choose another data.reference."
            )
    return reference.expand_as(target).clone()


def realisation_name(name: str, index: int) -> str:
    """Name a noise realisation of a single image: the first has the image's own name.

    Args:
        name: Name of the image.
        index: Which realisation.
    """
    return name if index == 0 else f"{name}_{index:04d}"
