"""Coil sensitivity maps estimated from the measured centre of k-space."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from dip_lightning.errors import ConfigurationError, MeasurementError, check_option
from dip_lightning.physics.mri_coils import Calibration, CoilMaps
from dip_lightning.physics.mri_espirit import calibration_block, centre, espirit

Backend = Literal["torch", "sigpy"]


class ESPIRiT(CoilMaps):
    """Maps estimated from the fully sampled centre of the data; see :func:`~dip_lightning.physics.mri_espirit.espirit`.

    The centre is the largest block around the zero frequency that the mask samples, ``width`` points wide at most; it
    need not be square. The signal space of many coils needs many windows: where a small centre has fewer than half as
    many windows as their size, the kernel is made smaller.

    Args:
        width: Largest edge of the calibration block.
        kernel: Largest edge of a window.
        threshold: Smallest singular value that counts, as a fraction of the largest.
        crop: Smallest eigenvalue that is signal; outside, the maps and the image are zero.
        calibration: ``measured`` uses the data of the fit; ``full`` the centre before undersampling, which simulates
            a separate calibration scan and cannot be had from the data alone.
        backend: ``torch``, or ``sigpy``: deepinv's ``MultiCoilMRI.estimate_coil_maps``, for square blocks (extra
            ``mri``; its kernel is 6 wide and its threshold 0.02).

    Raises:
        ConfigurationError: If an option is unknown or a number is out of range.
    """

    def __init__(
        self,
        width: int = 24,
        kernel: int = 6,
        threshold: float = 0.02,
        crop: float = 0.95,
        calibration: Calibration = "measured",
        backend: Backend = "torch",
    ) -> None:
        if width < 3 or kernel < 3 or not 0 < threshold < 1 or not 0 <= crop < 1:
            raise ConfigurationError(
                f"width={width} and kernel={kernel} must be at least 3, threshold={threshold} in (0, 1) and "
                f"crop={crop} in [0, 1)."
            )
        self.width = width
        self.kernel = kernel
        self.threshold = threshold
        self.crop = crop
        self.calibration: Calibration = check_option("calibration", calibration, get_args(Calibration))
        self.backend: Backend = check_option("backend", backend, get_args(Backend))

    def simulated(self, image_shape: tuple[int, int]) -> Tensor:
        """Refuse; see the base class."""
        raise ConfigurationError("ESPIRiT estimates maps from measured data; simulations need coils: SimulatedCoils.")

    def measured(self, kspace: Tensor, mask: Tensor) -> Tensor:
        """Estimate the maps; see the base class.

        Raises:
            ConfigurationError: If sigpy is asked for and not installed.
            MeasurementError: If too little of the centre is sampled.
        """
        coils, height, width = kspace.shape
        block = calibration_block(mask, self.width)
        kernel = self._kernel(coils, block)
        if self.backend == "sigpy":
            maps = self._sigpy(kspace, min(block))
        else:
            maps = espirit(centre(kspace, block), (height, width), kernel, self.threshold, self.crop)
        if not bool(maps.abs().any()):
            raise MeasurementError(
                f"ESPIRiT finds no signal above crop={self.crop} in the central {block[0]}x{block[1]} of k-space: "
                "lower crop, or sample more of the centre."
            )
        return maps.to(kspace.dtype)

    def _kernel(self, coils: int, block: tuple[int, int]) -> int:
        for kernel in range(min(self.kernel, *block), 2, -1):
            if (block[0] - kernel + 1) * (block[1] - kernel + 1) >= 0.5 * coils * kernel**2:
                return kernel
        raise MeasurementError(
            f"The fully sampled centre of k-space, {block[0]}x{block[1]}, is too small to estimate {coils} coil maps "
            "from. Raise center_fraction (or center) of the mask, compress the coils (acquisition.virtual_coils), give "
            "maps by CoilMapsFile, or set calibration: full where the data were fully sampled."
        )

    def _sigpy(self, kspace: Tensor, width: int) -> Tensor:
        from deepinv.physics import MultiCoilMRI

        crop = {} if self.crop == 0.95 else {"espirit_crop": self.crop}  # its default, and all that older ones know
        data = MultiCoilMRI.from_torch_complex(kspace[None])
        try:
            maps: Tensor = MultiCoilMRI.estimate_coil_maps(data, calib_size=width, **crop)[0]
        except ImportError as error:
            raise ConfigurationError("backend: sigpy needs sigpy: pip install 'dip-lightning[mri]'.") from error
        return maps
