"""Coil sensitivity maps: simulated or from a file. Those of :mod:`mri_espirit_maps` are estimated from the data."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor

from dip_lightning.array_files import read_array
from dip_lightning.errors import ConfigurationError, MeasurementError, check_positive_count
from dip_lightning.paths import expand_path

Calibration = Literal["measured", "full"]


class CoilMaps(ABC):
    """Gives complex sensitivity maps, for simulation or for measured data."""

    #: ``full`` lets the estimate see the centre of the k-space before it was undersampled.
    calibration: Calibration = "measured"

    @abstractmethod
    def simulated(self, image_shape: tuple[int, int]) -> Tensor:
        """Maps without any data.

        Args:
            image_shape: ``(H, W)``.

        Returns:
            ``[N, H, W]``, complex64.

        Raises:
            ConfigurationError: If these maps need data.
        """

    @abstractmethod
    def measured(self, kspace: Tensor, mask: Tensor) -> Tensor:
        """Maps of measured data.

        Args:
            kspace: ``[N, H, W]``, complex, zero where not sampled.
            mask: Sampled points, ``[H, W]``, bool.

        Returns:
            ``[N, H, W]``, complex.

        Raises:
            ConfigurationError: If these maps can only be simulated.
            MeasurementError: If they do not fit the data, or if the data do not suffice.
        """

    def describe(self) -> dict[str, Any]:
        """Class and settings, for the record."""
        return {"class": type(self).__name__, **{k: v for k, v in vars(self).items() if not k.startswith("_")}}


class SimulatedCoils(CoilMaps):
    r"""Smooth maps of coils on a ring around the image, for simulations.

    Coil c sits at the angle :math:`2\pi c/N` on a circle of ``distance`` half images; its sensitivity falls as a
    Gaussian of the distance to it and turns its phase by that distance. The maps are divided by their root sum of
    squares, so that combining fully sampled data gives the image back.

    Args:
        coils: Number of coils, N.
        distance: Radius of the ring in half images.
        width: Standard deviation of the Gaussian in half images.

    Raises:
        ConfigurationError: If a number is out of range.
    """

    def __init__(self, coils: int = 8, distance: float = 1.3, width: float = 0.9) -> None:
        self.coils = check_positive_count("coils", coils)
        if not (distance > 0 and width > 0):
            raise ConfigurationError(f"distance={distance} and width={width} must be positive.")
        self.distance = distance
        self.width = width

    def simulated(self, image_shape: tuple[int, int]) -> Tensor:
        """Compute the maps; see the base class."""
        angles = torch.arange(self.coils, dtype=torch.float64) * (2 * math.pi / self.coils)
        rows, columns = (torch.linspace(-1, 1, n, dtype=torch.float64) for n in image_shape)
        away = torch.hypot(
            rows[None, :, None] - self.distance * angles.sin()[:, None, None],
            columns[None, None, :] - self.distance * angles.cos()[:, None, None],
        )
        maps = torch.polar(torch.exp(-0.5 * (away / self.width) ** 2), math.pi / 2 * away + angles[:, None, None])
        return (maps / torch.linalg.vector_norm(maps, dim=0)).to(torch.complex64)

    def measured(self, kspace: Tensor, mask: Tensor) -> Tensor:
        """Refuse; see the base class."""
        raise ConfigurationError(
            "SimulatedCoils are for simulations; measured k-space needs data.acquisition.coils: ESPIRiT, "
            "or CoilMapsFile."
        )


class CoilMapsFile(CoilMaps):
    """Maps from a file, complex ``[N, H, W]`` or ``[H, W, N]``; that of a single coil may be ``[H, W]``.

    They should be normalised to a root sum of squares of 1 inside the object: the image is then as bright as the coils.

    Args:
        path: ``.npy``, ``.npz``, ``.mat``, ``.h5``, ``.cfl``, ...; environment variables are replaced.
        key: Name of the array, where the file holds several.
    """

    def __init__(self, path: str, key: str | None = None) -> None:
        self.path = path
        self.key = key

    def simulated(self, image_shape: tuple[int, int]) -> Tensor:
        """Read the maps; see the base class.

        Raises:
            MeasurementError: If the file cannot be read or its maps are not of this size.
        """
        path = expand_path(self.path)
        maps = torch.from_numpy(read_array(path, self.key)).squeeze()
        if maps.ndim == 2:
            maps = maps[None]  # of one coil
        if maps.ndim == 3 and maps.shape[1:] != image_shape and maps.shape[:2] == image_shape:
            maps = maps.movedim(-1, 0)  # MATLAB and BART have the coils last
        if not maps.is_complex() or maps.ndim != 3 or tuple(maps.shape[1:]) != tuple(image_shape):
            raise MeasurementError(
                f"{path} must hold complex maps [coils, {image_shape[0]}, {image_shape[1]}], "
                f"not {maps.dtype} {list(maps.shape)}."
            )
        if not bool(torch.isfinite(torch.view_as_real(maps)).all()):
            raise MeasurementError(f"The coil maps {path} hold NaN or infinite values.")
        return maps.to(torch.complex64)

    def measured(self, kspace: Tensor, mask: Tensor) -> Tensor:
        """Read the maps and compare the number of coils; see the base class."""
        maps = self.simulated((kspace.shape[-2], kspace.shape[-1]))
        if len(maps) != len(kspace):
            raise MeasurementError(f"{self.path} has maps of {len(maps)} coils, but the data have {len(kspace)} coils.")
        return maps
