"""The multi-coil Fourier operator, without shifts in the inner loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from deepinv.physics import MultiCoilMRI
from torch import Tensor


class MultiCoilFourier(MultiCoilMRI):
    r"""deepinv's ``MultiCoilMRI`` with its centring folded into the maps and the mask.

    :math:`y_c = M F S_c x` with the centred orthonormal transform ``fftshift(fft2(ifftshift(x)))``. A shift before
    the transform is a linear phase after it, and the other way round, so that

    .. math:: y_c = (M\,p_k)\;\mathrm{fft2}\big((p_x S_c)\,x\big)

    with phases that are computed once: four copies of all coil images less in a forward and backward pass, the same
    numbers to rounding. For even sizes the phases are signs.

    ``image_support`` (``[B, 1, H, W]``) is 1 where any coil sees the image and 0 elsewhere, outside the object, where
    ESPIRiT's maps are zero. No data depend on those pixels; methods keep them at zero.

    Args:
        mask: Sampled points, ``[H, W]``, ``[1, 1, H, W]`` or ``[B, 1, H, W]``.
        coil_maps: Complex sensitivity maps, ``[N, H, W]`` or ``[B, N, H, W]``.
    """

    encoding: Tensor
    sampling: Tensor
    image_support: Tensor

    def __init__(self, mask: Tensor, coil_maps: Tensor) -> None:
        super().__init__(
            mask=mask.to(coil_maps.real.dtype), coil_maps=coil_maps, img_size=tuple(mask.shape[-2:]), device=mask.device
        )
        self._fold()

    def A(self, x: Tensor, mask: Tensor | None = None, coil_maps: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Sample the coil images' spectra.

        Args:
            x: Image, real and imaginary part, ``[B, 2, H, W]``.
            mask: Replaces the mask, as in deepinv.
            coil_maps: Replaces the maps, as in deepinv.
            **kwargs: Passed to deepinv's update.

        Returns:
            ``[B, 2, N, H, W]``, zero where nothing is sampled.
        """
        self.update_parameters(mask=mask, coil_maps=coil_maps, **kwargs)
        coil_images = self.encoding * self.to_torch_complex(x)[:, None]
        spectra: Tensor = self.from_torch_complex(torch.fft.fft2(coil_images, norm="ortho") * self.sampling)
        return spectra

    def A_adjoint(
        self, y: Tensor, mask: Tensor | None = None, coil_maps: Tensor | None = None, **kwargs: Any
    ) -> Tensor:
        """Combine the coil images of zero-filled data.

        Args:
            y: Data, ``[B, 2, N, H, W]``.
            mask: Replaces the mask, as in deepinv.
            coil_maps: Replaces the maps, as in deepinv.
            **kwargs: deepinv's ``rss`` and ``crop``.

        Returns:
            ``[B, 2, H, W]``.
        """
        if kwargs.get("rss") or kwargs.get("crop"):
            image: Tensor = super().A_adjoint(y, mask=mask, coil_maps=coil_maps, **kwargs)
            return image
        self.update_parameters(mask=mask, coil_maps=coil_maps, **kwargs)
        spectra = self.to_torch_complex(y) * self.sampling.conj()
        coil_images = torch.fft.ifft2(spectra, norm="ortho") * self.encoding.conj()
        return self.from_torch_complex(coil_images.sum(1))

    def update_parameters(self, mask: Tensor | None = None, coil_maps: Tensor | None = None, **kwargs: Any) -> None:
        """Replace mask or maps, as in deepinv."""
        if mask is not None or coil_maps is not None:
            super().update_parameters(mask=mask, coil_maps=coil_maps, **kwargs)
            self._fold()

    def _fold(self) -> None:
        height, width = self.mask.shape[-2:]
        (x_rows, k_rows), (x_columns, k_columns) = _centring(height), _centring(width)
        maps = self.coil_maps
        self.register_buffer("image_support", support_of(maps))
        self.register_buffer("encoding", maps * torch.outer(x_rows, x_columns).to(maps))
        self.register_buffer("sampling", self.mask[:, :1] * torch.outer(k_rows, k_columns).to(maps))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MultiCoilFourier:
        super()._apply(map_both_parts(fn), recurse)
        return self


def support_of(coil_maps: Tensor) -> Tensor:
    """Where any coil sees the image.

    Args:
        coil_maps: ``[B, N, H, W]``, complex.

    Returns:
        ``[B, 1, H, W]`` of zeros and ones.
    """
    return (coil_maps != 0).any(1, keepdim=True).to(coil_maps.real.dtype)


def map_both_parts(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Make a function of real tensors take complex ones too.

    ``Module.to(dtype=torch.float64)`` would make complex buffers real and drop their imaginary parts.

    Args:
        fn: What ``Module._apply`` is given.
    """

    def both(tensor: Tensor) -> Tensor:
        return torch.view_as_complex(fn(torch.view_as_real(tensor))) if tensor.is_complex() else fn(tensor)

    return both


def _centring(n: int) -> tuple[Tensor, Tensor]:
    """Phases along an axis of ``n`` samples, before and after the transform, that centre it; complex128."""
    half, index = n // 2, torch.arange(n)
    before = (half * index) % n  # integers, so that even sizes get exact signs
    after = (half * (index - half)) % n
    return _turn(before, n), _turn(after, n)


def _turn(steps: Tensor, n: int) -> Tensor:
    angle = steps.to(torch.float64) * (2 * math.pi / n)
    phase = torch.polar(torch.ones_like(angle), angle)
    return torch.where(2 * steps == n, -torch.ones_like(phase), phase)
