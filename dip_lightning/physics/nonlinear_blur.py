"""Acquisition of images blurred by a fixed nonlinear network (BKSE)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from deepinv.physics import Physics
from torch import Tensor

from dip_lightning.array_files import read_array
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.paths import expand_path
from dip_lightning.physics.kernel_wizard import CODE, STRIDE, KernelWizard, load_weights
from dip_lightning.physics.noise import MeasurementNoise
from dip_lightning.physics.restoration import RestorationAcquisition


class KernelSpaceBlur(Physics):
    """The network with frozen weights and one kernel code, both kept with the operator.

    Args:
        network: Its weights are frozen.
        code: ``[1, 8 * width, H / 128, W / 128]``.
        clip: Clip the blurred image to [0, 1].
    """

    code: Tensor

    def __init__(self, network: KernelWizard, code: Tensor, clip: bool = False) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.register_buffer("code", code)
        self.clip = clip

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Blur ``[B, 3, H, W]``."""
        blurred: Tensor = self.network(x, self.code)
        return blurred.clamp(0, 1) if self.clip else blurred


class NonlinearBlur(RestorationAcquisition):
    r"""Blur by the generator of the encoded blur kernel space (BKSE, Tran et al., CVPR 2021), as a fixed operator.

    The kernel code is drawn once, from ``seed``, and kept: the operator that simulates is the one that reconstructs.
    (In the released code of DPS, arXiv 2209.14687, every call draws a new code, which is no fixed operator.) Without
    published weights the network has random ones: then it is a smooth nonlinear distortion of the image with the same
    architecture and cost, not a camera's blur, and no published number can be compared with. The aSeqDIP authors'
    released script uses no BKSE but a linear motion blur: :class:`~dip_lightning.physics.deblurring.Deblurring`.

    Args:
        weights: State dictionary of the published network (``GOPRO_wVAE.pth``); random weights unless given.
        code: File with a kernel code (``.pth``, ``.npy``) of shape ``[1, 512, H / 128, W / 128]``; drawn unless given.
        scale: Standard deviation of a drawn code; 1.2 as for the variational weights.
        seed: Seed of the code and of random weights.
        clip: Clip the blurred image to [0, 1], as DPS does.
        width: Feature channels; 64 as published.
        front_blocks: Residual blocks of the encoder; 10 as published.
        back_blocks: Residual blocks of the decoder; 20 as published.
        noise: Noise of simulated data; none unless given.

    Raises:
        ConfigurationError: If a number is out of range.
    """

    task = "nonlinear_deblurring"

    def __init__(
        self,
        weights: str | None = None,
        code: str | None = None,
        scale: float = 1.2,
        seed: int = 0,
        clip: bool = False,
        width: int = 64,
        front_blocks: int = 10,
        back_blocks: int = 20,
        noise: MeasurementNoise | None = None,
    ) -> None:
        super().__init__(noise)
        if width < 1 or min(front_blocks, back_blocks, seed) < 0:
            raise ConfigurationError(f"width={width} must be at least 1; block counts and seed={seed} not negative.")
        self.weights = None if weights is None else expand_path(weights)
        self.code = None if code is None else expand_path(code)
        self.scale = scale
        self.seed = seed
        self.clip = clip
        self.size = {"width": width, "front_blocks": front_blocks, "back_blocks": back_blocks}

    def physics(self, image_shape: tuple[int, int, int]) -> Physics:
        """Build the network and its code; see the base class.

        Raises:
            ConfigurationError: If the image is not a colour image with sides that are multiples of 128.
            MeasurementError: If weights or code cannot be read or do not fit.
        """
        channels, height, width = image_shape
        if channels != 3 or height % STRIDE or width % STRIDE:
            raise ConfigurationError(
                f"The nonlinear blur takes colour images with sides that are multiples of {STRIDE}, not {channels} "
                f"channels of {height}x{width}: set data.size to 128, 256, ... or data.multiple: {STRIDE}."
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = KernelWizard(**self.size)
        if self.weights is not None:
            load_weights(network, self.weights)
        shape = (1, CODE * self.size["width"], height // STRIDE, width // STRIDE)
        return KernelSpaceBlur(network, self._code(shape), self.clip)

    def _code(self, shape: tuple[int, ...]) -> Tensor:
        if self.code is None:
            return self.scale * torch.randn(shape, generator=torch.Generator().manual_seed(self.seed))
        return _read_code(self.code, shape)

    def settings(self) -> dict[str, Any]:
        """See the base class."""
        files = {"weights": str(self.weights or "random"), "code": str(self.code or "random")}
        return {**files, "code_scale": self.scale, "operator_seed": self.seed, "clip": self.clip, **self.size}


def _read_code(path: Path, shape: tuple[int, ...]) -> Tensor:
    code = torch.from_numpy(read_array(path)).float()
    if code.shape != shape:
        raise MeasurementError(
            f"The kernel code in {path} has shape {list(code.shape)}, but this image needs {list(shape)}: one position "
            f"for each {STRIDE}x{STRIDE} pixels."
        )
    return code
