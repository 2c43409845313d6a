"""Averages of the outputs: less noise than any single one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from torch import Tensor

from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.averaging import RunningMean, move_average
from dip_lightning.hooks import AveragesIterates, callbacks_of

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP


class Averaging(pl.Callback, AveragesIterates):
    """Reports an average of the outputs; there can be one."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check that there is one average only; forget an earlier fit.

        Raises:
            ConfigurationError: If several callbacks average the outputs.
        """
        if stage == "fit":
            self.reset()
        found = [type(average).__name__ for average in callbacks_of(trainer, Averaging)]
        if len(found) > 1:
            raise ConfigurationError(f"Only one of the callbacks {', '.join(found)} can be the estimate: keep one.")

    def reset(self) -> None:
        """Forget an earlier fit; a checkpoint, if there is one, is read after this."""


class OutputAveraging(Averaging):
    r"""Report the exponential average of the outputs of all optimiser steps, :math:`a \leftarrow w a + (1 - w) x`.

    It starts from the first output. Source: the released code of the first DIP paper (arXiv 1711.10925), weight 0.99.
    In a fit of a few hundred steps the first output, which shows nothing, then stays visible for long: 13 % of it are
    left after 200 steps. ``corrected`` divides by the weights that were given so far, as Adam does (arXiv 1412.6980),

    .. math:: a_k = \frac{\sum_{i \le k} w^{k-i} x_i}{\sum_{i \le k} w^{k-i}},

    which forgets it: a plain mean at first, and the same average in the end.

    Args:
        weight: Weight :math:`w` of the past; about :math:`1 / (1 - w)` outputs count.
        corrected: Whether to correct for the start. The published methods do not.

    Raises:
        ConfigurationError: If the weight is not in [0, 1).
    """

    def __init__(self, weight: float = 0.99, corrected: bool = False) -> None:
        if not 0 <= weight < 1:
            raise ConfigurationError(f"weight={weight} must be at least 0 and below 1.")
        self.weight = weight
        self.corrected = corrected

    def on_iterate(self, trainer: pl.Trainer, pl_module: BaseDIP, output: Tensor) -> None:
        """Move the average, in place in the method's reports: its checkpoints hold it."""
        average = pl_module.reports.get("average")
        if average is None:
            pl_module.report("average", output.clone())
        else:
            past = self.weight_of_past(pl_module.shown)
            move_average(average, pl_module.unless_stopped(output, average), past)

    def weight_of_past(self, count: int) -> float:
        """Give the weight that the average has against this output, the ``count``-th that is shown."""
        if not (self.corrected and self.weight):
            return self.weight
        return 1 - (1 - self.weight) / (1 - self.weight**count)


class UniformAveraging(Averaging):
    r"""Report the plain mean of the outputs after a burn-in, :math:`\frac1t \sum_i x_i`.

    With SGLD-like noise it is the posterior mean (Cheng et al., CVPR 2019: burn-in 7000, every output or every
    50th). Until the first output after the burn-in, the last output is the estimate.

    Args:
        burn_in: Optimiser steps whose outputs are left out.
        every: Take the first and then every so many outputs after the burn-in.

    Raises:
        ConfigurationError: If a number is out of range.
    """

    def __init__(self, burn_in: int = 1000, every: int = 1) -> None:
        if burn_in < 0 or every < 1:
            raise ConfigurationError(f"burn_in={burn_in} must be at least 0 and every={every} at least 1.")
        self.burn_in = burn_in
        self.every = every
        self.mean = RunningMean()

    def reset(self) -> None:
        """Forget the sum; see the base class."""
        self.mean.reset()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring a restored state to the device."""
        self.mean.to(pl_module.device)

    def on_iterate(self, trainer: pl.Trainer, pl_module: BaseDIP, output: Tensor) -> None:
        """Add the output; report the mean at the end of an outer step, before the method looks at its estimate."""
        after = pl_module.shown - self.burn_in
        if after > 0 and (after - 1) % self.every == 0:
            self.mean.update(output)
        if pl_module.iteration % pl_module.inner_steps == 0:
            mean = self.mean.compute()
            if mean is not None:
                pl_module.report("average", mean.to(output.dtype))

    def state_dict(self) -> dict[str, Any]:
        """Sum and count."""
        return self.mean.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.mean.load_state_dict(state_dict)
