"""Forward operators and acquisitions: what deepinv lacks or does slowly, and what turns images into measurements."""

from dip_lightning.physics.acquisition import Acquisition
from dip_lightning.physics.ct import FanBeamCT, ParallelBeamCT
from dip_lightning.physics.fbp import filtered_back_projection
from dip_lightning.physics.geometry import FanGeometry, Geometry, ParallelGeometry
from dip_lightning.physics.noise import MeasurementNoise, NoNoise, PoissonCounts, RelativeGaussian
from dip_lightning.physics.ray_transform import RayTransform

__all__ = [
    "Acquisition",
    "FanBeamCT",
    "FanGeometry",
    "Geometry",
    "MeasurementNoise",
    "NoNoise",
    "ParallelBeamCT",
    "ParallelGeometry",
    "PoissonCounts",
    "RayTransform",
    "RelativeGaussian",
    "filtered_back_projection",
]
