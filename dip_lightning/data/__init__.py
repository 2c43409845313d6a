"""DataModules: each hands measurements to a method."""

from dip_lightning.data.base import InMemory, MeasurementDataModule
from dip_lightning.data.cbsd68 import CBSD68
from dip_lightning.data.data_exchange import DataExchangeCT
from dip_lightning.data.fastmri import FastMRI
from dip_lightning.data.htc2022 import HTC2022
from dip_lightning.data.image_file import ImageFile
from dip_lightning.data.lodopab import LoDoPaB
from dip_lightning.data.own_measurement import OwnMeasurement
from dip_lightning.data.phantoms import Phantom
from dip_lightning.data.raw_kspace import RawKSpace
from dip_lightning.data.sample_image import SampleImage
from dip_lightning.data.simulated import SimulatedMeasurements
from dip_lightning.data.trajectory_kspace import TrajectoryKSpace
from dip_lightning.data.volumes import NiftiSlices

__all__ = [
    "CBSD68",
    "DataExchangeCT",
    "FastMRI",
    "HTC2022",
    "ImageFile",
    "InMemory",
    "LoDoPaB",
    "MeasurementDataModule",
    "NiftiSlices",
    "OwnMeasurement",
    "Phantom",
    "RawKSpace",
    "SampleImage",
    "SimulatedMeasurements",
    "TrajectoryKSpace",
]
