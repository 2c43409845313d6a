"""Deep image prior with early stopping."""

from __future__ import annotations

from dip_lightning.hooks import StopsFit, callbacks_of
from dip_lightning.methods.checks import demand_callback
from dip_lightning.methods.dip import DIP


class ESDIP(DIP):
    """ES-DIP: vanilla DIP, stopped by a rule that needs no truth.

    Source: Wang et al., TMLR 2023 (arXiv 2112.06074). The stopping rules are callbacks and work with every method;
    this one is vanilla DIP that refuses to run without. Theirs is ``EarlyStoppingWMV`` or ``EarlyStoppingEMV``.
    """

    static_step = True

    def setup(self, stage: str) -> None:
        """Check that something stops the fit; see the base class.

        Raises:
            MissingCallbackError: If no callback does.
        """
        if stage == "fit":
            stopping = [rule for rule in callbacks_of(self.trainer, StopsFit) if rule.stops]
            demand_callback(self, stopping, "stops the fit", "EarlyStoppingWMV")
        super().setup(stage)
