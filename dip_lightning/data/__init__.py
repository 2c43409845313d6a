"""DataModules: each hands measurements to a method."""

from dip_lightning.data.base import InMemory, MeasurementDataModule
from dip_lightning.data.image_file import ImageFile
from dip_lightning.data.phantoms import Phantom
from dip_lightning.data.sample_image import SampleImage
from dip_lightning.data.simulated import SimulatedMeasurements

__all__ = [
    "ImageFile",
    "InMemory",
    "MeasurementDataModule",
    "Phantom",
    "SampleImage",
    "SimulatedMeasurements",
]
