"""Raw k-space in array files, brought to the order (slice, coil, y, x)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dip_lightning.array_files import read_array
from dip_lightning.errors import ConfigurationError, MeasurementError, near_match

AXES = ("slice", "coil", "y", "x")

#: Order of the axes where the user states none, by suffix; axes of length 1 are left out of account.
_USUAL = {".mat": "y x coil", ".cfl": "y x coil"}


def check_layout(layout: str | None) -> str | None:
    """Return the layout if it names the axes of k-space.

    Args:
        layout: For example ``"coil y x"``, or ``None``.

    Raises:
        ConfigurationError: If an axis is unknown, twice there, or if y or x is missing.
    """
    if layout is None:
        return None
    names = layout.replace(",", " ").split()
    for name in names:
        if name not in AXES:
            raise ConfigurationError(f"data.layout={layout!r} names an unknown axis '{name}'.{near_match(name, AXES)}")
    if len(set(names)) < len(names) or not {"y", "x"} <= set(names):
        raise ConfigurationError(f"data.layout={layout!r} must name y and x, and no axis twice.")
    return " ".join(names)


def read_kspace(path: Path, key: str | None = None, layout: str | None = None) -> NDArray[np.complex64]:
    """Read raw k-space.

    Args:
        path: ``.npy``, ``.npz``, ``.mat``, ``.h5``, ``.hdf5``, or ``.cfl`` with its ``.hdr``.
        key: Name of the array, where the file holds several.
        layout: Names of the axes in their order, those of length 1 left out; ``None`` is ``coil y x`` (or ``y x``),
            for ``.mat`` and ``.cfl`` files ``y x coil``. A last axis of length 2 that is not named, in a file of real
            numbers, is real and imaginary part.

    Returns:
        ``[slices, coils, H, W]``.

    Raises:
        MeasurementError: If the file cannot be read, does not hold complex numbers, has other axes than the layout,
            or holds NaN or infinite values.
    """
    path = path.with_suffix(".cfl") if path.suffix.lower() == ".hdr" else path
    values = as_complex(read_array(path, key), path)
    names = _axis_names(values, layout, path)
    if len(names) != values.ndim:
        values = np.squeeze(values)
    for name in AXES:
        if name not in names:
            values, names = values[None], [name, *names]
    ordered = values.transpose([names.index(name) for name in AXES])
    return check_finite(np.ascontiguousarray(ordered, dtype=np.complex64), path)


def check_finite(kspace: NDArray[np.complex64], path: Path) -> NDArray[np.complex64]:
    """Return k-space if all of it is finite.

    Raises:
        MeasurementError: If a value is NaN or infinite.
    """
    bad = int((~np.isfinite(kspace)).sum())
    if bad:
        raise MeasurementError(f"{path}: k-space holds {bad} NaN or infinite values of {kspace.size}.")
    return kspace


def as_complex(values: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return complex numbers, made from a last axis of 2, or from records of two fields, where the file has those.

    Raises:
        MeasurementError: If the numbers are neither.
    """
    if np.iscomplexobj(values):
        return values
    fields = values.dtype.names or ()
    if [name[:1].lower() for name in fields] == ["r", "i"]:
        return np.asarray(values[fields[0]] + 1j * values[fields[1]])
    if np.issubdtype(values.dtype, np.floating) and values.ndim > 2 and values.shape[-1] == 2:
        return np.asarray(values[..., 0] + 1j * values[..., 1])
    raise MeasurementError(
        f"{path} holds {values.dtype} numbers of shape {list(values.shape)}; k-space needs complex ones, or real ones "
        "with a last axis of 2 for real and imaginary part."
    )


def _axis_names(values: NDArray[Any], layout: str | None, path: Path) -> list[str]:
    shape = list(values.shape)
    long = sum(n > 1 for n in shape)
    if layout is not None:
        names = layout.split()
    else:
        names = _USUAL.get(path.suffix.lower(), "coil y x").split()
        if long == 2:
            names = ["y", "x"]
    if len(names) not in (long, len(shape)):
        raise MeasurementError(
            f"{path} has shape {shape}, not the {len(names)} axes '{' '.join(names)}'; name its axes by data.layout, "
            "e.g. 'slice coil y x'."
        )
    return names
