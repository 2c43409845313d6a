"""Measured k-space along a trajectory: spirals, spokes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dip_lightning.array_files import read_array
from dip_lightning.data.base import MeasurementDataModule, with_metadata
from dip_lightning.data.readers.files import measurement_name
from dip_lightning.data.readers.kspace import check_finite
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.measurement import Measurement
from dip_lightning.paths import expand_path
from dip_lightning.physics.acquisition import Acquisition
from dip_lightning.physics.mri_trajectory import TrajectoryMRI, spread


class TrajectoryKSpace(MeasurementDataModule):
    """Non-Cartesian k-space with its trajectory, in one file of arrays.

    Args:
        acquisition: Coil maps and first estimate.
        path: ``.npz``, ``.mat`` or ``.h5``. Environment variables are replaced.
        image_size: ``n`` for ``n x n`` or ``[height, width]``.
        shots: How many of the shots the fit uses, evenly chosen; the target is the image of all. ``None`` uses all,
            without a target.
        kspace_key: Array ``[coils, samples, shots]``, complex.
        trajectory_key: Array ``[samples, shots, 2]``: position along x (columns) and y (rows) in cycles per pixel,
            from -0.5 to 0.5.
        density_key: Array ``[samples, shots]`` of density compensation; ``None`` computes it.
        name: What the measurement is called; the file's name unless given.
        repeat: From how many seeds it is reconstructed at once.

    Raises:
        ConfigurationError: If the acquisition is not :class:`~dip_lightning.physics.mri_trajectory.TrajectoryMRI` or
            a number is out of range.
    """

    def __init__(
        self,
        acquisition: Acquisition,
        path: str,
        image_size: int | tuple[int, int] = 256,
        shots: int | None = None,
        kspace_key: str = "ksp",
        trajectory_key: str = "coord",
        density_key: str | None = "dcf",
        name: str | None = None,
        repeat: int = 1,
    ) -> None:
        super().__init__(repeat=repeat)
        if not isinstance(acquisition, TrajectoryMRI):
            raise ConfigurationError(
                f"data.acquisition must be TrajectoryMRI for data along a trajectory, not {type(acquisition).__name__}."
            )
        self.image_shape = (image_size, image_size) if isinstance(image_size, int) else (image_size[0], image_size[1])
        if min(self.image_shape) < 1:
            raise ConfigurationError(f"data.image_size={image_size} must be positive.")
        self.acquisition = acquisition
        self.path = expand_path(path)
        self.shots = shots
        self.kspace_key = kspace_key
        self.trajectory_key = trajectory_key
        self.density_key = density_key
        self.name = name

    def load(self, indices: Sequence[int]) -> Measurement:
        """Read data and trajectory; see the base class.

        Raises:
            ConfigurationError: If there are not that many shots.
        """
        kspace, trajectory, density = self._read()
        used = spread(kspace.shape[1], kspace.shape[1] if self.shots is None else self.shots)
        metadata = {
            "file": str(self.path),
            "coils": len(kspace),
            "shots": int(used.sum()),
            "shots_measured": len(used),
            "samples_per_shot": kspace.shape[2],
            "trajectory": "of the file",
            "noise": "measured",
            "target": None if self.shots is None else "least squares of all shots",
        }
        return self.acquisition.from_samples(
            kspace, trajectory, density, used, self.image_shape, [measurement_name(self.name, self.path)],
            **with_metadata(self.acquisition, metadata),
        )  # fmt: skip

    def _read(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """K-space ``[N, shots, samples]``, trajectory ``[shots, samples, 2]``, density ``[shots, samples]``."""
        kspace = read_array(self.path, self.kspace_key)
        trajectory = read_array(self.path, self.trajectory_key)
        density = None if self.density_key is None else read_array(self.path, self.density_key)
        if not np.iscomplexobj(kspace) or kspace.ndim != 3:
            raise MeasurementError(
                f"{self.path}: {self.kspace_key} must be complex [coils, samples, shots], not {kspace.dtype} "
                f"{list(kspace.shape)}."
            )
        if trajectory.shape != (*kspace.shape[1:], 2) or (density is not None and density.shape != kspace.shape[1:]):
            raise MeasurementError(
                f"{self.path}: {self.kspace_key} {list(kspace.shape)} needs a trajectory "
                f"{[*kspace.shape[1:], 2]} and a density {list(kspace.shape[1:])}, not {list(trajectory.shape)} and "
                f"{None if density is None else list(density.shape)}."
            )
        if not np.abs(trajectory).max() <= 0.5:
            raise MeasurementError(f"{self.path}: {self.trajectory_key} leaves [-0.5, 0.5] cycles per pixel.")
        if density is not None and not np.isfinite(density).all():
            raise MeasurementError(f"{self.path}: {self.density_key} holds NaN or infinite weights; repair them.")
        values = check_finite(np.ascontiguousarray(kspace.transpose(0, 2, 1), dtype=np.complex64), self.path)
        points = np.ascontiguousarray(trajectory.transpose(1, 0, 2)[..., ::-1], dtype=np.float32)  # rows first
        weights = None if density is None else torch.from_numpy(np.ascontiguousarray(density.T, dtype=np.float32))
        return torch.from_numpy(values), torch.from_numpy(points), weights
