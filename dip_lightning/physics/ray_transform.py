"""The forward operator of two-dimensional CT as a deepinv physics."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from dip_lightning.errors import ConfigurationError, MeasurementError, check_positive
from dip_lightning.physics.cache import system_matrix
from dip_lightning.physics.fbp import FBPFilter, filtered_back_projection
from dip_lightning.physics.geometry import Geometry
from dip_lightning.physics.joseph import too_large
from dip_lightning.physics.linear_map import LinearMap
from dip_lightning.physics.on_the_fly import JosephRays
from dip_lightning.physics.sparse import SparseMap


class RayTransform(LinearPhysics):
    r"""Line integrals of an image along the rays of a scan: :math:`y = s \int x \,\mathrm{d}\ell`, lengths in mm.

    Joseph's method as a stored sparse matrix; the adjoint, and the gradient, are its exact transpose. Runs in the
    matrix's precision (float32; ``.double()`` for float64) whatever autocast says. Where the matrix would not fit into
    this machine's memory, its entries are worked out at each application, with a warning: that is slower.

    Args:
        geometry: Rays and image grid.
        scale: Factor :math:`s` on the line integrals; ``1 / pixel_size`` counts lengths in pixels.
        cache_folder: Where the matrix is kept; ``DIP_LIGHTNING_CACHE`` or the user's cache folder unless given.
        stored: Whether to store the matrix; ``None`` does where it fits.

    Raises:
        ConfigurationError: If the scale is not positive.
    """

    def __init__(
        self,
        geometry: Geometry,
        scale: float = 1.0,
        cache_folder: str | Path | None = None,
        stored: bool | None = None,
    ) -> None:
        super().__init__(img_size=(1, *geometry.image_shape))
        self.geometry = geometry
        self.scale = check_positive("scale", scale)
        folder = None if cache_folder is None else Path(cache_folder)
        if stored is None and (complaint := too_large(geometry)) is not None:
            stored = False
            warnings.warn(
                f"{complaint} Rays are worked out at each application instead, many times slower.", stacklevel=2
            )
        self.matrix: LinearMap = (
            JosephRays(geometry, scale) if stored is False else SparseMap(system_matrix(geometry, folder), scale)
        )

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the operator."""
        return self.matrix.dtype

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Project images.

        Args:
            x: ``[B, 1, H, W]``.
            **kwargs: Ignored; deepinv passes parameters of other physics here.

        Returns:
            Sinograms ``[B, 1, views, detectors]``.

        Raises:
            ConfigurationError: If the images do not fit the geometry.
        """
        expected = (1, *self.geometry.image_shape)
        if x.ndim != 4 or tuple(x.shape[1:]) != expected:
            raise ConfigurationError(
                f"The ray transform takes real one-channel images [B, {', '.join(map(str, expected))}], not "
                f"{list(x.shape)}: build it for this image shape, and reconstruct channels one at a time."
            )
        return self.matrix(x.flatten(1)).view(len(x), 1, *self.geometry.sinogram_shape)

    def A_adjoint(self, y: Tensor, **kwargs: Any) -> Tensor:
        """Back-project without filter: the exact transpose of :meth:`A`.

        Args:
            y: ``[B, 1, views, detectors]``.
            **kwargs: Ignored.

        Returns:
            Images ``[B, 1, H, W]``.

        Raises:
            MeasurementError: If the sinogram does not fit the geometry.
        """
        self._check_sinogram(y)
        return self.matrix.transposed(y.flatten(1)).view(len(y), 1, *self.geometry.image_shape)

    def A_dagger(
        self, y: Tensor, filter: FBPFilter = "ram-lak", frequency_scaling: float = 1.0, **kwargs: Any
    ) -> Tensor:
        """Filtered back-projection, the usual approximate inverse.

        Args:
            y: ``[B, 1, views, detectors]``.
            filter: ``ram-lak``, ``shepp-logan``, ``cosine`` or ``hann``.
            frequency_scaling: Cut-off as a fraction of the Nyquist frequency, in (0, 1].
            **kwargs: Ignored.

        Returns:
            Images ``[B, 1, H, W]`` in the units that :meth:`A` takes.

        Raises:
            MeasurementError: If the sinogram does not fit the geometry.
            ConfigurationError: If the filter is unknown or the frequency scaling out of range.
        """
        self._check_sinogram(y)
        with torch.autocast(y.device.type, enabled=False):
            line_integrals = y.to(self.dtype) / self.scale
            return filtered_back_projection(line_integrals, self.geometry, filter, frequency_scaling)

    def _check_sinogram(self, y: Tensor) -> None:
        views, detectors = self.geometry.sinogram_shape
        if y.ndim != 4 or tuple(y.shape[1:]) != (1, views, detectors):
            hint = " It looks transposed." if tuple(y.shape[-2:]) == (detectors, views) else ""
            raise MeasurementError(
                f"The sinogram {list(y.shape)} does not fit the geometry, which expects [B, 1, {views} views, "
                f"{detectors} detectors]: set views and detectors as it was measured.{hint}"
            )
