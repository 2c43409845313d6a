"""Measurements simulated from the slices of a volume."""

from __future__ import annotations

from functools import cached_property
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from dip_lightning.data.framing import Framing, Resize
from dip_lightning.data.readers.files import safe_names
from dip_lightning.data.readers.nifti import Axis, NiftiVolume
from dip_lightning.data.readers.values import Window, check_window, to_unit_range
from dip_lightning.data.simulated import SimulatedMeasurements
from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.paths import expand_path
from dip_lightning.physics.acquisition import Acquisition


class NiftiSlices(SimulatedMeasurements):
    """A simulated measurement of one slice of a NIfTI volume; needs ``pip install 'dip-lightning[nifti]'``.

    Values become intensities in [0, 1] by the window, after the file's scale factors. Slices are brought to the usual
    view (see :class:`~dip_lightning.data.readers.nifti.NiftiVolume`).

    Args:
        acquisition: Measures the image: forward operator, noise, first estimate.
        path: A ``.nii`` or ``.nii.gz`` file. Environment variables are replaced.
        window: File values ``[low, high]`` that become 0 and 1, clipped outside; ``[-1000, 1000]`` for CT.
        axis: ``axial``, ``coronal`` or ``sagittal``.
        size: ``n`` for ``n x n`` or ``[height, width]``; ``None`` keeps the slice's.
        resize: ``mean_pool`` (whole factors), ``bicubic`` or ``bilinear``.
        square: Crop the centre square first.
        multiple: Crop to a multiple of this last.
        noise_seed: Seed of the measurement noise; the measurement at ``index`` uses ``noise_seed + index``.
        index: Which slice: from feet to head, back to front, or left to right.
        batch: How many, from ``index`` on, are reconstructed together.
        repeat: From how many seeds each is reconstructed at once.

    Raises:
        ConfigurationError: If an option is unknown or out of range, or if an environment variable is not set.
    """

    def __init__(
        self,
        acquisition: Acquisition,
        path: str,
        window: Window,
        axis: Axis = "axial",
        size: int | tuple[int, int] | None = None,
        resize: Resize = "bicubic",
        square: bool = False,
        multiple: int = 1,
        noise_seed: int = 0,
        index: int = 0,
        batch: int = 1,
        repeat: int = 1,
    ) -> None:
        super().__init__(acquisition, noise_seed=noise_seed, index=index, batch=batch, repeat=repeat)
        self.path = expand_path(path)
        if not self.path.name.lower().endswith((".nii", ".nii.gz")):
            raise ConfigurationError(f"data.path={path} must be a .nii or .nii.gz file; ImageFile reads other images.")
        self.window = check_window(window)
        self.axis: Axis = check_option("data.axis", axis, get_args(Axis))
        self.framing = Framing(size, resize, square, multiple)
        self.units = f"file values {window[0]:g} to {window[1]:g} as 0 to 1"

    @cached_property
    def volume(self) -> NiftiVolume:
        """The volume, opened when the first slice is asked for."""
        return NiftiVolume(self.path)

    def image(self, index: int) -> tuple[Tensor, str]:
        """Read, crop and resize a slice; see the base class.

        Raises:
            ConfigurationError: If there are fewer slices, or if nibabel is not installed.
            MeasurementError: If the file cannot be used.
        """
        values = to_unit_range(self.volume.read(self.axis, index), self.path, self.window)
        image = self.framing(torch.from_numpy(np.ascontiguousarray(values))[None], str(self.path)).contiguous()
        stem = safe_names([self.path])[0].removesuffix(".nii")
        return image, f"{stem}_{self.axis}_{index:04d}"

    def source(self) -> dict[str, Any]:
        """File, axis, window, and distance of the slice's rows and columns in mm before resizing."""
        spacing = list(self.volume.spacing(self.axis))
        settings = {"axis": self.axis, "window": self.window, "size": self.framing.size}
        return {"file": str(self.path), "spacing_mm": spacing, **settings}
