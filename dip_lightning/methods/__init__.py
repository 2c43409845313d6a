"""Deep image prior variants, each a LightningModule."""

from dip_lightning.methods.aseqdip import ASeqDIP
from dip_lightning.methods.base import BaseDIP
from dip_lightning.methods.dip import DIP
from dip_lightning.methods.drpdip import DRPDIP
from dip_lightning.methods.edip import EDIP
from dip_lightning.methods.esdip import ESDIP
from dip_lightning.methods.oesdip import OESDIP
from dip_lightning.methods.pnpdip import PnPDIP
from dip_lightning.methods.refguideddip import RefGuidedDIP
from dip_lightning.methods.rethinkingdip import RethinkingDIP
from dip_lightning.methods.selfguideddip import SelfGuidedDIP
from dip_lightning.methods.sglddip import SGLDDIP
from dip_lightning.methods.subspacedip import SubspaceDIP
from dip_lightning.methods.tvdip import TVDIP, TVDIPSplitting

__all__ = [
    "ASeqDIP",
    "BaseDIP",
    "DIP",
    "DRPDIP",
    "EDIP",
    "ESDIP",
    "OESDIP",
    "PnPDIP",
    "RefGuidedDIP",
    "RethinkingDIP",
    "SGLDDIP",
    "SelfGuidedDIP",
    "SubspaceDIP",
    "TVDIP",
    "TVDIPSplitting",
]
