"""Numbers of PNG, JPEG, TIFF and npy files, as ``[H, W]`` or ``[H, W, C]`` arrays of the file's own type."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dip_lightning.errors import MeasurementError

Pixels = NDArray[Any]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: What brings an image upright, for each value but 1 of the orientation tag (TIFF 6.0).
_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels.swapaxes(0, 1), 2),
    8: np.rot90,
}
#: Largest number of channels that a three-dimensional array is taken for an image with.
_MOST_CHANNELS = 4


def read_npy(path: Path) -> Pixels:
    """Read a numpy array ``[H, W]``, ``[C, H, W]`` or ``[H, W, C]`` with at most four channels.

    Args:
        path: A ``.npy`` file; pickled objects are refused.

    Returns:
        ``[H, W]`` or ``[H, W, C]``.

    Raises:
        MeasurementError: If the shape is another one.
    """
    return channels_last(np.load(path, allow_pickle=False), path)


def read_tiff(path: Path) -> Pixels:
    """Read the single image of a TIFF file in its own type, turned upright by its orientation tag.

    Args:
        path: A TIFF file.

    Returns:
        ``[H, W]`` or ``[H, W, C]``.

    Raises:
        MeasurementError: If the file holds several images, or 16-bit colours compressed in a way that needs another
            package.
    """
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        if len(tiff.pages) != 1:
            raise MeasurementError(f"{path} holds {len(tiff.pages)} images; save the one to use as a file of its own.")
        page: Any = tiff.pages.first
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE or not _can_decompress(page, path):
            return read_pillow(path)
        pixels = page.asarray()
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            pixels = _invert(pixels)
        alpha = len(page.extrasamples) > 0
        pixels = np.moveaxis(pixels, 0, -1) if page.axes.startswith("S") else pixels
        orientation = page.tags.valueof("Orientation", default=1)
        pixels = _UPRIGHT[orientation](pixels) if orientation in _UPRIGHT else pixels
    return _drop_alpha(pixels, path) if alpha else pixels


def read_pillow(path: Path) -> Pixels:
    """Read PNG, JPEG and whatever else Pillow knows.

    A palette becomes RGB, a camera's orientation tag is applied, an alpha channel is dropped with a warning unless
    it is opaque throughout.

    Args:
        path: An image file.

    Returns:
        ``[H, W]`` or ``[H, W, 3]``.

    Raises:
        MeasurementError: If it is a PNG with 16-bit colours or transparency, of which Pillow would silently keep eight
            bits.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
    deep_grey = opened.format == "PNG" and image.mode.startswith("I")  # I;16, in older Pillow I
    if _is_deep_colour_png(path) or (deep_grey and "transparency" in image.info):
        raise MeasurementError(
            f"{path} is a PNG with 16-bit colours or transparency, of which only eight bits would be read; "
            "save it as TIFF or npy, or as 16-bit greyscale."
        )
    if deep_grey:
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        grey = image.mode in ("L", "LA", "La", "1")
        pixels = np.asarray(image.convert("LA" if grey else "RGBA"))
        return _drop_alpha(pixels, path)
    if image.mode in ("1", "L", "RGB", "F", "I") or image.mode.startswith("I;16"):
        return np.asarray(image)
    return np.asarray(image.convert("RGB"))


def channels_last(pixels: Pixels, path: Path) -> Pixels:
    """Move the channels of an array to its end.

    Args:
        pixels: ``[H, W]``, ``[C, H, W]`` or ``[H, W, C]``.
        path: Where it is from, for the message.

    Returns:
        ``[H, W]`` or ``[H, W, C]``.

    Raises:
        MeasurementError: If it is not clear which axis holds the channels.
    """
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim == 3:
        first, last = pixels.shape[0] <= _MOST_CHANNELS, pixels.shape[-1] <= _MOST_CHANNELS
        if first != last:
            return np.moveaxis(pixels, 0, -1) if first else pixels
    raise MeasurementError(
        f"{path} holds an array of shape {list(pixels.shape)}; "
        f"an image is [H, W], [C, H, W] or [H, W, C] with at most {_MOST_CHANNELS} channels."
    )


def _drop_alpha(pixels: Pixels, path: Path) -> Pixels:
    colours, alpha = pixels[..., :-1], pixels[..., -1]
    opaque = np.iinfo(alpha.dtype).max if np.issubdtype(alpha.dtype, np.integer) else 1
    if (alpha != opaque).any():
        warnings.warn(f"{path} has transparent pixels; the alpha channel is dropped.", UserWarning, stacklevel=2)
    return colours[..., 0] if colours.shape[-1] == 1 else colours


def _invert(pixels: Pixels) -> Pixels:
    if pixels.dtype == np.bool_:
        return ~pixels
    if np.issubdtype(pixels.dtype, np.unsignedinteger):
        return np.iinfo(pixels.dtype).max - pixels
    return pixels


def _is_deep_colour_png(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(26)
    bit_depth, colour_type = header[24:25], header[25:26]
    return header.startswith(_PNG_SIGNATURE) and bit_depth == b"\x10" and colour_type in (b"\x02", b"\x04", b"\x06")


def _can_decompress(page: Any, path: Path) -> bool:
    """Whether tifffile can read a page by itself; if not, Pillow can, but cuts 16-bit colours to eight bits."""
    import tifffile

    try:
        tifffile.TIFF.DECOMPRESSORS[page.compression]
    except KeyError:
        if page.samplesperpixel > 1 and page.bitspersample > 8:
            raise MeasurementError(
                f"{path} holds 16-bit colours compressed with {page.compression.name}; save it uncompressed."
            ) from None
        return False
    return True
