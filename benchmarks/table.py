"""Write the figures of ``docs/performance.md`` and ``docs/results.md`` from ``benchmarks/results``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from benchmarks import _pages, _quality_tables
from benchmarks._common import RESULTS
from benchmarks._pages import DOCS, table

PAGE = DOCS / "performance.md"


def results(prefix: str) -> list[dict[str, Any]]:
    """All results whose file name starts with a prefix, in order of their names."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"{prefix}*.json"))]


def _machine(result: dict[str, Any]) -> str:
    machine = result["machine"]
    return machine["gpu"] or f"{machine['processor']}, {machine['threads']} threads"


def overhead() -> str:
    """Overhead of a fit, and its memory."""
    rows = [
        [
            f"{r['problem']['network']} {r['problem']['size']}x{r['problem']['size']}, {r['problem']['callbacks']}",
            r["machine"]["threads"],
            r["problem"]["steps"],
            r["times"]["bare"]["median_ms"] / r["problem"]["steps"],
            f"{100 * r['overhead_loop']:.1f} %",
            f"{100 * r['overhead_whole']:.1f} %",
            f"{100 * r['overhead_loop_tuned']:.1f} %",
            r["peak_memory_ratio"],
        ]
        for r in results("overhead_")
    ]
    heads = [
        "problem",
        "threads",
        "steps",
        "bare ms per step",
        "loop, plain",
        "whole, plain",
        "loop, tuned",
        "peak memory",
    ]
    return table(heads, rows) if rows else ""


def peers() -> str:
    """Steps against peers."""
    rows = []
    for r in results("peers_"):
        times = {name: t["median_ms"] for name, t in r["times_per_step"].items()}
        problem = f"{r['problem']['network']} {r['problem']['size']}x{r['problem']['size']}"
        row = [times[name] for name in ("deepinv", "dip", "released", "released_sparse", "aseqdip")]
        rows.append([problem, r["machine"]["threads"], *row, *r["times_faster"].values()])
    heads = [
        "problem",
        "threads",
        "deepinv DIP",
        "our DIP",
        "released aSeqDIP",
        "the same, our operator",
        "our aSeqDIP",
    ]
    return table([*heads, "DIP faster", "aSeqDIP faster"], rows) if rows else ""


def networks() -> str:
    """Steps against the floor."""
    rows = []
    for r in results("networks_"):
        for name, step in r["steps"].items():
            floor = [step["floor_compute_ms"], step["floor_memory_ms"], step["times_floor"]]
            rows.append([name, r["machine"]["threads"], step["gflop"], step["gbyte"], step["median_ms"], *floor])
    heads = [
        "network and size",
        "threads",
        "GFLOP",
        "GB",
        "ms per step",
        "floor: compute",
        "floor: memory",
        "times floor",
    ]
    return table(heads, rows) if rows else ""


def stacked() -> str:
    """Stacks against one after another."""
    rows = []
    for r in results("stacked_"):
        problem = r["problem"]
        name = f"{problem['members']} of {problem['size']}x{problem['size']}, {problem['network']}, {problem['engine']}"
        faster, over = r["times_faster"], r.get("times_floor", {})
        alone = over.get("one_after_another")
        rows.append([name, _machine(r), faster["stacked"], faster["stacked_loop"], alone, over.get("stacked")])
    heads = [
        "problem",
        "machine",
        "vmap: times faster",
        "loop: times faster",
        "alone: times floor",
        "vmap: times floor",
    ]
    return table(heads, rows) if rows else ""


def settings() -> str:
    """CPU settings."""
    rows = []
    for r in results("settings_"):
        for name, network in r["networks"].items():
            rows.append([f"{name} {r['size']}x{r['size']}", r["threads"], *list(network["times_faster"].values())[1:]])
    heads = ["network", "threads", "channels last", "fused Adam", "both", "bfloat16", "denormals flushed"]
    return table(heads, rows) if rows else ""


def denoisers() -> str:
    """Block matching: time of a call, and what it removes."""
    rows = []
    for r in results("denoisers_"):
        size = f"{r['problem']['size']}x{r['problem']['size']}"
        for name, time in r["times"].items():
            gain = f"{r['psnr'][name] - r['psnr_noisy']:.2f}"
            rows.append([size, r["machine"]["threads"], name, time["median_ms"], gain])
    return table(["image", "threads", "denoiser", "ms", "PSNR gained, dB"], rows) if rows else ""


def operators() -> str:
    """Ray transforms."""
    rows = [
        [
            f"{r['problem']['size']}x{r['problem']['size']}, {r['problem']['views']} views",
            r["machine"]["threads"],
            r["times"]["ray_transform.forward_adjoint"]["median_ms"],
            r["times"]["deepinv_tomography.forward_adjoint"]["median_ms"],
            r["times_faster"]["forward_adjoint"],
        ]
        for r in results("operators_")
    ]
    heads = ["problem", "threads", "ours, ms", "deepinv, ms", "times faster"]
    return table(heads, rows) if rows else ""


def scaling() -> str:
    """Threads and sizes."""
    rows = [
        [r["network"], step["size"], step["threads"], step["median_ms"]]
        for r in results("scaling_")
        for step in r["steps"].values()
    ]
    return table(["network", "size", "threads", "ms per step"], rows) if rows else ""


def quality() -> str:
    """Seconds to reach a PSNR."""
    rows = []
    for r in results("time_to_quality_"):
        for level, runs in r["reached"].items():
            for name, row in runs.items():
                found = [None, None] if row is None else [row["seconds"], int(row["iteration"])]
                rows.append([f"noise {r['noise']:g}, {r['machine']['threads']} threads", level, name, *found])
    return table(["problem", "dB", "configuration", "seconds", "steps"], rows) if rows else ""


def profile() -> str:
    """Shares of the time."""
    found = results("profile_")
    if not found:
        return ""
    heads = ["network", "device", "engine", *found[0]["share"]]
    rows = []
    for r in found:
        problem = r["problem"]
        shares = [f"{100 * share:.0f} %" for share in r["share"].values()]
        rows.append([f"{problem['network']} {problem['size']}", problem["device"], problem["engine"], *shares])
    return table(heads, rows)


def gpu() -> str:
    """Rates on a GPU; what failed, or was skipped, is said in the place of its rate."""
    rows = []
    for r in results("gpu"):
        for section in ("stacked", "reconstructions", "large", "engines"):
            for name, figure in r.get(section, {}).items():
                rows.append([section, name, r["device"], *_rate(figure)])
    heads = ["section", "problem", "device", "steps/s, all members", "times eager alone", "minutes for 20", "GiB"]
    return table(heads, rows) if rows else ""


def _rate(figure: dict[str, Any]) -> list[Any]:
    if "member_steps_per_s" not in figure:
        why = [f"{key}: {text}".splitlines()[0].replace("|", "/") for key, text in figure.items()]
        return [", ".join(why), None, None, None]
    numbers = [figure.get(key) for key in ("member_steps_per_s", "times_faster", "minutes_for_20", "memory_gib")]
    return [f"{numbers[0]:.3g}, fell back to eager" if figure["fell_back"] else numbers[0], *numbers[1:]]


TABLES: dict[str, tuple[Callable[[], str], str]] = {
    "overhead": (overhead, "overhead"),
    "peers": (peers, "peers"),
    "networks": (networks, "networks"),
    "stacked": (stacked, "stacked"),
    "settings": (settings, "settings"),
    "operators": (operators, "operators"),
    "denoisers": (denoisers, "denoisers"),
    "scaling": (scaling, "scaling"),
    "quality": (quality, "time_to_quality"),
    "profile": (profile, "profile"),
    "gpu": (gpu, "gpu"),
}


def render(text: str) -> str:
    """Fill the markers of the page on speed."""
    return _pages.render(text, TABLES)


def main() -> None:
    """Fill the pages."""
    for page, makers in {PAGE: TABLES, _quality_tables.PAGE: _quality_tables.makers()}.items():
        _pages.fill_page(page, makers)
        print(page)


if __name__ == "__main__":
    main()
