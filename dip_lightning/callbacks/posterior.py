"""Mean and spread of the outputs after a burn-in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from torch import Tensor

from dip_lightning.callbacks.averaging import Averaging
from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.averaging import RunningMoments

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP


class PosteriorSamples(Averaging):
    r"""Report mean and pixelwise standard deviation of the outputs after a burn-in.

    Every ``every``-th output after ``burn_in`` optimiser steps is a sample: those of the steps ``burn_in + every``,
    ``burn_in + 2 every``, and so on. Their mean is the estimate, their standard deviation (dividing by the number of
    samples less one) the uncertainty: both are in ``reconstruction.h5``. Until the first sample, the last output is
    the estimate; until the second there is no uncertainty. Source: Cheng et al., CVPR 2019 (burn-in 7000, a sample
    every 50 steps). The outputs are samples of a posterior only as far as the method makes them so, as ``SGLDDIP``
    does approximately; with others, this is the spread of the iterates.

    Args:
        burn_in: Optimiser steps whose outputs are left out.
        every: Optimiser steps from one sample to the next.

    Raises:
        ConfigurationError: If a number is out of range.
    """

    def __init__(self, burn_in: int = 7000, every: int = 50) -> None:
        if burn_in < 0 or every < 1:
            raise ConfigurationError(f"burn_in={burn_in} must be at least 0 and every={every} at least 1.")
        self.burn_in = burn_in
        self.every = every
        self.moments = RunningMoments()
        self._counts: dict[int, int] = {}

    def reset(self) -> None:
        """Forget the samples; see the base class."""
        self.moments.reset()
        self._counts = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring a restored state to the device."""
        self.moments.to(pl_module.device)

    def on_iterate(self, trainer: pl.Trainer, pl_module: BaseDIP, output: Tensor) -> None:
        """Take the sample where one is due; report at the end of an outer step."""
        after = pl_module.shown - self.burn_in
        if after > 0 and after % self.every == 0:
            self.moments.update(output)
        if pl_module.iteration % pl_module.inner_steps == 0:
            for name, image in (("average", self.moments.compute()), ("uncertainty", self.moments.deviation())):
                if image is not None:
                    pl_module.report(name, image.to(output.dtype))

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, pl_module: BaseDIP, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the samples of members that are fitted; one that broke down has the image of the outer step before."""
        for member in pl_module.roster.running:
            if pl_module.ending(member).reason != "nan":
                self._counts[member] = self.moments.count

    def summary(self, member: int = 0) -> dict[str, Any]:
        """Say how many samples were taken.

        Args:
            member: Which member of the batch.

        Returns:
            ``burn_in``, ``every``, ``samples``.
        """
        samples = self._counts.get(member, self.moments.count)
        return {"burn_in": self.burn_in, "every": self.every, "samples": samples}

    def state_dict(self) -> dict[str, Any]:
        """Sums and counts."""
        return {**self.moments.state_dict(), "members": dict(self._counts)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.moments.load_state_dict(state_dict)
        self._counts = dict(state_dict.get("members", {}))  # older checkpoints have none
