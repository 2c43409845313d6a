"""The fastMRI data set: knees and brains, single- and multi-coil."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from dip_lightning.data.base import MeasurementDataModule, with_metadata
from dip_lightning.data.kspace import FULL, check_acquisition, record, same_shapes, sampled_points
from dip_lightning.data.readers.fastmri import FastMRISlice, count_slices, read_slice
from dip_lightning.data.readers.files import check_file, safe_names
from dip_lightning.errors import ConfigurationError, MeasurementError, check_option
from dip_lightning.functional.metrics import centre_crop
from dip_lightning.measurement import Measurement
from dip_lightning.paths import expand_path
from dip_lightning.physics.acquisition import Acquisition
from dip_lightning.physics.mri import root_sum_of_squares

_LOG = logging.getLogger(__name__)

Target = Literal["rss", "combined"]
#: How far the stored reconstruction may be from that of the k-space before a warning says so.
TOLERANCE = 0.01


class FastMRI(MeasurementDataModule):
    """Slices of fastMRI volumes (Zbontar et al., arXiv 1811.08839), as released.

    Files of the training and validation sets are fully sampled: the acquisition's mask undersamples them, and the
    target is the reconstruction of all of it. Files of the test and challenge sets bring their own mask and have no
    target; a file with both (``test_full``) is undersampled by its own mask. Lines that are zero in the file, the
    padding at both sides of many brains, are never sampled. Lines are columns: the mask's ``axis`` stays -1.

    Metrics are computed on the centre that the released reconstructions have, 320x320 for knees, as the leaderboard
    does; the data range is the maximum of the slice's target there, where the leaderboard takes the volume's.

    Registration at https://fastmri.med.nyu.edu is needed to get the data. Nothing is read but the slice in question.

    Args:
        acquisition: Mask, coil maps, whitening, first estimate. Multi-coil files need ``coils``, single-coil none.
        path: A folder of ``.h5`` files, or one of them. Environment variables are replaced.
        slice: Slice of every volume, ``middle``, or ``all``: ``index`` then counts the slices of all volumes on end.
        target: ``rss``, the root sum of squares of the coil images, as released; ``combined``, the coil combination
            with the maps of the fit, without the noise around the object.
        crop: Whether metrics are restricted to the centre.
        index: Which volume, in the order of the names; with ``slice: all`` which slice of the set.
        batch: How many, from ``index`` on, are reconstructed together.
        repeat: From how many seeds each is reconstructed at once.

    Raises:
        ConfigurationError: If an option is unknown, or the acquisition is none of Cartesian MRI.
    """

    def __init__(
        self,
        acquisition: Acquisition,
        path: str,
        slice: int | str = "middle",
        target: Target = "rss",
        crop: bool = True,
        index: int = 0,
        batch: int = 1,
        repeat: int = 1,
    ) -> None:
        super().__init__(index=index, batch=batch, repeat=repeat)
        self.acquisition = check_acquisition(acquisition)
        self.path = expand_path(path)
        if not isinstance(slice, int):
            check_option("data.slice", slice, ("middle", "all"))
        elif slice < 0:
            raise ConfigurationError(f"data.slice={slice} must not be negative.")
        self.slice = slice
        self.target: Target = check_option("data.target", target, get_args(Target))
        self.crop = crop

    def load(self, indices: Sequence[int]) -> Measurement:
        """Read the slices and undersample them; see the base class.

        Raises:
            ConfigurationError: If the index is past the end, or the slice is.
            MeasurementError: If a file cannot be used, or the slices differ in shape or in the centre that is scored.
        """
        files = list_volumes(self.path)
        chosen = [self._find(files, index) for index in indices]
        slices = [read_slice(path, number) for path, number in chosen]
        names = dict(zip(files, safe_names(files), strict=True))
        ids = [f"{names[path]}_slice{part.number:02d}" for (path, _), part in zip(chosen, slices, strict=True)]
        same_shapes({i: part.kspace.shape for i, part in zip(ids, slices, strict=True)})
        kspace = torch.stack([torch.from_numpy(part.kspace) for part in slices])
        sampled = torch.stack([self._sampled(path, part) for (path, _), part in zip(chosen, slices, strict=True)])
        full = all(_is_full(part) for part in slices)
        metadata: dict[str, Any] = {
            "slices": [
                {**record(path, part.number, member, points), "attributes": part.attributes, **_compared(path, part)}
                for (path, _), part, member, points in zip(chosen, slices, kspace, sampled, strict=True)
            ],
            "mask_of_file": [part.mask is not None for part in slices],
            **({"mask": "of the file"} if all(part.mask is not None for part in slices) else {}),
            "target": self.target if full else None,
        }
        fields = with_metadata(self.acquisition, metadata, crop=_same_crop(ids, slices) if self.crop else None)
        return self.acquisition.from_kspace(kspace, ids, sampled, target=self.target if full else "none", **fields)

    def _find(self, files: list[Path], index: int) -> tuple[Path, int | None]:
        """File and slice of an index; ``None`` is the middle slice."""
        if self.slice != "all":
            if index < len(files):
                return files[index], None if self.slice == "middle" else int(self.slice)
            raise ConfigurationError(
                f"data.index={self.index} with data.batch={self.batch} asks for volume {index}, but {self.path} has "
                f"{len(files)} (the first is 0)."
            )
        before = 0
        for path in files:
            try:
                count = count_slices(path)
            except MeasurementError as error:  # the others stay usable
                _LOG.warning("%s It is left out.", error)
                continue
            if index < before + count:
                return path, index - before
            before += count
        raise ConfigurationError(
            f"data.index={self.index} with data.batch={self.batch} asks for slice {index}, but the volumes of "
            f"{self.path} have {before} (the first is 0)."
        )

    def _sampled(self, path: Path, part: FastMRISlice) -> Tensor:
        kspace = torch.from_numpy(part.kspace)
        if part.mask is None:
            return sampled_points(kspace, self.acquisition, path, retrospective=_is_full(part))
        sampled = (kspace != 0).any(0) & torch.from_numpy(part.mask)
        if not bool(sampled.any()):
            raise MeasurementError(f"{path}: the mask of the file samples nothing of slice {part.number}.")
        return sampled


def list_volumes(path: Path) -> list[Path]:
    """Volumes that a path stands for: itself, or the ``.h5`` files of a folder in the order of their names.

    Raises:
        MeasurementError: If there is none.
    """
    if not path.is_dir():
        return [check_file(path)]
    files = sorted(file for file in path.iterdir() if file.suffix == ".h5" and not file.name.startswith("."))
    if not files:
        raise MeasurementError(f"The folder {path} holds no fastMRI volumes (.h5).")
    return files


def _same_crop(ids: list[str], slices: list[FastMRISlice]) -> tuple[int, int]:
    """The centre that metrics are computed on: one for a whole batch."""
    sizes = {name: list(part.size) for name, part in zip(ids, slices, strict=True)}
    if len({part.size for part in slices}) > 1:
        raise MeasurementError(
            f"Slices that are reconstructed together must have reconstructions of one size, not {sizes}; set "
            "data.batch to 1, or data.crop: false."
        )
    return slices[0].size


def _is_full(part: FastMRISlice) -> bool:
    return bool((part.kspace != 0).any(0).mean() >= FULL)


def _compared(path: Path, part: FastMRISlice) -> dict[str, Any]:
    """How far the file's reconstruction is from that of its k-space: they should be one."""
    if part.reconstruction is None or not _is_full(part):
        return {}
    image = root_sum_of_squares(torch.from_numpy(part.kspace)[None])[0, 0]
    stored, ours = part.reconstruction, centre_crop(image, part.size).numpy()
    if ours.shape != stored.shape:
        raise MeasurementError(
            f"{path}: the reconstruction {list(stored.shape)} is larger than k-space {list(part.kspace.shape)}."
        )
    error = float(np.linalg.norm(ours - stored) / max(float(np.linalg.norm(stored)), 1e-30))
    if error > TOLERANCE:
        _LOG.warning("%s: the stored reconstruction is %.1f %% off that of the k-space.", path, 100 * error)
    return {"stored_reconstruction_nrmse": error}
