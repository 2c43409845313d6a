"""Deep image prior variants, each a LightningModule."""

from dip_lightning.methods.aseqdip import ASeqDIP
from dip_lightning.methods.base import BaseDIP
from dip_lightning.methods.dip import DIP

__all__ = ["ASeqDIP", "BaseDIP", "DIP"]
