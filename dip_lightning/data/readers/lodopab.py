"""LoDoPaB-CT as released: HDF5 files of 128 samples, read one sample at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dip_lightning.errors import ConfigurationError, MeasurementError, check_option

Split = Literal["train", "validation", "test", "challenge"]
Kind = Literal["ground_truth", "observation"]

#: Samples in each file but the last.
PER_FILE = 128
#: Samples of the released parts. Their last files are declared with 128 rows too; rows beyond these were never written.
SAMPLES = {"train": 35820, "validation": 3522, "test": 3553}
#: Name of the data set in every file.
KEY = "data"
SHAPES: dict[str, tuple[int, int]] = {"ground_truth": (362, 362), "observation": (1000, 513)}


class LoDoPaBFiles:
    """The files of one part of LoDoPaB-CT. A sample needs its own file alone; the last is opened to count.

    Args:
        folder: Holds ``observation_<split>_000.hdf5``, ``ground_truth_<split>_000.hdf5`` and so on, directly or in a
            folder named like the archive (``observation_<split>``, ``ground_truth_<split>``).
        split: ``train``, ``validation``, ``test`` or ``challenge`` (observations without ground truth).

    Raises:
        ConfigurationError: If the split is unknown.
    """

    def __init__(self, folder: Path, split: Split) -> None:
        self.folder = folder
        self.split: Split = check_option("split", split, get_args(Split))

    def path(self, kind: Kind, number: int) -> Path:
        """Path of a file, which need not exist."""
        name = f"{kind}_{self.split}_{number:03d}.hdf5"
        inside = self.folder / f"{kind}_{self.split}" / name
        return inside if inside.parent.is_dir() else self.folder / name

    def has(self, kind: Kind) -> bool:
        """Whether there is any file of a kind."""
        return bool(self._numbers(kind))

    def count(self, kind: Kind) -> int:
        """Count the samples: 128 a file, and what the last one holds.

        Raises:
            MeasurementError: If there is no file, or if the last one cannot be read.
        """
        numbers = self._numbers(kind)
        if not numbers:
            raise MeasurementError(
                f"{self.folder} holds no {kind}_{self.split}_NNN.hdf5; `dip-lightning datasets check LoDoPaB` says how "
                "to get them."
            )
        last = numbers[-1]
        total = PER_FILE * last + self._rows(self.path(kind, last), kind)
        released = SAMPLES.get(self.split, total)
        return min(total, released) if last == (released - 1) // PER_FILE else total

    def read(self, kind: Kind, index: int) -> NDArray[np.float32]:
        """Read one sample.

        Args:
            kind: ``ground_truth`` (362x362, normalised attenuation in [0, 1]) or ``observation`` (1000x513, line
                integrals of it over lengths in metres).
            index: Which sample of the part.

        Returns:
            ``[362, 362]`` or ``[1000, 513]``, float32.

        Raises:
            ConfigurationError: If there are fewer samples.
            MeasurementError: If the file of the sample is missing, unreadable or of another schema; the message names
                it. Other files do not matter.
        """
        self._check_index(kind, index)
        path, row = self.path(kind, index // PER_FILE), index % PER_FILE
        import h5py

        try:
            with h5py.File(path, "r") as file:
                data = _dataset(file, path, kind)
                if row >= len(data):
                    raise MeasurementError(f"{path} holds {len(data)} samples, none in row {row}; download it again.")
                values: NDArray[np.float32] = data[row].astype(np.float32)
        except OSError as error:
            raise MeasurementError(_unreadable(path, error)) from error
        bad = int((~np.isfinite(values)).sum())
        if bad:
            raise MeasurementError(f"{path}: row {row} holds {bad} NaN or infinite values of {values.size}.")
        return values

    def _check_index(self, kind: Kind, index: int) -> None:
        """Refuse a sample past the end. Files before the last are full, so that for theirs nothing needs counting."""
        if any(index // PER_FILE < number for number in self._numbers(kind)):
            return
        samples = self.count(kind)
        if index >= samples:
            raise ConfigurationError(
                f"There is no sample {index}: {self.folder} holds {samples} {kind} samples of '{self.split}' "
                "(the first is 0)."
            )

    def _numbers(self, kind: Kind) -> list[int]:
        folder = self.path(kind, 0).parent
        stem = f"{kind}_{self.split}_"
        names = (file.stem.removeprefix(stem) for file in folder.glob(f"{stem}*.hdf5"))
        return sorted(int(name) for name in names if name.isdigit())

    def _rows(self, path: Path, kind: Kind) -> int:
        import h5py

        try:
            with h5py.File(path, "r") as file:
                return len(_dataset(file, path, kind))
        except OSError as error:
            raise MeasurementError(_unreadable(path, error)) from error


def _dataset(file: Any, path: Path, kind: Kind) -> Any:
    if KEY not in file:
        raise MeasurementError(
            f"{path} has no data set '{KEY}', only {', '.join(file) or 'nothing'}; download it again."
        )
    data = file[KEY]
    if data.shape[1:] != SHAPES[kind]:
        raise MeasurementError(
            f"{path}: '{KEY}' has shape {list(data.shape)}, but {kind} files hold [samples, "
            f"{', '.join(map(str, SHAPES[kind]))}]."
        )
    return data


def _unreadable(path: Path, error: OSError) -> str:
    if not path.is_file():
        return f"{path} does not exist; `dip-lightning datasets check LoDoPaB` says how to get it."
    return f"{path} cannot be read; it may be truncated. Download it again. ({error})"
