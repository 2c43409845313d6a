"""Measurements simulated from image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from dip_lightning.data.framing import Framing, Resize
from dip_lightning.data.readers.files import list_images, safe_names
from dip_lightning.data.readers.image import read_image
from dip_lightning.data.readers.values import Window, check_window
from dip_lightning.data.simulated import SimulatedMeasurements
from dip_lightning.errors import ConfigurationError
from dip_lightning.paths import expand_path
from dip_lightning.physics.acquisition import Acquisition


class ImageFile(SimulatedMeasurements):
    """A simulated measurement of an image file: PNG, JPEG, TIFF, npy or DICOM.

    Values become intensities in [0, 1]: 8-bit by 1/255, 16-bit by 1/65535, floating point as it is (refused outside
    [0, 1]), anything by a window, which DICOM, in Hounsfield units, always needs. Cropping and resizing come after
    the window, in the order: centre square, resize, multiple.

    Args:
        acquisition: Measures the image: forward operator, noise, first estimate.
        path: A file, or a folder whose image files are taken in the order of their names. Environment variables
            are replaced: ``${DIP_LIGHTNING_DATA}/cbsd68/original_png``.
        size: ``n`` for ``n x n`` or ``[height, width]``; ``None`` keeps the image's.
        resize: ``mean_pool`` (whole factors), ``bicubic`` or ``bilinear``.
        square: Crop the centre square first.
        multiple: Crop to a multiple of this last, for networks that halve the image.
        gray: Turn colours into their luma (ITU-R BT.601).
        window: File values ``[low, high]`` that become 0 and 1, clipped outside; ``[-1000, 1000]`` for DICOM.
        noise_seed: Seed of the measurement noise; the measurement at ``index`` uses ``noise_seed + index``.
        index: Which file of a folder.
        batch: How many, from ``index`` on, are reconstructed together.
        repeat: From how many seeds each is reconstructed at once.
        reference: Image file of a similar object, read, cropped and resized in the same way; ``None`` for no reference.

    Raises:
        ConfigurationError: If an option is unknown or out of range, or if an environment variable is not set.
    """

    def __init__(
        self,
        acquisition: Acquisition,
        path: str,
        size: int | tuple[int, int] | None = None,
        resize: Resize = "mean_pool",
        square: bool = False,
        multiple: int = 1,
        gray: bool = False,
        window: Window | None = None,
        noise_seed: int = 0,
        index: int = 0,
        batch: int = 1,
        repeat: int = 1,
        reference: str | None = None,
    ) -> None:
        super().__init__(acquisition, noise_seed=noise_seed, index=index, batch=batch, repeat=repeat)
        self.path = expand_path(path)
        self.framing = Framing(size, resize, square, multiple)
        self.gray = gray
        self.window = check_window(window)
        self.units = _units(self.window)
        self.reference = None if reference is None else expand_path(reference)

    def image(self, index: int) -> tuple[Tensor, str]:
        """Read, crop and resize a file; see the base class.

        Raises:
            ConfigurationError: If the folder has fewer files.
            MeasurementError: If a file cannot be used; see :func:`~dip_lightning.data.readers.image.read_image`.
        """
        file, name = self._file(index)
        return self._read(file), name

    def reference_image(self) -> tuple[Tensor, str] | None:
        """Read the reference; see the base class."""
        return None if self.reference is None else (self._read(self.reference), str(self.reference))

    def source(self) -> dict[str, Any]:
        """Files, window and framing."""
        files = [self._file(index)[0] for index in range(self.index, self.index + self.batch)]
        framing = {"size": self.framing.size, "resize": self.framing.resize}
        return {"files": [str(file) for file in files], "window": self.window, **framing}

    def _read(self, file: Path) -> Tensor:
        return self.framing(read_image(file, gray=self.gray, window=self.window), str(file)).contiguous()

    def _file(self, index: int) -> tuple[Path, str]:
        files = list_images(self.path)
        if index >= len(files):
            raise ConfigurationError(
                f"data.index={self.index} with data.batch={self.batch} asks for image {index}, "
                f"but {self.path} has {len(files)} (the first is 0)."
            )
        return files[index], safe_names(files)[index]


def _units(window: Window | None) -> str:
    if window is None:
        return "full scale of the file"
    return f"file values {window[0]:g} to {window[1]:g} as 0 to 1"
