"""Acquisition of blurred images, with a known kernel."""

from __future__ import annotations

import inspect
from typing import Any, Literal, get_args

import deepinv
from deepinv.physics import Physics
from torch import Tensor
from torch.nn.functional import pad

from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.physics.blur_kernels import BlurKernel, GaussianKernel
from dip_lightning.physics.noise import MeasurementNoise
from dip_lightning.physics.restoration import RestorationAcquisition

Boundary = Literal["reflect", "circular", "replicate", "valid"]

#: Kernels with more taps than this are applied by FFT.
DIRECT_TAPS = 100


class Deblurring(RestorationAcquisition):
    r"""Convolution with a known kernel, each channel alike: :math:`y = h * x` plus noise.

    The centre of a kernel of ``n`` rows is row ``n // 2``; an even number is made odd by a row of zeros at the end. The
    first estimate is the blurred image.

    Args:
        kernel: ``GaussianKernel``, ``MotionKernel`` or ``KernelFile``; a Gaussian of 2 pixels unless given.
        boundary: What lies beyond the image: its mirror image without the edge itself (``reflect``, as the aSeqDIP
            authors), its periodic continuation (``circular``, as in the DPIR test protocol), its edge (``replicate``),
            or nothing, so that the data are smaller than the image (``valid``, as a camera sees).
        noise: Noise of simulated data; none unless given. DPIR's protocol has ``AdditiveGaussian`` of 2.55 and 7.65.

    Raises:
        ConfigurationError: If the boundary is unknown.
    """

    task = "deblurring"

    def __init__(
        self,
        kernel: BlurKernel | None = None,
        boundary: Boundary = "reflect",
        noise: MeasurementNoise | None = None,
    ) -> None:
        super().__init__(noise)
        self.kernel = kernel or GaussianKernel()
        self.boundary: Boundary = check_option("boundary", boundary, get_args(Boundary))

    def physics(self, image_shape: tuple[int, int, int]) -> Physics:
        """Build the convolution; see the base class.

        Raises:
            ConfigurationError: If the kernel is larger than the image, or as large and the boundary is ``valid``.
        """
        kernel = self.kernel()[None, None]
        spare = 1 if self.boundary == "valid" else 0  # at least one datum is left
        if any(size + spare > length for size, length in zip(kernel.shape[2:], image_shape[1:], strict=True)):
            raise ConfigurationError(
                f"The blur kernel of {kernel.shape[2]}x{kernel.shape[3]} does not fit the image of "
                f"{image_shape[1]}x{image_shape[2]}: choose a smaller kernel or a larger data.size."
            )
        # Versions of deepinv differ in what the centre of an even number of taps is; an odd number has one.
        kernel = pad(kernel, (0, 1 - kernel.shape[3] % 2, 0, 1 - kernel.shape[2] % 2))
        # Not BlurFFT: moving it to float64 drops the imaginary part of its transfer function (deepinv 0.5).
        options: dict[str, Any] = {}
        if kernel.numel() > DIRECT_TAPS and "use_fft" in inspect.signature(deepinv.physics.Blur.__init__).parameters:
            options["use_fft"] = True
        return deepinv.physics.Blur(kernel, padding=self.boundary, **options)

    def initial(self, y: Tensor, physics: Physics) -> Tensor:
        """Take the blurred image, its edge repeated where the data are smaller; see the base class."""
        if self.boundary != "valid":
            return y.clone()
        height, width = physics.filter.shape[2:]
        return pad(y, (width // 2, width // 2, height // 2, height // 2), mode="replicate")

    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {**self.kernel.settings(), "boundary": self.boundary}
