"""One function that reads any supported image file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dip_lightning.data.readers.dicom import is_dicom, read_dicom
from dip_lightning.data.readers.files import KNOWN_SUFFIXES, check_file
from dip_lightning.data.readers.raster import Pixels, read_npy, read_pillow, read_tiff
from dip_lightning.data.readers.values import Window, check_window, to_unit_range
from dip_lightning.errors import DIPError, MeasurementError

#: Weights of red, green and blue in the luma of ITU-R BT.601.
LUMA = (0.299, 0.587, 0.114)


def read_image(path: str | Path, gray: bool = False, window: Window | None = None) -> Tensor:
    """Read a PNG, JPEG, TIFF, npy or DICOM file.

    Values become intensities in [0, 1] as :func:`~dip_lightning.data.readers.values.to_unit_range` says: 8-bit by
    1/255, 16-bit by 1/65535, floating point as it is, anything by the window. DICOM values are in Hounsfield units
    and need a window.

    Args:
        path: The file.
        gray: Turn colours into the luma of ITU-R BT.601 (0.299 R + 0.587 G + 0.114 B).
        window: File values that become 0 and 1; what lies outside is clipped.

    Returns:
        ``[C, H, W]``, float32, in [0, 1].

    Raises:
        ConfigurationError: If the window is none, or if a reader is not installed.
        MeasurementError: If the file is missing, of an unknown kind, unreadable, truncated, or holds values that
            cannot be used; the message names the file.
    """
    path = Path(path)
    window = check_window(window)
    check_file(path)
    if window is None and is_dicom(path):
        raise MeasurementError(
            f"{path} holds Hounsfield units. Say which become 0 and 1, e.g. data.window: [-1000, 1000]."
        )
    values = np.atleast_3d(to_unit_range(_read_pixels(path), path, window))
    image = torch.from_numpy(np.ascontiguousarray(np.moveaxis(values, -1, 0)))
    return to_gray(image, str(path)) if gray else image


def to_gray(image: Tensor, name: str) -> Tensor:
    """Turn a colour image into its luma.

    Args:
        image: ``[C, H, W]`` with one or three channels.
        name: What the image is, for the message.

    Returns:
        ``[1, H, W]``.

    Raises:
        MeasurementError: If it has another number of channels.
    """
    if image.shape[0] == 1:
        return image
    if image.shape[0] != len(LUMA):
        raise MeasurementError(f"{name} has {image.shape[0]} channels; gray needs one or three.")
    weights = torch.tensor(LUMA, dtype=image.dtype)
    return torch.einsum("c,chw->hw", weights, image)[None].clamp(0, 1)


def _read_pixels(path: Path) -> Pixels:
    try:
        return _reader(path)(path)
    except DIPError:
        raise
    except Exception as error:  # decoders raise a dozen unrelated types on broken files
        raise MeasurementError(
            f"{path} cannot be read; it may be truncated or not what its name says. ({type(error).__name__}: {error})"
        ) from error


def _reader(path: Path) -> Callable[[Path], Pixels]:
    if is_dicom(path):
        return read_dicom
    if path.suffix.lower() not in KNOWN_SUFFIXES:
        raise MeasurementError(f"{path} is of no known kind; known are {', '.join(sorted(KNOWN_SUFFIXES))}.")
    return _READERS.get(path.suffix.lower(), read_pillow)


#: Readers of the kinds that are not left to Pillow.
_READERS: dict[str, Callable[[Path], Pixels]] = {".npy": read_npy, ".tif": read_tiff, ".tiff": read_tiff}
