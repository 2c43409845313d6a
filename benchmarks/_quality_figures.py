"""The pictures of the quality benchmark: images of each method, and PSNR against iterations."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks._quality_checks import Entry, Problem, is_recommended
from dip_lightning.run_folder import written_whole

MOST_BYTES = 400_000
DPI = 100
_WIDTH = 10.0  # inches; with the dots per inch above, what a page of documentation shows
_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#d62728", "#bcbd22", "#17becf")


def colours(problems: Sequence[Problem]) -> dict[str, str]:
    """One colour for each method, the same on all tasks; black for what is recommended."""
    fits = dict.fromkeys(e["method"] for problem in problems for e in problem["entries"] if e["kind"] == "fit")
    names = [name for name in fits if "recommended" not in name.lower()]
    found = {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(names)}
    return {name: found.get(name, "black") for name in fits}


def draw_curves(problems: Sequence[Problem], chosen: dict[str, str], path: Path) -> bool:
    """Draw PSNR against iterations, a panel for each problem of a task, with the iterates that were chosen.

    Args:
        problems: Problems of one task.
        chosen: Colour of each method.
        path: PNG file.

    Returns:
        Whether there was anything to draw.
    """
    from matplotlib.figure import Figure

    shown = [problem for problem in problems if any(entry["curve"]["psnr"] for entry in problem["entries"])]
    if not shown:
        return False
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(_WIDTH if columns > 1 else 0.75 * _WIDTH, 3.1 * rows + 0.9), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, problem in zip(axes.flat, shown, strict=False):
        _panel(axis, problem, chosen)
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    known = [axis.get_legend_handles_labels() for axis in axes.flat]
    handles = {label: handle for pair in known for handle, label in zip(*pair, strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    save(figure, path)
    return True


def _panel(axis: Any, problem: Problem, chosen: dict[str, str]) -> None:
    fits = [entry for entry in problem["entries"] if entry["curve"]["psnr"]]
    for entry in fits:
        bold = is_recommended(entry)
        colour = chosen[entry["method"]]
        style = {"color": colour, "zorder": 4 if bold else 3}
        curve = entry["curve"]
        axis.plot(curve["iteration"], curve["psnr"], label=entry["method"], lw=2.2 if bold else 1.5, **style)
        if entry["chosen_iteration"] and entry["psnr"]["estimate"]:
            at = (entry["chosen_iteration"], entry["psnr"]["estimate"]["mean"])
            axis.plot(*at, marker="o", ms=7, mec="white", mew=1, ls="none", color=colour, zorder=6)
    levels = _levels(problem)
    _baselines(axis, levels)
    axis.plot([], [], marker="o", ms=7, mec="white", ls="none", color="grey", label="estimate")
    axis.set_title(problem["name"], fontsize=11)
    axis.set_xscale("log")
    axis.set_xlabel("iteration")
    axis.set_ylabel("PSNR, dB")
    axis.set_ylim(*_limits(fits, list(levels.values())))
    axis.grid(alpha=0.3)


def _levels(problem: Problem) -> dict[str, float]:
    """PSNR of each baseline; the initial image is one of them."""
    baselines = [e for e in problem["entries"] if e["kind"] != "fit" and e["psnr"]["estimate"]]
    return {entry["method"]: entry["psnr"]["estimate"]["mean"] for entry in baselines}


def _baselines(axis: Any, levels: dict[str, float]) -> None:
    """Draw a line for each baseline, its name at alternating ends where lines are close."""
    for place, name in enumerate(sorted(levels, key=lambda name: levels[name])):
        axis.axhline(levels[name], color="0.45", ls="--", lw=1, zorder=2)
        x, side = ((0.01, "left"), (0.14, "left"))[place % 2]
        text = {"transform": axis.get_yaxis_transform(), "fontsize": 8, "color": "0.25", "clip_on": True}
        axis.text(x, levels[name], name, ha=side, va="bottom", **text)


def _limits(fits: Sequence[Entry], levels: Sequence[float]) -> tuple[float, float]:
    """Limits that show where methods differ: the first iterates, which are far below, are cut off."""
    top = max([value for entry in fits for value in entry["curve"]["psnr"]] + list(levels))
    ends = [entry["curve"]["psnr"][-1] for entry in fits]
    low = max(min([*ends, *levels]) - 3, top - 20)
    return low, top + 0.09 * (top - low)


def save(figure: Any, path: Path) -> int:
    """Write a figure as a PNG, with fewer colours where it would be larger than 400 kB.

    Args:
        figure: The figure.
        path: PNG file.

    Returns:
        Its size in bytes.
    """
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, facecolor="white")
    for picture in _smaller_and_smaller(Image.open(drawn).convert("RGB")):
        small = io.BytesIO()
        picture.save(small, format="PNG", optimize=True)
        if small.tell() <= MOST_BYTES:
            break
    with written_whole(path) as temporary:
        temporary.write_bytes(small.getvalue())
    return small.tell()


def _smaller_and_smaller(picture: Any) -> Iterator[Any]:
    """The picture as it is, in grey if it is grey; then with a palette, and with fewer colours."""
    from PIL import Image

    grey = picture.convert("L")
    yield grey if grey.convert("RGB").tobytes() == picture.tobytes() else picture
    for count, dither in ((255, Image.Dither.FLOYDSTEINBERG), (255, Image.Dither.NONE), (95, Image.Dither.NONE)):
        colours = picture.quantize(count, kmeans=1).getpalette()[: 3 * count]
        palette = Image.new("P", (1, 1))
        palette.putpalette([*colours, 255, 255, 255])  # the paper stays white
        yield picture.quantize(palette=palette, dither=dither)
