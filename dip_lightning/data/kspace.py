"""From fully or partly sampled k-space to what the acquisition takes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from deepinv.utils.mixins import MRIMixin
from torch import Tensor

from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.functional.metrics import centre_crop
from dip_lightning.physics.acquisition import Acquisition
from dip_lightning.physics.mri import CartesianMRI

#: Fraction of k-space that must have been measured for it to pass as fully sampled: zero padding and partial Fourier
#: do, undersampling does not.
FULL = 0.6
#: Fraction that must have been measured before images are cropped: the crop mixes neighbouring points of k-space, and
#: would spread what was measured over what was not. Single zeros are no gap.
COMPLETE = 0.99


def check_acquisition(acquisition: Acquisition) -> CartesianMRI:
    """Return the acquisition if it takes k-space.

    Raises:
        ConfigurationError: If it does not.
    """
    if not isinstance(acquisition, CartesianMRI):
        raise ConfigurationError(
            f"data.acquisition must be CartesianMRI to take k-space, not {type(acquisition).__name__}."
        )
    return acquisition


def crop_images(kspace: Tensor, size: tuple[int, int], path: Path) -> Tensor:
    """Crop the coil images to their centre, which lowers the field of view.

    Args:
        kspace: ``[N, H, W]``, complex, fully sampled.
        size: Height and width to keep.
        path: Where it is from, for the message.

    Returns:
        ``[N, *size]``, k-space of the cropped images.

    Raises:
        MeasurementError: If the images are smaller, or points of k-space are missing.
    """
    measured = _measured_fraction(kspace)
    if measured < COMPLETE:
        raise MeasurementError(
            f"{path}: data.image_crop needs fully sampled data, but only {measured:.0%} of k-space is there; the crop "
            "would spread it over what was not measured. Leave data.image_crop out."
        )
    if size[0] > kspace.shape[-2] or size[1] > kspace.shape[-1]:
        raise MeasurementError(f"{path}: data.image_crop={list(size)} is more than {list(kspace.shape[-2:])}.")
    cropped: Tensor = MRIMixin.fft(centre_crop(MRIMixin.ifft(kspace), size))
    return cropped


def sampled_points(kspace: Tensor, acquisition: CartesianMRI, path: Path, retrospective: bool) -> Tensor:
    """Say which points the fit may use.

    Args:
        kspace: ``[N, H, W]``, complex; points that are zero in all coils were not measured.
        acquisition: Its mask undersamples.
        path: Where it is from, for the message.
        retrospective: Whether to undersample; otherwise all measured points are used.

    Returns:
        ``[H, W]``, bool.

    Raises:
        MeasurementError: If k-space is empty, if fully sampled data are already undersampled, or if undersampled ones
            are not.
    """
    measured = (kspace != 0).any(0)
    fraction = _measured_fraction(kspace)
    if fraction == 0:
        raise MeasurementError(f"{path}: all of k-space is zero; choose another array, slice or file.")
    if retrospective:
        if fraction < FULL:
            raise MeasurementError(
                f"{path}: only {fraction:.0%} of k-space is there, so that it cannot be undersampled for a test; take "
                "it as it is by data.retrospective: false."
            )
        return acquisition.mask((kspace.shape[-2], kspace.shape[-1])) & measured
    if fraction == 1:
        raise MeasurementError(
            f"{path}: all of k-space was sampled: nothing is to reconstruct. Undersample it by data.retrospective: "
            "true."
        )
    return measured


def _measured_fraction(kspace: Tensor) -> float:
    return float((kspace != 0).any(0).float().mean())


def same_shapes(shapes: dict[str, tuple[int, ...]]) -> None:
    """Refuse k-space of different shapes in one batch.

    Raises:
        MeasurementError: If they differ.
    """
    if len(set(shapes.values())) > 1:
        listed = {name: list(shape) for name, shape in shapes.items()}
        raise MeasurementError(f"K-space that is reconstructed together must have one shape, not {listed}.")


def slice_name(name: str, number: int, slices: int) -> str:
    """Name of a slice: with its number where there are several."""
    digits = max(2, int(math.log10(max(slices - 1, 1))) + 1)
    return f"{name}_slice{number:0{digits}d}" if slices > 1 else name


def record(path: Path, number: int, kspace: Tensor, sampled: Tensor) -> dict[str, Any]:
    """What the record keeps of a slice."""
    return {
        "file": str(path),
        "slice": number,
        "coils": kspace.shape[0],
        "matrix": list(kspace.shape[-2:]),
        "points_sampled": int(sampled.sum()),
    }
