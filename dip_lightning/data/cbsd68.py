"""The CBSD68 test set of colour photographs."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dip_lightning.data.framing import Framing, Resize
from dip_lightning.data.readers.files import list_images
from dip_lightning.data.readers.image import read_image
from dip_lightning.data.simulated import SimulatedMeasurements
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.paths import expand_path
from dip_lightning.physics.acquisition import Acquisition


class CBSD68(SimulatedMeasurements):
    """A simulated measurement of one of the 68 photographs of CBSD68, 321x481 or 481x321 pixels.

    Photographs are ``[3, H, W]``, or ``[1, H, W]`` in gray (luma of ITU-R BT.601), 8-bit values by 1/255, cut to a
    multiple of 32 about the centre: 320x480, or 480x320. Measurements are called ``cbsd68_0000`` and so on.
    ``dip-lightning datasets check CBSD68`` says where to get the set.

    Source: Martin, Fowlkes, Tal and Malik, ICCV 2001, in the selection of Roth and Black, CVPR 2005.

    Args:
        acquisition: Measures the image: forward operator, noise, first estimate.
        path: Folder of the PNG files, or the folder that holds ``original_png`` or ``CBSD68/original_png``. Environment
            variables are replaced.
        size: ``n`` for ``n x n`` or ``[height, width]`` after the square crop; ``None`` keeps the image's.
        resize: ``mean_pool`` (whole factors), ``bicubic`` or ``bilinear``.
        square: Crop the centre square first.
        multiple: Crop to a multiple of this last, for networks that halve the image.
        gray: Turn colours into their luma.
        noise_seed: Seed of the measurement noise; the measurement at ``index`` uses ``noise_seed + index``.
        index: Which photograph, 0 to 67 in the order of the file names.
        batch: How many, from ``index`` on, are reconstructed together.
        repeat: From how many seeds each is reconstructed at once.

    Raises:
        ConfigurationError: If an option is unknown or out of range, or if an environment variable is not set.
    """

    units = "grey value / 255"

    def __init__(
        self,
        acquisition: Acquisition,
        path: str = "${DIP_LIGHTNING_DATA}/cbsd68",
        size: int | tuple[int, int] | None = None,
        resize: Resize = "bicubic",
        square: bool = False,
        multiple: int = 32,
        gray: bool = False,
        noise_seed: int = 0,
        index: int = 0,
        batch: int = 1,
        repeat: int = 1,
    ) -> None:
        super().__init__(acquisition, noise_seed=noise_seed, index=index, batch=batch, repeat=repeat)
        folder = expand_path(path)
        inside = [folder / "original_png", folder / "CBSD68" / "original_png"]
        self.path = next((candidate for candidate in inside if candidate.is_dir()), folder)
        self.framing = Framing(size, resize, square or isinstance(size, int), multiple)
        self.gray = gray

    def image(self, index: int) -> tuple[Tensor, str]:
        """Read and crop a photograph; see the base class.

        Raises:
            ConfigurationError: If there are fewer files.
            MeasurementError: If the folder or the file cannot be read.
        """
        if not self.path.is_dir():
            raise MeasurementError(
                f"{self.path} is no folder of PNG files; `dip-lightning datasets check CBSD68` says how to get them."
            )
        files = [file for file in list_images(self.path) if file.suffix.lower() == ".png"]
        if index >= len(files):
            raise ConfigurationError(
                f"data.index={self.index} with data.batch={self.batch} asks for photograph {index}, but {self.path} "
                f"has {len(files)} PNG files (the first is 0)."
            )
        image = self.framing(read_image(files[index], gray=self.gray), str(files[index]))
        return image.contiguous(), f"cbsd68_{files[index].stem}{'_gray' if self.gray else ''}"

    def source(self) -> dict[str, Any]:
        """Folder and framing."""
        return {"folder": str(self.path), "size": self.framing.size, "multiple": self.framing.multiple}
