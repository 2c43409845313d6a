"""What a method offers to callbacks beyond Lightning's own hooks.

A callback that wants every iterate, not only every batch, subclasses :class:`IterateHook`; one that changes the
network input subclasses :class:`UpdatesNetworkInput`, so that methods can tell that they have what they need. One that
trains more than the network's weights subclasses :class:`AddsParameters`; one that keeps something of the measurement
from the fit subclasses :class:`PreparesMeasurement`; one that makes an image of all iterates subclasses
:class:`AveragesIterates`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from dip_lightning.measurement import Measurement
    from dip_lightning.methods.base import BaseDIP

Kind = TypeVar("Kind")


def callbacks_of(trainer: pl.Trainer, kind: type[Kind]) -> list[Kind]:
    """Find a trainer's callbacks of a kind, in their order.

    Args:
        trainer: The trainer.
        kind: A callback's class, or one of the classes below that are mixed into it.
    """
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, kind)]


class IterateHook:
    """Mixed into a callback that is shown the network's output at every optimiser step."""

    def on_iterate(self, trainer: pl.Trainer, pl_module: BaseDIP, output: Tensor) -> None:
        """See one iterate, inside the inner loop: no host synchronisation, no logging.

        Args:
            trainer: The running trainer.
            pl_module: The method; ``pl_module.iteration`` already counts this step.
            output: Detached network output that the step's loss was computed from, ``[B, C, H, W]``.
        """


class AveragesIterates(IterateHook):
    """Mixed into a callback that makes an image of all iterates since the fit began."""


class UpdatesNetworkInput:
    """Mixed into a callback that changes the stored network input between outer steps."""


class AddsParameters:
    """Mixed into a callback that has something beside the weights trained, in parameter groups of its own."""

    def parameter_groups(self, pl_module: BaseDIP) -> list[dict[str, Any]]:
        """Give the groups, when the optimiser is built: the stored input is on the device by then.

        Args:
            pl_module: The method.

        Returns:
            Parameter groups as torch optimisers take them, each with ``params`` and with options of its own.
        """
        raise NotImplementedError(f"{type(self).__name__} must say what it has trained: override parameter_groups().")


class LearnsNetworkInput(AddsParameters):
    """Mixed into a callback that has the stored network input optimised."""


class StopsFit:
    """Mixed into a callback that can end a fit before its last outer step, and choose the iterate."""

    @property
    def stops(self) -> bool:
        """Whether it does so here."""
        return True

    @property
    def starts_over(self) -> bool:
        """Whether it can have the fit start over, once it has chosen the iterate."""
        return False


class PreparesMeasurement:
    """Mixed into a callback that changes what of the measurement a method fits."""

    def prepare_measurement(self, measurement: Measurement, pl_module: BaseDIP) -> Measurement:
        """Make the measurement that is fitted, at the start of fit, before the first input is made.

        Args:
            measurement: The DataModule's measurement, or what the callback before this one made of it.
            pl_module: The method, whose seeds are known but which has no input yet.

        Returns:
            A measurement of the same images; its target must not be read.
        """
        return measurement
