"""Acquisition of images with missing pixels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, get_args

import deepinv
import numpy as np
import torch
from deepinv.physics import Physics
from torch import Tensor

from dip_lightning.array_files import read_array
from dip_lightning.errors import ConfigurationError, MeasurementError, check_option
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.paths import expand_path
from dip_lightning.physics.noise import MeasurementNoise
from dip_lightning.physics.restoration import RestorationAcquisition

Fill = Literal["mean", "nearest"]


class Inpainting(RestorationAcquisition):
    r"""Images with missing pixels, :math:`y = M x`: the data are zero where the mask is.

    The first estimate is the data with the holes filled. In the released aSeqDIP script the holes hold 0.4, in the
    network input as in the data; in the data that adds a constant to the loss, without a gradient.

    Args:
        mask: ``box`` (a centred hole in the proportions of the image), ``random`` (pixels, all channels together), or a
            file (image, npy, npz, mat) of the size of the image, whose larger values are known pixels and whose
            smaller ones are missing (as in the masks of the first DIP paper).
        ratio: Missing pixels over all pixels, for ``box`` and ``random`` (hole-to-image area ratio, HIAR).
        seed: Seed of the random pixels. It belongs to the operator: the same for every image and noise realisation.
        fill: What the first estimate holds in the holes: a number, ``mean`` (of the known pixels of each channel) or
            ``nearest`` (the nearest known pixel).
        noise: Noise on the known pixels; none unless given.

    Raises:
        ConfigurationError: If the ratio is not between 0 and 1 or an option is unknown.
        MeasurementError: If the mask file cannot be read.
    """

    task = "inpainting"

    def __init__(
        self,
        mask: str = "box",
        ratio: float = 0.1,
        seed: int = 0,
        fill: float | Fill = 0.4,
        noise: MeasurementNoise | None = None,
    ) -> None:
        super().__init__(noise)
        if not 0 < ratio < 1:
            raise ConfigurationError(f"ratio={ratio} must be between 0 and 1: the share of missing pixels.")
        if isinstance(fill, str):
            check_option("fill", fill, get_args(Fill))
        elif not math.isfinite(fill):
            raise ConfigurationError(f"fill={fill} must be finite.")
        self.mask = mask
        self.file = None if mask in ("box", "random") else _mask_file(mask)
        self.ratio = ratio
        self.seed = seed
        self.fill = fill

    def known(self, height: int, width: int) -> Tensor:
        """Make the mask.

        Args:
            height: Rows of the image.
            width: Columns of the image.

        Returns:
            ``[1, 1, H, W]``: 1 where a pixel is known, 0 where it is missing.

        Raises:
            MeasurementError: If the file's mask has another size, or if it leaves nothing or everything.
        """
        if self.file is not None:
            return _read_mask(self.file, height, width)
        if self.mask == "random":
            return self._random(height, width)
        rows, columns = (max(1, round(math.sqrt(self.ratio) * length)) for length in (height, width))
        top, left = (height - rows) // 2, (width - columns) // 2
        mask = torch.ones(1, 1, height, width)
        mask[..., top : top + rows, left : left + columns] = 0
        return _check_mask(mask, f"A box of ratio {self.ratio}")

    def _random(self, height: int, width: int) -> Tensor:
        order = torch.randperm(height * width, generator=torch.Generator().manual_seed(self.seed))
        mask = torch.ones(height * width)
        mask[order[: round(self.ratio * height * width)]] = 0
        return _check_mask(mask.view(1, 1, height, width), f"A random mask of ratio {self.ratio}")

    def physics(self, image_shape: tuple[int, int, int]) -> Physics:
        """Build the mask operator; see the base class."""
        mask = self.known(*image_shape[1:]).expand(-1, image_shape[0], -1, -1).clone()
        return deepinv.physics.Inpainting(image_shape, mask=mask)

    def add_noise(self, clean: Tensor, generators: MemberGenerators) -> tuple[Tensor, float | None]:
        """Add noise to the known pixels alone; see the base class."""
        noisy, level = self.noise(clean, generators)
        return noisy * self.known(*clean.shape[2:]).to(clean), level

    def initial(self, y: Tensor, physics: Physics) -> Tensor:
        """Fill the holes; see the base class."""
        known: Tensor = physics.mask[:1].to(y)
        if self.fill == "nearest":
            return _nearest(y, known)
        if self.fill == "mean":
            mean = y.sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True)
            return y + (1 - known) * mean
        return y + (1 - known) * float(self.fill)

    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {"mask": str(self.file or self.mask), "ratio": self.ratio, "mask_seed": self.seed, "fill": self.fill}


def _mask_file(mask: str) -> Path:
    path = expand_path(mask)
    if not path.is_file():
        raise ConfigurationError(f"mask={mask!r} is neither 'box' nor 'random' nor a file that exists.")
    return path


def _read_mask(file: Path, height: int, width: int) -> Tensor:
    values = np.atleast_2d(np.squeeze(read_array(file))).astype(np.float64)
    if values.ndim == 3 and values.shape[-1] <= 4:
        values = values[..., 0]
    if values.shape != (height, width):
        raise MeasurementError(
            f"The mask {file} has shape {list(values.shape)}, but the image has {height}x{width}: "
            "masks are not resized or cropped; set data.size and data.multiple so that the image keeps its size."
        )
    threshold = (values.max() + values.min()) / 2
    return _check_mask(torch.from_numpy(values > threshold).float()[None, None], f"The mask {file}")


def _check_mask(mask: Tensor, name: str) -> Tensor:
    missing = int((mask == 0).sum())
    if missing in (0, mask.numel()):
        what = "nothing" if missing == 0 else "everything"
        raise MeasurementError(f"{name} leaves out {what} of {mask.numel()} pixels; there is nothing to reconstruct.")
    return mask


def _nearest(y: Tensor, known: Tensor) -> Tensor:
    from scipy.ndimage import distance_transform_edt

    holes = (known[0, 0] == 0).cpu().numpy()
    rows, columns = distance_transform_edt(holes, return_distances=False, return_indices=True)
    return y[..., torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]
