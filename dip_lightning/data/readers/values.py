"""From the numbers of a file to intensities in [0, 1]: one rule for each type, all arithmetic in floating point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dip_lightning.errors import ConfigurationError, MeasurementError

#: Values ``(low, high)`` that become 0 and 1; what lies outside is clipped.
Window = tuple[float, float]

#: How far a floating-point image may leave [0, 1] by rounding; it is clipped.
ROUNDING = 1e-5

_FULL_SCALE = {np.dtype(np.bool_): 1.0, np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}


def check_window(window: Window | None) -> Window | None:
    """Return the window if it is one.

    Args:
        window: ``(low, high)``, or ``None``.

    Raises:
        ConfigurationError: If it is not two finite numbers in rising order.
    """
    if window is None:
        return None
    if len(window) != 2 or not np.isfinite(window).all() or not window[0] < window[1]:
        raise ConfigurationError(f"window={window} must be two numbers [low, high] with low < high.")
    return float(window[0]), float(window[1])


def to_unit_range(values: NDArray[np.generic], path: Path, window: Window | None = None) -> NDArray[np.float32]:
    r"""Map the numbers of a file to [0, 1].

    With a window, of any real type: :math:`(v - \text{low}) / (\text{high} - \text{low})`, clipped to [0, 1].
    Without: ``bool`` as it is, 8-bit by 1/255, 16-bit by 1/65535, floating point as it is if within [0, 1].
    Signed and wider integers have no agreed full scale and need a window. Numbers are converted to float64 before
    any arithmetic, so that 16-bit integers cannot overflow.

    Args:
        values: Numbers of the file, any shape.
        path: Where they are from, for the message.
        window: Values that become 0 and 1.

    Returns:
        Same shape, in [0, 1].

    Raises:
        MeasurementError: If the numbers are not finite, not real, or not within [0, 1] while no window is given.
    """
    if values.size == 0:
        raise MeasurementError(f"{path} holds an empty image (shape {list(values.shape)}).")
    if not (np.issubdtype(values.dtype, np.number) or values.dtype == np.bool_) or np.iscomplexobj(values):
        raise MeasurementError(f"{path} holds values of type {values.dtype}; an image needs real numbers.")
    scaled = values.astype(np.float64)
    _check_finite(scaled, path)
    if window is not None:
        low, high = window
        scaled = (scaled - low) / (high - low)
    elif (native := values.dtype.newbyteorder("=")) in _FULL_SCALE:
        scaled /= _FULL_SCALE[native]
    else:
        _check_unit_range(scaled, values.dtype, path)
    return np.clip(scaled, 0, 1).astype(np.float32)


def _check_finite(values: NDArray[np.float64], path: Path) -> None:
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise MeasurementError(f"{path} holds {bad} NaN or infinite values of {values.size}; mask or repair them.")


def _check_unit_range(values: NDArray[np.float64], dtype: np.dtype[np.generic], path: Path) -> None:
    low, high = float(values.min()), float(values.max())
    if np.issubdtype(dtype, np.integer):
        raise MeasurementError(
            f"{path} holds {dtype} values from {low:g} to {high:g}, a type without an agreed full scale. "
            f"Say which values become 0 and 1, e.g. data.window: [{low:g}, {max(high, low + 1):g}]."
        )
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise MeasurementError(
            f"{path} holds floating-point values from {low:g} to {high:g}, outside [0, 1]. "
            f"Say which values become 0 and 1, e.g. data.window: [{low:g}, {high:g}]."
        )
