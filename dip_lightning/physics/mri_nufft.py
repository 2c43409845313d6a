"""The non-uniform Fourier operator along any trajectory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from deepinv.physics import NonCartesianMRI
from torch import Tensor

from dip_lightning.errors import ConfigurationError
from dip_lightning.physics.mri_operator import map_both_parts, support_of


class TrajectoryFourier(NonCartesianMRI):
    r"""deepinv's ``NonCartesianMRI`` along any trajectory: :math:`y_c(k) = \sum_r s_c(r)\,x(r)\,e^{-2\pi i k\cdot r}`.

    The non-uniform transform is mri-nufft's, by finufft, on the CPU and in single precision. :attr:`runs_on_host` says
    so to what would repeat device operations alone, as CUDA graphs do.

    Args:
        samples: Positions in k-space in cycles per pixel, ``[S, 2]``, from -0.5 to 0.5, along the image's first and
            second axis.
        coil_maps: ``[B, N, H, W]``, complex.
        density: Area of k-space that each sample stands for, ``[S]``, any scale; ``None`` has mri-nufft compute it
            from the Voronoi cells.

    Raises:
        ConfigurationError: If mri-nufft is not installed.
    """

    #: Whether applying the operator computes on the host, whatever device the tensors are on.
    runs_on_host = True

    density: Tensor
    image_support: Tensor

    def __init__(self, samples: Tensor, coil_maps: Tensor, density: Tensor | None = None) -> None:
        shape = (coil_maps.shape[-2], coil_maps.shape[-1])
        # deepinv's own constructor would make a trajectory of its own.
        super(NonCartesianMRI, self).__init__(img_size=shape, coil_maps=coil_maps)
        self.samples = samples.detach().cpu().float().numpy()
        self.backend, self.normalize = "finufft", False
        self._plan()
        weights = torch.from_numpy(_voronoi(self.samples)) if density is None else density
        self.register_buffer("image_support", support_of(coil_maps))
        self.register_buffer("density", (weights / weights.max()).float().view(1, 1, 1, -1))

    def gridded(self, y: Tensor) -> Tensor:
        """Combine the coil images of density-compensated data, scaled by least squares to the data.

        Args:
            y: ``[B, 2, N, S]``.

        Returns:
            ``[B, 2, H, W]``.
        """
        image = self.A_adjoint(y * self.density)
        predicted, weighted = self.A(image) * self.density.sqrt(), y * self.density.sqrt()
        energy = predicted.square().flatten(1).sum(1)
        scale = (predicted * weighted).flatten(1).sum(1) / energy.clamp(min=torch.finfo(energy.dtype).tiny)
        return image * scale.view(-1, 1, 1, 1)

    def coil_images(self, kspace: Tensor) -> Tensor:
        """Density-compensated adjoint of each coil by itself.

        Args:
            kspace: ``[B, N, S]``, complex.

        Returns:
            ``[B, N, H, W]``, complex.
        """
        self.nufft_op.n_batchs = len(kspace)
        return torch.as_tensor(self.nufft_op.adj_op(kspace * self.density[0]))

    def __getstate__(self) -> dict[str, Any]:
        """All but the transform: finufft's plan cannot be copied."""
        return {name: value for name, value in self.__dict__.items() if name != "nufft_op"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Plan the transform of a copy anew."""
        super().__setstate__(state)
        self._plan()

    def _plan(self) -> None:
        self.nufft_op = _transform(self.samples, tuple(self.coil_maps.shape[-2:]), self.coil_maps.shape[1])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TrajectoryFourier:
        super()._apply(map_both_parts(fn), recurse)
        return self


def mri_nufft() -> Any:
    """The package mri-nufft.

    Raises:
        ConfigurationError: If it is not installed.
    """
    try:
        import mrinufft
    except ImportError as error:
        raise ConfigurationError("Non-Cartesian MRI needs mri-nufft: pip install 'dip-lightning[nufft]'.") from error
    return mrinufft


def _transform(samples: Any, shape: tuple[int, int], coils: int) -> Any:
    operators = mri_nufft().operators.base.FourierOperatorBase.interfaces
    available, operator = operators["finufft"]
    if not available:
        raise ConfigurationError("Non-Cartesian MRI needs finufft: pip install 'dip-lightning[nufft]'.")
    return operator(samples, shape, squeeze_dims=False, n_coils=coils)


def _voronoi(samples: Any) -> Any:
    return mri_nufft().density.voronoi(samples).astype("float32")
