"""Forward operators and acquisitions: what deepinv lacks or does slowly, and what turns images into measurements."""

from dip_lightning.physics.acquisition import Acquisition
from dip_lightning.physics.blur_kernels import BlurKernel, GaussianKernel, KernelFile, MotionKernel
from dip_lightning.physics.compressed_sensing import CompressedSensing
from dip_lightning.physics.ct import FanBeamCT, ParallelBeamCT
from dip_lightning.physics.deblurring import Deblurring
from dip_lightning.physics.denoising import Denoising
from dip_lightning.physics.fbp import filtered_back_projection
from dip_lightning.physics.geometry import FanGeometry, Geometry, ParallelGeometry
from dip_lightning.physics.image_noise import AdditiveGaussian, ImpulseNoise, PoissonImage
from dip_lightning.physics.inpainting import Inpainting
from dip_lightning.physics.mri import CartesianMRI
from dip_lightning.physics.mri_coils import CoilMaps, CoilMapsFile, SimulatedCoils
from dip_lightning.physics.mri_espirit_maps import ESPIRiT
from dip_lightning.physics.mri_masks import EquispacedLines, RandomLines, SamplingMask, SamplingMaskFile
from dip_lightning.physics.mri_masks_2d import PoissonDisc, VariableDensity2D
from dip_lightning.physics.mri_operator import MultiCoilFourier
from dip_lightning.physics.mri_trajectory import TrajectoryMRI
from dip_lightning.physics.noise import MeasurementNoise, NoNoise, PoissonCounts, RelativeGaussian
from dip_lightning.physics.nonlinear_blur import NonlinearBlur
from dip_lightning.physics.ray_transform import RayTransform
from dip_lightning.physics.super_resolution import SuperResolution

__all__ = [
    "Acquisition",
    "AdditiveGaussian",
    "BlurKernel",
    "CartesianMRI",
    "CoilMaps",
    "CoilMapsFile",
    "CompressedSensing",
    "Deblurring",
    "Denoising",
    "EquispacedLines",
    "ESPIRiT",
    "FanBeamCT",
    "FanGeometry",
    "GaussianKernel",
    "Geometry",
    "ImpulseNoise",
    "Inpainting",
    "KernelFile",
    "MeasurementNoise",
    "MotionKernel",
    "MultiCoilFourier",
    "NonlinearBlur",
    "NoNoise",
    "ParallelBeamCT",
    "ParallelGeometry",
    "PoissonCounts",
    "PoissonDisc",
    "PoissonImage",
    "RandomLines",
    "RayTransform",
    "RelativeGaussian",
    "SamplingMask",
    "SamplingMaskFile",
    "SimulatedCoils",
    "SuperResolution",
    "TrajectoryMRI",
    "VariableDensity2D",
    "filtered_back_projection",
]
