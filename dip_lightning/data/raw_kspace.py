"""Raw k-space in array files: one's own scans, and those that research groups publish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dip_lightning.data.base import MeasurementDataModule, with_metadata
from dip_lightning.data.kspace import (
    check_acquisition,
    crop_images,
    record,
    same_shapes,
    sampled_points,
    slice_name,
)
from dip_lightning.data.readers.files import measurement_name
from dip_lightning.data.readers.kspace import check_layout, read_kspace
from dip_lightning.errors import ConfigurationError
from dip_lightning.measurement import Measurement
from dip_lightning.paths import expand_path
from dip_lightning.physics.acquisition import Acquisition


class RawKSpace(MeasurementDataModule):
    """Cartesian k-space from a file of arrays, undersampled for a test or as it was measured.

    Conventions: ``image = fftshift(ifft2(ifftshift(kspace)))`` over the last two axes, with the zero frequency at
    ``(H // 2, W // 2)``. Points that are zero in all coils were not measured and are never sampled.

    Args:
        acquisition: Mask, coil maps, whitening, first estimate, as for simulated data.
        path: ``.npy``, ``.npz``, ``.mat`` (both formats), ``.cfl`` with its ``.hdr``, ``.h5``. Environment variables
            are replaced.
        name: What the measurements are called; the file's name unless given.
        key: Name of the array, where the file holds several.
        layout: Names of the axes (``slice``, ``coil``, ``y``, ``x``) in their order, those of length 1 left out;
            ``coil y x`` unless given, ``y x coil`` for ``.mat`` and ``.cfl``.
        image_crop: Height and width to which the coil images are cropped first; all of k-space must have been
            measured.
        retrospective: ``True`` undersamples fully sampled data by the acquisition's mask; the target is the coil
            combination of all of them with the same maps. ``False`` takes data that were undersampled when they were
            measured; there is no target, and the acquisition's mask is not used.
        index: Which slice.
        batch: How many slices, from ``index`` on, are reconstructed together.
        repeat: From how many seeds each is reconstructed at once.

    Raises:
        ConfigurationError: If the acquisition is none of Cartesian MRI, or an option is out of range.
    """

    def __init__(
        self,
        acquisition: Acquisition,
        path: str,
        name: str | None = None,
        key: str | None = None,
        layout: str | None = None,
        image_crop: tuple[int, int] | None = None,
        retrospective: bool = True,
        index: int = 0,
        batch: int = 1,
        repeat: int = 1,
    ) -> None:
        super().__init__(index=index, batch=batch, repeat=repeat)
        self.acquisition = check_acquisition(acquisition)
        self.path = expand_path(path)
        self.name = name
        self.key = key
        self.layout = check_layout(layout)
        if image_crop is not None and (min(image_crop) < 1 or not retrospective):
            raise ConfigurationError(
                f"data.image_crop={list(image_crop)} must be positive, and needs fully sampled data "
                "(data.retrospective: true): cropping an aliased image is no MRI measurement."
            )
        self.image_crop = image_crop
        self.retrospective = retrospective

    def load(self, indices: Sequence[int]) -> Measurement:
        """Read the slices and undersample them; see the base class.

        Raises:
            ConfigurationError: If there is no such slice.
        """
        volume = read_kspace(self.path, self.key, self.layout)
        slices = len(volume)
        if max(indices) >= slices:
            raise ConfigurationError(
                f"data.index={self.index} with data.batch={self.batch} asks for slice {max(indices)}, but {self.path} "
                f"has {slices} (the first is 0)."
            )
        members = [self._slice(torch.from_numpy(volume[index])) for index in indices]
        name = measurement_name(self.name, self.path)
        ids = [slice_name(name, index, slices) for index in indices]
        same_shapes({i: tuple(kspace.shape) for i, (kspace, _) in zip(ids, members, strict=True)})
        kspace, sampled = (torch.stack(tensors) for tensors in zip(*members, strict=True))
        metadata: dict[str, Any] = {
            "slices": [record(self.path, n, *member) for n, member in zip(indices, members, strict=True)],
            "image_crop": None if self.image_crop is None else list(self.image_crop),
            "target": "coil combination of all samples" if self.retrospective else None,
        }
        if not self.retrospective:
            metadata["mask"] = "as measured"
        target = "combined" if self.retrospective else "none"
        fields = with_metadata(self.acquisition, metadata)
        return self.acquisition.from_kspace(kspace, ids, sampled, target=target, **fields)  # type: ignore[arg-type]

    def _slice(self, kspace: Tensor) -> tuple[Tensor, Tensor]:
        if self.image_crop is not None:
            kspace = crop_images(kspace, self.image_crop, self.path)
        return kspace, sampled_points(kspace, self.acquisition, self.path, self.retrospective)
