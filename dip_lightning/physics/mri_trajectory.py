"""Non-Cartesian MRI: samples along spirals or spokes, or along a trajectory from a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from deepinv.physics import Physics
from torch import Tensor

from dip_lightning.errors import ConfigurationError, MeasurementError, check_option, check_positive_count
from dip_lightning.measurement import Measurement, check_tensor
from dip_lightning.physics.least_squares import least_squares_image
from dip_lightning.physics.mri_base import FirstEstimate, MRIAcquisition
from dip_lightning.physics.mri_coils import CoilMaps
from dip_lightning.physics.noise import MeasurementNoise

if TYPE_CHECKING:
    from dip_lightning.physics.mri_nufft import TrajectoryFourier

Trajectory = Literal["spiral", "radial"]


class TrajectoryMRI(MRIAcquisition):
    """Non-Cartesian MRI on deepinv's ``NonCartesianMRI``; extra ``nufft``.

    Data are ``[B, 2, N, S]`` with S samples of all shots. The transform runs on the CPU. Scaling, noise and images are
    as in :class:`~dip_lightning.physics.mri.CartesianMRI`, with the gridded image (density-compensated adjoint) in the
    place of the zero-filled one.

    Args:
        trajectory: ``spiral`` or ``radial``; data from a file bring their own.
        shots: Interleaves or spokes of simulated data.
        samples_per_shot: Samples of each.
        coils: Sensitivity maps; ``None`` is single-coil MRI.
        noise: Noise of simulated data.
        initial: First estimate: ``adjoint`` (gridded) or ``cg`` (least squares).
        cg_iterations: Iterations of ``cg`` at most.
        normalise: Whether to scale.
        phase: Largest phase, in radians, of the smooth phase that images of one channel are given.

    Raises:
        ConfigurationError: If an option is unknown or a number is out of range.
    """

    direct_name = "gridded image"

    def __init__(
        self,
        trajectory: Trajectory = "spiral",
        shots: int = 16,
        samples_per_shot: int = 512,
        coils: CoilMaps | None = None,
        noise: MeasurementNoise | None = None,
        initial: FirstEstimate = "adjoint",
        cg_iterations: int | None = 10,
        normalise: bool = True,
        phase: float = 1.0,
    ) -> None:
        super().__init__(coils, noise, initial, cg_iterations, normalise, phase)
        self.trajectory: Trajectory = check_option("trajectory", trajectory, get_args(Trajectory))
        self.shots = check_positive_count("shots", shots)
        self.samples_per_shot = check_positive_count("samples_per_shot", samples_per_shot)

    def physics(self, image_shape: tuple[int, int, int]) -> TrajectoryFourier:
        """Build the operator of simulated data; see the base class.

        Raises:
            ConfigurationError: If the image has not two channels, the maps need data, or mri-nufft is not installed.
        """
        channels, height, width = image_shape
        if channels != 2:
            raise ConfigurationError(f"MRI takes images of two channels, real and imaginary part, not {channels}.")
        maps = torch.ones(1, height, width, dtype=torch.complex64)
        if self.coils is not None:
            maps = self.coils.simulated((height, width))
        fourier: TrajectoryFourier = _operators().TrajectoryFourier(self._samples(), maps[None])
        return fourier

    def direct(self, y: Tensor, physics: Physics) -> Tensor:
        """The gridded image; see the base class."""
        return physics.gridded(y)

    def describe(self) -> dict[str, Any]:
        """Add the trajectory; see the base class."""
        known = super().describe()
        own = {"trajectory": self.trajectory, "shots": self.shots, "samples_per_shot": self.samples_per_shot}
        return {**known, "metadata": {**known["metadata"], **own}}

    def from_samples(
        self,
        kspace: Tensor,
        samples: Tensor,
        density: Tensor | None,
        used: Tensor,
        image_shape: tuple[int, int],
        ids: Sequence[str],
        **fields: Any,
    ) -> Measurement:
        """Take data measured along a trajectory.

        Coil maps are estimated from the centre of the gridded coil images of the shots in use, or of all with
        ``calibration: full``. The target, where some
        shots are left out, is the least-squares image (10 iterations) of all shots with the same maps.

        Args:
            kspace: ``[N, shots, samples]``, complex.
            samples: ``[shots, samples, 2]``, cycles per pixel.
            density: ``[shots, samples]``, or ``None``.
            used: Which shots the fit may use, ``[shots]``, bool.
            image_shape: ``(H, W)``.
            ids: Name of the measurement.
            **fields: Further fields of the measurement.

        Raises:
            MeasurementError: If the data are not finite or do not fit the trajectory.
        """
        check_tensor(f"k-space of {', '.join(ids)}", kspace)
        if kspace.shape[1:] != samples.shape[:-1]:
            raise MeasurementError(
                f"{', '.join(ids)}: k-space has {list(kspace.shape[1:])} shots and samples, but the trajectory "
                f"{list(samples.shape[:-1])}."
            )
        if self.coils is None and len(kspace) != 1:
            raise MeasurementError(f"{', '.join(ids)}: k-space of {len(kspace)} coils; set data.acquisition.coils.")
        points, y = samples[used].reshape(-1, 2), kspace[:, used].reshape(1, len(kspace), -1)
        weights = None if density is None else density[used].flatten()
        full = self.coils is not None and self.coils.calibration == "full"
        maps = self._maps(kspace, samples, density, torch.ones_like(used) if full else used, image_shape)
        physics = _operators().TrajectoryFourier(points, maps, weights)
        target = None
        if not bool(used.all()):
            whole = _operators().TrajectoryFourier(
                samples.reshape(-1, 2), maps, None if density is None else density.flatten()
            )
            target = least_squares_image(whole, physics.from_torch_complex(kspace.reshape(1, len(kspace), -1)), 10)
        data = physics.from_torch_complex(y).contiguous()
        return self.scaled(data, physics, ids, target=target, **fields)

    def _maps(
        self, kspace: Tensor, samples: Tensor, density: Tensor | None, used: Tensor, shape: tuple[int, int]
    ) -> Tensor:
        if self.coils is None:
            return torch.ones(1, 1, *shape, dtype=torch.complex64)
        weights = None if density is None else density[used].flatten()
        ones = torch.ones(1, len(kspace), *shape, dtype=torch.complex64)
        physics = _operators().TrajectoryFourier(samples[used].reshape(-1, 2), ones, weights)
        images = physics.coil_images(kspace[:, used].reshape(1, len(kspace), -1))[0]
        return self.coils.measured(physics.fft(images), torch.ones(shape, dtype=torch.bool))[None]

    def _samples(self) -> Tensor:
        trajectories = _operators().mri_nufft()
        make = {"spiral": trajectories.initialize_2D_spiral, "radial": trajectories.initialize_2D_radial}
        shots = make[self.trajectory](self.shots, self.samples_per_shot)
        return torch.from_numpy(shots.reshape(-1, 2)).float()


def spread(total: int, used: int) -> Tensor:
    """Choose ``used`` of ``total`` shots, as evenly as can be; ``[total]``, bool.

    Raises:
        ConfigurationError: If there are not that many.
    """
    if not 1 <= used <= total:
        raise ConfigurationError(f"data.shots={used} must be from 1 to the {total} that were measured.")
    chosen = torch.zeros(total, dtype=torch.bool)
    chosen[[math.floor(shot * total / used) for shot in range(used)]] = True
    return chosen


def _operators() -> Any:
    try:
        from dip_lightning.physics import mri_nufft
    except ImportError as error:
        raise ConfigurationError("Non-Cartesian MRI needs a newer deepinv: pip install --upgrade deepinv.") from error
    return mri_nufft
