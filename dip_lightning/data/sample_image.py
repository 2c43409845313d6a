"""Photographs that scikit-image carries: natural images without a download."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dip_lightning.data.framing import Framing, Resize
from dip_lightning.data.readers.image import to_gray
from dip_lightning.data.simulated import SimulatedMeasurements, realisation_name
from dip_lightning.errors import MeasurementError, check_option
from dip_lightning.physics.acquisition import Acquisition

#: Images in the scikit-image wheel itself, by the name of their function in ``skimage.data``.
SAMPLE_IMAGES = (
    "astronaut", "brick", "camera", "cat", "cell", "coffee", "coins", "grass", "gravel", "hubble_deep_field",
    "immunohistochemistry", "moon", "page", "retina", "rocket", "text",
)  # fmt: skip


class SampleImage(SimulatedMeasurements):
    """A simulated measurement of a photograph that comes with scikit-image.

    Images are ``[1, H, W]`` or ``[3, H, W]`` (8-bit values by 1/255). Each index is another noise realisation.

    Args:
        acquisition: Measures the image: forward operator, noise, first estimate.
        name: ``camera`` (512x512, gray), ``astronaut`` (512x512, colour), ``cat`` (300x451), ``coffee`` (400x600),
            ``coins`` (303x384, gray), ``brick``, ``grass``, ``gravel`` (512x512, gray), ``moon`` (512x512, gray),
            ``page``, ``text``, ``rocket``, ``retina``, ``cell``, ``hubble_deep_field`` or ``immunohistochemistry``.
        size: ``n`` for ``n x n`` or ``[height, width]``; ``None`` keeps the image's.
        resize: ``mean_pool`` (whole factors), ``bicubic`` or ``bilinear``.
        square: Crop the centre square first.
        multiple: Crop to a multiple of this last.
        gray: Turn colours into their luma.
        noise_seed: Seed of the measurement noise; the measurement at ``index`` uses ``noise_seed + index``.
        index: Which noise realisation.
        batch: How many, from ``index`` on, are reconstructed together.
        repeat: From how many seeds each is reconstructed at once.
        reference: Another of these images, framed in the same way, as reference image; ``None`` for none.

    Raises:
        ConfigurationError: If a name or the way to resize is unknown, or a number is out of range.
    """

    units = "grey value / 255"

    def __init__(
        self,
        acquisition: Acquisition,
        name: str = "camera",
        size: int | tuple[int, int] | None = None,
        resize: Resize = "mean_pool",
        square: bool = False,
        multiple: int = 1,
        gray: bool = False,
        noise_seed: int = 0,
        index: int = 0,
        batch: int = 1,
        repeat: int = 1,
        reference: str | None = None,
    ) -> None:
        super().__init__(acquisition, noise_seed=noise_seed, index=index, batch=batch, repeat=repeat)
        self.photograph = check_option("data.name", name, SAMPLE_IMAGES)
        self.framing = Framing(size, resize, square, multiple)
        self.gray = gray
        self.reference = None if reference is None else check_option("data.reference", reference, SAMPLE_IMAGES)

    def image(self, index: int) -> tuple[Tensor, str]:
        """Read, crop and resize the photograph; see the base class."""
        image, name = self._photograph(self.photograph)
        return image, realisation_name(f"{name}_{'x'.join(str(n) for n in image.shape[1:])}", index)

    def reference_image(self) -> tuple[Tensor, str] | None:
        """Read another photograph in the same way; see the base class."""
        return None if self.reference is None else self._photograph(self.reference)

    def _photograph(self, photograph: str) -> tuple[Tensor, str]:
        pixels = torch.from_numpy(np.atleast_3d(_read(photograph)).astype(np.float32) / 255).permute(2, 0, 1)
        image = self.framing(to_gray(pixels, photograph) if self.gray else pixels, photograph).contiguous()
        return image, f"{photograph}_gray" if self.gray and pixels.shape[0] > 1 else photograph

    def source(self) -> dict[str, Any]:
        """Name of the photograph and how it was framed."""
        return {"sample_image": self.photograph, "size": self.framing.size, "resize": self.framing.resize}


def _read(name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    import skimage.data

    try:
        return getattr(skimage.data, name)()
    except Exception as error:  # a scikit-image without the file tries to download it, and fails in its own ways
        raise MeasurementError(
            f"This scikit-image has no image '{name}' ({type(error).__name__}: {error}). Choose another data.name."
        ) from error
