"""The DataModule that hands a measurement to a method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from dip_lightning.errors import ConfigurationError
from dip_lightning.measurement import Measurement
from dip_lightning.members import repeat_measurement
from dip_lightning.physics.acquisition import Acquisition


class MeasurementDataModule(pl.LightningDataModule, ABC):
    """Yields one measurement, or ``batch`` of them, to reconstruct.

    The measurement does not travel as a batch: the method takes it from here once, at the start of fit, and the
    loader only counts outer steps, so that a progress bar has a total.

    Args:
        index: Which measurement of the set.
        batch: How many, from ``index`` on, are reconstructed together.
        repeat: From how many seeds each is reconstructed at once: the method's seed and those after it.
    """

    measurement: Measurement

    def __init__(self, index: int = 0, batch: int = 1, repeat: int = 1) -> None:
        super().__init__()
        if index < 0 or batch < 1:
            raise ConfigurationError(f"data.index={index} must not be negative and data.batch={batch} at least 1.")
        if repeat < 1:
            raise ConfigurationError(f"data.repeat={repeat} must be at least 1.")
        self.index = index
        self.batch = batch
        self.repeat = repeat

    @abstractmethod
    def load(self, indices: Sequence[int]) -> Measurement:
        """Read or simulate measurements.

        Args:
            indices: Which ones; as many as will be reconstructed together.

        Returns:
            A validated measurement with ``B = len(indices)``.

        Raises:
            MeasurementError: If data are missing, unreadable or do not fit; the message names the file.
        """

    def setup(self, stage: str) -> None:
        """Load the measurement, once."""
        if not hasattr(self, "measurement"):
            measurement = self.load(range(self.index, self.index + self.batch))
            self.measurement = repeat_measurement(measurement, self.repeat)

    def train_dataloader(self) -> DataLoader[int]:
        """Count the outer steps of the method."""
        method = getattr(self.trainer, "lightning_module", None)
        steps = getattr(method, "outer_steps", 1) * getattr(method, "passes", 1)
        return DataLoader(range(steps), batch_size=None)  # type: ignore[arg-type]

    def test_dataloader(self) -> DataLoader[int]:
        """One batch: the stored reconstruction is scored, nothing is fitted."""
        return DataLoader(range(1), batch_size=None)  # type: ignore[arg-type]

    def predict_dataloader(self) -> DataLoader[int]:
        """One batch: the stored reconstruction is written, nothing is fitted."""
        return self.test_dataloader()


def with_metadata(acquisition: Acquisition, metadata: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Join what an acquisition and a DataModule say about a measurement.

    Args:
        acquisition: Its fields go before the DataModule's.
        metadata: For the record; added to the acquisition's.
        **fields: Further fields of the measurement, used where the acquisition says nothing.

    Returns:
        Fields for :meth:`Acquisition.simulate` and :meth:`Acquisition.accept`.
    """
    known = acquisition.describe()
    return {**fields, **known, "metadata": {**known.get("metadata", {}), **metadata}}


class InMemory(MeasurementDataModule):
    """A measurement that is already at hand, for use from Python.

    Args:
        measurement: What to reconstruct.
        repeat: From how many seeds at once.
    """

    def __init__(self, measurement: Measurement, repeat: int = 1) -> None:
        super().__init__(batch=measurement.batch_size, repeat=repeat)
        self.measurement = repeat_measurement(measurement.validate(), repeat)

    def load(self, indices: Sequence[int]) -> Measurement:
        """Return the measurement at hand."""
        return self.measurement
