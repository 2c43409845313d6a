"""Pairs of first estimate and image, simulated as they are asked for."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytorch_lightning as pl
import torch
from deepinv.physics import Physics
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dip_lightning.data.ellipses import ellipse_image, random_ellipses
from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.inputs import Normalisation, minmax
from dip_lightning.physics.acquisition import Acquisition

# The last number of an image's seed. Zeros at the end of a seed do not count, so that one would make the seed of a
# phantom, which has no third number.
_TRAINING, _VALIDATION = 1, 2


class EllipsePairs(pl.LightningDataModule):
    """Random ellipses, measured: the network learns to go from first estimate to image.

    Nothing is stored. Image ``i`` of epoch ``e`` has the seed ``(seed, e * images + i, 1)``, so that every epoch has
    new images and an interrupted training continues with the ones that come next. Validation images have the seeds
    ``(seed, i, 2)``, and those of the DataModule ``Phantom`` are yet others.

    Args:
        acquisition: Measures the images; the one that the fit will have.
        size: Pixels along each side; the network is for any size, so that a smaller one than the fit's will do.
        images: Training images in an epoch.
        validation_images: Validation images, the same in every epoch.
        batch_size: Images in a batch.
        seed: Seed of images and noise.
        normalise: As in the input :class:`~dip_lightning.inputs.InitialEstimate` of the fit.
        samples: Samples in each pixel along each side, for antialiasing; 2 is four times as fast as 4.
        workers: Processes that simulate; 0 simulates in the training process.

    Raises:
        ConfigurationError: If a number is out of range or the normalisation unknown.
    """

    def __init__(
        self,
        acquisition: Acquisition,
        size: int = 128,
        images: int = 32000,
        validation_images: int = 128,
        batch_size: int = 32,
        seed: int = 0,
        normalise: Normalisation = "none",
        samples: int = 2,
        workers: int = 0,
    ) -> None:
        super().__init__()
        if min(size, images, validation_images, batch_size, samples) < 1 or min(seed, workers) < 0:
            raise ConfigurationError(
                f"data: size={size}, images={images}, validation_images={validation_images}, "
                f"batch_size={batch_size} and samples={samples} must be at least 1, seed={seed} and "
                f"workers={workers} not negative."
            )
        self.acquisition = acquisition
        self.size = size
        self.images = images
        self.validation_images = validation_images
        self.batch_size = batch_size
        self.seed = seed
        self.normalise: Normalisation = check_option("normalise", normalise, get_args(Normalisation))
        self.samples = samples
        self.workers = workers

    def setup(self, stage: str) -> None:
        """Build the forward operator, once."""
        if not hasattr(self, "physics"):
            self.physics = self.acquisition.physics((1, self.size, self.size))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """The images of the current epoch, in their order: they are random already."""
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        return self._loader(_TRAINING, epoch * self.images, self.images)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """The validation images."""
        return self._loader(_VALIDATION, 0, self.validation_images)

    def pair(self, split: int, index: int) -> tuple[Tensor, Tensor]:
        """Simulate one pair.

        Args:
            split: 1 for training, 2 for validation.
            index: Which image.

        Returns:
            First estimate and image, each ``[1, size, size]``.
        """
        seed = (self.seed, index, split)
        image = ellipse_image(random_ellipses(seed), self.size, self.samples)[None]
        physics: Physics = self.physics
        noise_seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        y, _ = self.acquisition.add_noise(physics.A(image), MemberGenerators([noise_seed]))
        first = self.acquisition.initial(y, physics)
        return (minmax(first) if self.normalise == "minmax" else first)[0], image[0]

    def _loader(self, split: int, first: int, count: int) -> DataLoader[tuple[Tensor, Tensor]]:
        return DataLoader(_Pairs(self, split, first, count), self.batch_size, num_workers=self.workers)


class _Pairs(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, source: EllipsePairs, split: int, first: int, count: int) -> None:
        self.source, self.split, self.first, self.count = source, split, first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        with torch.no_grad():
            return self.source.pair(self.split, self.first + index)
