"""Reconstructions that need no fit of ours, in the same record as those that do."""

from dip_lightning.compare.baselines.base import Baseline
from dip_lightning.compare.baselines.diffusion import DDRM, DPS, DiffPIR
from dip_lightning.compare.baselines.from_deepinv import BM3D, DeepinvDIP
from dip_lightning.compare.baselines.linear import Adjoint, ConjugateGradient, Initial
from dip_lightning.compare.baselines.plug_and_play import PlugAndPlay
from dip_lightning.compare.baselines.run import run_baseline
from dip_lightning.compare.baselines.variational import TotalVariation, Wavelet

__all__ = [
    "Adjoint",
    "BM3D",
    "Baseline",
    "ConjugateGradient",
    "DDRM",
    "DPS",
    "DeepinvDIP",
    "DiffPIR",
    "Initial",
    "PlugAndPlay",
    "TotalVariation",
    "Wavelet",
    "run_baseline",
]
