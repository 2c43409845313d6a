"""Cropping and resizing of images before they are measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional

from dip_lightning.errors import ConfigurationError, MeasurementError, check_option
from dip_lightning.functional.metrics import centre_crop

Resize = Literal["mean_pool", "bicubic", "bilinear"]


@dataclass(frozen=True)
class Framing:
    """Crop and resize, in this order: square crop, resize, crop to multiples. All crops keep the centre.

    Attributes:
        size: Size of the result, ``n`` for ``n x n`` or ``(height, width)``; ``None`` keeps the image's.
        resize: ``mean_pool`` averages blocks of pixels (whole factors only, mean preserved); ``bicubic`` and
            ``bilinear`` interpolate, with a low-pass filter when shrinking, and are clipped to [0, 1].
        square: Cut the longer side to the length of the shorter.
        multiple: Cut both sides to a multiple of this.
    """

    size: int | tuple[int, int] | None = None
    resize: Resize = "mean_pool"
    square: bool = False
    multiple: int = 1

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            ConfigurationError: If a size or the multiple is not positive, or the way to resize is unknown.
        """
        check_option("resize", self.resize, get_args(Resize))
        if self.multiple < 1:
            raise ConfigurationError(f"multiple={self.multiple} must be at least 1.")
        if self.size is not None and min(self.target_size or (0,)) < 1:
            raise ConfigurationError(f"size={self.size} must be positive: one number, or [height, width].")

    @property
    def target_size(self) -> tuple[int, int] | None:
        """Size after resizing, ``(height, width)``."""
        if self.size is None:
            return None
        return (self.size, self.size) if isinstance(self.size, int) else (self.size[0], self.size[1])

    def __call__(self, image: Tensor, name: str) -> Tensor:
        """Crop and resize an image.

        Args:
            image: ``[C, H, W]`` in [0, 1].
            name: What the image is, for the message.

        Returns:
            ``[C, H', W']`` in [0, 1].

        Raises:
            MeasurementError: If the image cannot be brought to the size.
        """
        if self.square:
            side = min(image.shape[1:])
            image = centre_crop(image, (side, side))
        if self.target_size is not None:
            image = self._resized(image, self.target_size, name)
        height, width = (length - length % self.multiple for length in image.shape[1:])
        if min(height, width) == 0:
            raise MeasurementError(f"{name} of {image.shape[1]}x{image.shape[2]} is smaller than {self.multiple}.")
        return centre_crop(image, (height, width))

    def _resized(self, image: Tensor, size: tuple[int, int], name: str) -> Tensor:
        height, width = image.shape[1:]
        if isinstance(self.size, int) and height != width:
            raise MeasurementError(
                f"{name} is {height}x{width}, not square: "
                "crop it (data.square: true) or give data.size: [height, width]."
            )
        if (height, width) == size:
            return image
        if self.resize == "mean_pool":
            return mean_pool(image, size, name)
        resized = functional.interpolate(image[None], size, mode=self.resize, align_corners=False, antialias=True)[0]
        return resized.clamp(0, 1)


def mean_pool(image: Tensor, size: tuple[int, int], name: str) -> Tensor:
    """Average blocks of pixels.

    Args:
        image: ``[C, H, W]``.
        size: ``(height, width)``, each a whole fraction of the image's.
        name: What the image is, for the message.

    Returns:
        ``[C, height, width]``.

    Raises:
        MeasurementError: If a factor is not whole.
    """
    height, width = image.shape[1:]
    if height % size[0] or width % size[1]:
        raise MeasurementError(
            f"{name} is {height}x{width}, which mean_pool cannot bring to {size[0]}x{size[1]}: "
            "the factor must be whole. Choose another data.size, or data.resize: bicubic."
        )
    return functional.avg_pool2d(image[None], (height // size[0], width // size[1]))[0]
