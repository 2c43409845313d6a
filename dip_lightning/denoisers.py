"""Denoisers: one that needs neither weights nor a further package, and how they are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from deepinv.models import BM3D
from torch import Tensor, nn

from dip_lightning.errors import ConfigurationError

WEAKEST = 1e-4  # below it block matching divides by nothing and changes nothing
OPPONENT = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))  # rows, to be normalised: luminance first


class BlockMatching(nn.Module):
    """Block matching and 3-D filtering (BM3D; Dabov et al., IEEE TIP 16(8), 2007), deepinv's, with cosine transforms.

    ``deepinv.models.BM3D`` needs the package bm3d, or ptwt for its wavelets; with cosines in their place it needs
    neither. Patches of 5 pixels, a smaller search window and a wider grid make it many times faster than at deepinv's
    settings (``benchmarks/denoisers.py``). Colour images are rotated to luminance and two differences, which leaves
    white noise white, because deepinv matches on the first channel alone; with any other number of channels (two for
    complex images) each is denoised by itself.

    Args:
        patch_size: Side of the patches, pixels.
        search_radius: Half the side of the window in which similar patches are sought, pixels.
        stride: Pixels from one reference patch to the next.

    Raises:
        ConfigurationError: If a number is too small.
    """

    opponent: Tensor

    def __init__(self, patch_size: int = 5, search_radius: int = 8, stride: int = 3) -> None:
        super().__init__()
        if patch_size < 2 or search_radius < 3 or stride < 1:
            raise ConfigurationError(
                f"BlockMatching: patch_size={patch_size} must be at least 2, search_radius={search_radius} at least 3 "
                f"and stride={stride} at least 1."
            )
        cosines = {f"{part}_transform": "dct" for part in ("spatial_ht", "group_ht", "group_wiener")}
        # The chunk is what fits into a processor's cache; it does not change the result.
        sizes = {"patch_size": patch_size, "search_radius": search_radius, "ref_stride": stride, "chunk_size": 256}
        self.bm3d = BM3D(use_legacy=False, **sizes, **cosines)
        self.register_buffer("opponent", nn.functional.normalize(torch.tensor(OPPONENT), dim=1), persistent=False)

    def forward(self, x: Tensor, sigma: float) -> Tensor:
        """Denoise.

        Args:
            x: ``[B, C, H, W]``, at least a patch a side.
            sigma: Standard deviation of the noise, in the image's units.

        Returns:
            The same shape and type, computed in float32.
        """
        if sigma < WEAKEST:
            return x
        self.float()  # deepinv's accumulates in float32 whatever it is given
        image = x.float()
        if x.shape[1] == 3:
            luminance_first = torch.einsum("ij,bjhw->bihw", self.opponent, image)
            denoised = torch.einsum("ji,bjhw->bihw", self.opponent, self.bm3d(luminance_first, sigma))
        else:
            denoised = self.bm3d(image.flatten(0, 1)[:, None], sigma).reshape(x.shape)
        return denoised.to(x.dtype)


def prepare(denoiser: nn.Module, like: Tensor) -> nn.Module:
    """Bring a denoiser to an image's device and precision, in place, to be called and not to be trained."""
    return denoiser.to(like.device, like.dtype).eval().requires_grad_(False)


def denoise_members(denoiser: Any, image: Tensor, strengths: Sequence[float]) -> Tensor:
    """Denoise each member of a batch by itself.

    Args:
        denoiser: Called as ``denoiser(image, strength)``, as deepinv's are.
        image: ``[B, C, H, W]``.
        strengths: One for each member.

    Returns:
        The same shape and type, without gradient.

    Raises:
        ConfigurationError: If the denoiser changes the shape.
    """
    results: list[Tensor] = []
    for one, strength in zip(image, strengths, strict=True):
        if hasattr(denoiser, "restart"):
            denoiser.restart = True  # deepinv's TV continues from its last call, which a resumed fit cannot
        with torch.no_grad():
            results.append(denoiser(one[None], strength))
    result = torch.cat(results)
    if result.shape != image.shape:
        raise ConfigurationError(
            f"{type(denoiser).__name__} makes {list(result.shape)} of {list(image.shape)}: choose a denoiser for "
            f"images of {image.shape[1]} channels."
        )
    return result.to(image.dtype)
