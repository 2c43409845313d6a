"""Untrained networks: the prior of a deep image prior."""

from dip_lightning.networks.decoders import ConvDecoder, DeepDecoder
from dip_lightning.networks.initialise import reinitialise
from dip_lightning.networks.random_projector import RandomProjectorNet
from dip_lightning.networks.s2s import S2SNet
from dip_lightning.networks.skip import SkipNet
from dip_lightning.networks.stacked import StackedNetwork
from dip_lightning.networks.unet import MediumUNet, ShallowUNet, SmallUNet, UNet

__all__ = [
    "ConvDecoder",
    "DeepDecoder",
    "MediumUNet",
    "RandomProjectorNet",
    "S2SNet",
    "ShallowUNet",
    "SkipNet",
    "SmallUNet",
    "StackedNetwork",
    "UNet",
    "reinitialise",
]
