"""Pictures of a finished run: what came in, what came out, and how far it is from the target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from dip_lightning.callbacks._image_logging import grey_range, to_grey_levels, write_png
from dip_lightning.measurement import Measurement
from dip_lightning.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def displayed(image: np.ndarray, measurement: Measurement) -> np.ndarray:
    """Turn an image into what is shown.

    Args:
        image: ``[C, H, W]``.
        measurement: Says whether the image is shown by its magnitude, and its value range.

    Returns:
        ``[H, W]`` or ``[H, W, 3]``; clipped to the value range where there is one.
    """
    if measurement.magnitude:
        return np.asarray(np.hypot(image[0], image[1]))
    if measurement.value_range is not None:
        image = np.clip(image, *measurement.value_range)
    return np.asarray(image[0] if image.shape[0] != 3 else np.moveaxis(image, 0, -1))


def preview_figure(
    images: dict[str, np.ndarray],
    measurement: Measurement,
    summary: dict[str, Any],
    curves: dict[str, list[tuple[float, float]]],
) -> Figure:
    """Draw ``preview.png``: initial, estimate, target and error map, with the curve below.

    Args:
        images: Arrays ``[C, H, W]`` by name; without a target, the last output stands in its place.
        measurement: Says how images are shown.
        summary: Gives the scores in the titles.
        curves: Points ``(iteration, value)`` of ``loss`` and ``psnr``.

    Returns:
        The figure, to be saved.
    """
    from matplotlib.figure import Figure

    shown = {name: displayed(image, measurement) for name, image in images.items()}
    reference = "target" if "target" in shown else "last"
    low, high = grey_range(shown[reference], measurement.value_range)
    figure = Figure(figsize=(14, 6.4), layout="constrained")
    subfigures: Any = figure.subfigures(2, 1, height_ratios=[2.2, 1])
    top, bottom = subfigures
    axes = top.subplots(1, 4)
    for axis, name in zip(axes, ("initial", "estimate", reference), strict=False):
        axis.imshow(shown[name], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axis.set_title(_title(name, summary))
    error = np.abs(shown["estimate"] - shown[reference])
    error = error if error.ndim == 2 else error.mean(-1)
    picture = axes[3].imshow(error, cmap="inferno", vmin=0, interpolation="nearest")
    axes[3].set_title(f"|estimate - {reference}|")
    top.colorbar(picture, ax=axes[3], shrink=0.8)
    for axis in axes:
        axis.set_axis_off()
    top.suptitle(
        f"{summary['method']} · {summary['task']} · {summary['measurement']} · {summary['iterations']} iterations, "
        f"{summary['seconds']:.0f} s, stopped by {summary['stopped_by']}"
    )
    _draw_curves(bottom, curves)
    return figure


def _draw_curves(figure: Any, curves: dict[str, list[tuple[float, float]]]) -> None:
    axis = figure.subplots()
    axis.set_xlabel("iteration")
    axis.set_ylabel("loss")
    if curves["loss"]:
        axis.plot(*zip(*curves["loss"], strict=True), color="0.55", lw=1)
        if min(value for _, value in curves["loss"]) > 0:
            axis.set_yscale("log")
    if curves["psnr"]:
        right = axis.twinx()
        right.plot(*zip(*curves["psnr"], strict=True), color="C0", lw=1.5)
        right.set_ylabel("PSNR (dB)", color="C0")


def _title(name: str, summary: dict[str, Any]) -> str:
    psnr, ssim = ((summary.get(key) or {}).get(name) for key in ("psnr", "ssim"))
    if psnr is None:
        return name
    return f"{name}: {psnr:.2f} dB" + ("" if ssim is None else f", SSIM {ssim:.3f}")


def write_prediction(folder: RunFolder, estimate: Tensor, measurement: Measurement) -> None:
    """Write a stored reconstruction for use elsewhere: ``prediction.npy`` as it is, ``prediction.png`` to look at.

    Args:
        folder: The run folder.
        estimate: ``[C, H, W]``.
        measurement: Says how the image is shown.
    """
    image = estimate.float().cpu().numpy()
    with folder.writing("prediction.npy") as path:
        np.save(path, image)
    write_png(folder.path / "prediction.png", to_grey_levels(displayed(image, measurement), measurement.value_range))
