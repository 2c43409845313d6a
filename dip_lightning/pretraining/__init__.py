"""Supervised pretraining on simulated pairs, for methods that start from trained weights."""

from dip_lightning.pretraining.module import SupervisedPretraining
from dip_lightning.pretraining.pairs import EllipsePairs
from dip_lightning.pretraining.trajectory import ParameterTrajectory

__all__ = ["EllipsePairs", "ParameterTrajectory", "SupervisedPretraining"]
