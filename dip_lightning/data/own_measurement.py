"""A measurement of your own: data from a file, the forward operator from deepinv or from a function of yours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from deepinv.physics import Physics
from torch import Tensor

from dip_lightning.array_files import read_array
from dip_lightning.data.base import MeasurementDataModule
from dip_lightning.data.readers.files import safe_names
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.functions import load_function
from dip_lightning.measurement import Measurement, check_tensor
from dip_lightning.paths import expand_path
from dip_lightning.physics.least_squares import pseudo_inverse

FirstImage = Literal["adjoint", "pseudo_inverse"]


class OwnMeasurement(MeasurementDataModule):
    """Measured data from a file, reconstructed with a physics that you name.

    The file holds the data of one measurement, in the shape that ``physics.A`` gives for one image (a first axis of
    length 1 may be left out), or of several along a further first axis, of which ``index`` picks. Numbers become
    float32 or complex64; integers are converted as they are.

    Args:
        y: File of the data: npy, npz, mat (all versions), HDF5, pt.
        physics: A deepinv physics by class path and arguments, or a function that makes one: ``module:function`` or
            ``path/to/file.py:function``. The function gets ``image_shape`` and ``physics_args`` by name.
        image_shape: Channels, height and width of the image, ``[C, H, W]``.
        y_key: Which variable or data set of the file.
        physics_args: Further arguments of the function.
        target: File of the ground truth, if there is one; for the record only.
        target_key: Which variable of that file.
        initial: First image: ``adjoint``, ``pseudo_inverse`` (``A_dagger``), or a file.
        initial_key: Which variable of that file.
        task: Second half of the run folder's name.
        noise_level: Standard deviation of the noise, in units of ``y``, if it is known.
        value_range: Range of the image values ``[low, high]``, to which metrics clip; ``None`` where there is none.
        magnitude: Whether images are two-channel complex.
        units: What an image value of 1 means.
        measurement_id: Name of the measurement; that of the file unless given.
        index: Which measurement of a file with several.
        batch: How many, from ``index`` on, are reconstructed together.
        repeat: From how many seeds each is reconstructed at once.

    Raises:
        ConfigurationError: If an argument is out of range, the function cannot be found, or a path has a variable
            that is not set.
    """

    def __init__(
        self,
        y: str,
        physics: Physics | str,
        image_shape: tuple[int, int, int],
        y_key: str | None = None,
        physics_args: dict[str, Any] | None = None,
        target: str | None = None,
        target_key: str | None = None,
        initial: FirstImage | str = "adjoint",
        initial_key: str | None = None,
        task: str = "own",
        noise_level: float | None = None,
        value_range: tuple[float, float] | None = (0.0, 1.0),
        magnitude: bool = False,
        units: str = "1",
        measurement_id: str | None = None,
        index: int = 0,
        batch: int = 1,
        repeat: int = 1,
    ) -> None:
        super().__init__(index=index, batch=batch, repeat=repeat)
        if len(image_shape) != 3 or min(image_shape) < 1:
            raise ConfigurationError(f"data.image_shape={list(image_shape)} must be channels, height and width.")
        if isinstance(physics, str) and ":" not in physics:
            raise ConfigurationError(
                f"data.physics={physics!r} is neither a physics by class path nor a function module:function."
            )
        self.y = expand_path(y)
        self.y_key = y_key
        self.physics = physics
        self.physics_args = physics_args or {}
        self.image_shape = (image_shape[0], image_shape[1], image_shape[2])
        self.target = None if target is None else (expand_path(target), target_key)
        named = initial in ("adjoint", "pseudo_inverse")
        self.initial: str | tuple[Path, str | None] = initial if named else (expand_path(initial), initial_key)
        self.name: str = measurement_id or safe_names([self.y])[0]
        self.fields: dict[str, Any] = {
            "task": task,
            "noise_level": noise_level,
            "value_range": value_range,
            "magnitude": magnitude,
            "units": units,
        }

    def load(self, indices: Sequence[int]) -> Measurement:
        """Read the files and build the physics; see the base class.

        Raises:
            ConfigurationError: If the file has fewer measurements.
            MeasurementError: If a file cannot be read or does not fit the physics.
        """
        physics = self._physics()
        y, several = self._data(physics, indices)
        ids: list[str] = [f"{self.name}_{index:04d}" if several else self.name for index in indices]
        target = None if self.target is None else self._image(*self.target, indices)
        metadata = {"file": str(self.y), "physics": type(physics).__name__, "samples": list(indices)}
        return Measurement(
            y=y,
            physics=physics,
            initial=self._first(physics, y, indices),
            ids=tuple(ids),
            target=target,
            metadata=metadata,
            make_initial=None if isinstance(self.initial, tuple) else self._apply,
            **self.fields,
        ).validate()

    def _physics(self) -> Physics:
        if not isinstance(self.physics, str):
            return self.physics
        physics = load_function(self.physics)(image_shape=self.image_shape, **self.physics_args)
        if not isinstance(physics, Physics):
            raise ConfigurationError(f"{self.physics} returned a {type(physics).__name__}, not a deepinv Physics.")
        return physics

    def _data(self, physics: Physics, indices: Sequence[int]) -> tuple[Tensor, bool]:
        """Data ``[B, ...]``, and whether the file holds several measurements."""
        y = _to_tensor(read_array(self.y, self.y_key), str(self.y))
        try:
            with torch.no_grad():
                expected = physics.A(torch.zeros(1, *self.image_shape)).shape[1:]
        except (RuntimeError, ValueError) as error:
            raise MeasurementError(
                f"The physics {type(physics).__name__} does not take images {list(self.image_shape)}: {error}"
            ) from error
        if y.shape[1:] == expected:
            return _choose(y, indices, self.y), len(y) > 1
        if expected[:1] == (1,) and y.shape == expected[1:]:
            y = y[None]  # a sinogram or grey image, saved as the matrix that it is
        if y.shape == expected:
            return _choose(y[None], indices, self.y), False
        raise MeasurementError(
            f"{self.y} holds data of shape {list(y.shape)}, but {type(physics).__name__} maps an image "
            f"{list(self.image_shape)} to {list(expected)}: give the geometry that they were measured with, or "
            "transpose the file."
        )

    def _first(self, physics: Physics, y: Tensor, indices: Sequence[int]) -> Tensor:
        if isinstance(self.initial, tuple):
            return self._image(*self.initial, indices)
        return self._apply(y, physics)

    def _apply(self, y: Tensor, physics: Physics) -> Tensor:
        """First image by the physics' own operator."""
        operator = "A_adjoint" if self.initial == "adjoint" else "A_dagger"
        if not hasattr(physics, operator):
            raise ConfigurationError(
                f"The physics {type(physics).__name__} has no {operator}: set data.initial to a file."
            )
        with torch.no_grad():
            return physics.A_adjoint(y) if self.initial == "adjoint" else pseudo_inverse(physics, y)

    def _image(self, path: Path, key: str | None, indices: Sequence[int]) -> Tensor:
        if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"):
            raise MeasurementError(
                f"{path}: save images of your own as npy, mat or HDF5, in the values that they have."
            )
        image = _to_tensor(read_array(path, key), str(path))
        channels, height, width = self.image_shape
        if image.shape == (height, width) and channels == 1:
            image = image[None]
        if image.shape == self.image_shape:
            image = image[None].expand(max(indices) + 1, -1, -1, -1)
        if image.shape[1:] != self.image_shape:
            raise MeasurementError(f"{path} has shape {list(image.shape)}, not that of the image {self.image_shape}.")
        return _choose(image, indices, path).clone()


def _to_tensor(values: np.ndarray[Any, Any], name: str) -> Tensor:
    if values.dtype.kind not in "biufc":
        raise MeasurementError(f"{name} holds values of type {values.dtype}; numbers are needed.")
    kind = np.complex64 if np.iscomplexobj(values) else np.float32
    return check_tensor(name, torch.from_numpy(np.ascontiguousarray(values, dtype=kind)))


def _choose(stack: Tensor, indices: Sequence[int], path: Path) -> Tensor:
    if max(indices) >= len(stack):
        raise ConfigurationError(
            f"data.index and data.batch ask for measurement {max(indices)}, but {path} holds {len(stack)} (the first "
            "is 0)."
        )
    return stack[list(indices)]
