"""What happens around the inner loop: one concern in each file."""

from dip_lightning.callbacks.averaging import OutputAveraging, UniformAveraging
from dip_lightning.callbacks.checkpoint import ResumeCheckpoint
from dip_lightning.callbacks.crossing import BestLoss, DiscrepancyStopping, ZeroCrossing
from dip_lightning.callbacks.denoised_update import DenoisedInputUpdate
from dip_lightning.callbacks.early_stopping import EarlyStoppingEMV, EarlyStoppingWMV
from dip_lightning.callbacks.held_out import HeldOutStopping
from dip_lightning.callbacks.input_update import DataConsistentInputUpdate, InputUpdate
from dip_lightning.callbacks.learned_input import LearnedInput
from dip_lightning.callbacks.metrics import ReconstructionMetrics
from dip_lightning.callbacks.pictures import Pictures
from dip_lightning.callbacks.posterior import PosteriorSamples
from dip_lightning.callbacks.progress import DIPProgress
from dip_lightning.callbacks.proximal_update import ProximalInputUpdate
from dip_lightning.callbacks.result_writer import ResultWriter
from dip_lightning.callbacks.stopping import StoppingRule
from dip_lightning.callbacks.sure_stopping import SUREStopping

__all__ = [
    "BestLoss",
    "DIPProgress",
    "DataConsistentInputUpdate",
    "DenoisedInputUpdate",
    "DiscrepancyStopping",
    "EarlyStoppingEMV",
    "EarlyStoppingWMV",
    "HeldOutStopping",
    "InputUpdate",
    "OutputAveraging",
    "LearnedInput",
    "Pictures",
    "PosteriorSamples",
    "ProximalInputUpdate",
    "ReconstructionMetrics",
    "ResultWriter",
    "ResumeCheckpoint",
    "SUREStopping",
    "StoppingRule",
    "UniformAveraging",
    "ZeroCrossing",
]
