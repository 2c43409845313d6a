"""Speed of the ray transform against deepinv's Tomography, measured side by side.

Run: python -m benchmarks operators [--size 256] [--views 30] [--threads 1] [--device cpu]
Aim: forward plus adjoint at 256x256 and 30 views at least 4 times faster than Tomography with its exact adjoint.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from deepinv.physics import Tomography

from benchmarks._common import report, side_by_side
from dip_lightning.physics import ParallelBeamCT, RayTransform
from dip_lightning.physics.joseph import joseph_matrix


def forward_and_adjoint(physics: Any, x: torch.Tensor) -> Callable[[], Any]:
    """One application of the operator and one of its adjoint."""

    def run() -> None:
        with torch.no_grad():
            physics.A_adjoint(physics.A(x))

    return run


def gradient(physics: Any, x: torch.Tensor, y: torch.Tensor) -> Callable[[], Any]:
    """The gradient of the squared residual by autograd, as a fit takes it at every step."""

    def run() -> None:
        image = x.clone().requires_grad_()
        (physics.A(image) - y).square().sum().backward()

    return run


def adjointness_error(physics: Any, x: torch.Tensor) -> float:
    """Relative difference of <Ax, y> and <x, A*y> for a random y."""
    ax = physics.A(x)
    y = torch.randn_like(ax)
    left, right = (ax.double() * y.double()).sum(), (x.double() * physics.A_adjoint(y).double()).sum()
    return float((left - right).abs() / (ax.double().norm() * y.double().norm()))


def measure(size: int, views: int, repeats: int, device: str) -> dict[str, Any]:
    """Build both operators and time them in turn."""
    geometry = ParallelBeamCT(views=views).geometry((size, size))
    start = time.perf_counter()
    joseph_matrix(geometry)
    build = time.perf_counter() - start
    RayTransform(geometry)  # fills the cache
    start = time.perf_counter()
    ours = RayTransform(geometry, scale=1 / geometry.pixel_size).to(device)
    load = time.perf_counter() - start
    theirs = Tomography(
        angles=views, img_width=size, circle=False, adjoint_via_backprop=True, normalize=False, device=device
    )
    x = torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    candidates = {}
    for name, physics in (("ray_transform", ours), ("deepinv_tomography", theirs)):
        y = physics.A(x)
        candidates[f"{name}.forward_adjoint"] = forward_and_adjoint(physics, x)
        candidates[f"{name}.gradient"] = gradient(physics, x, torch.zeros_like(y))
    times = side_by_side(candidates, repeats)
    ratios = {
        what: times[f"deepinv_tomography.{what}"]["median_ms"] / times[f"ray_transform.{what}"]["median_ms"]
        for what in ("forward_adjoint", "gradient")
    }
    return {
        "problem": {"size": size, "views": views, "detectors": geometry.detectors, "device": device},
        "matrix": {"entries": int(ours.matrix.direct_values.numel()), "build_s": build, "from_cache_s": load},
        "adjointness_error": {
            "ray_transform": adjointness_error(ours, x),
            "deepinv_tomography": adjointness_error(theirs, x),
        },
        "times": times,
        "times_faster": ratios,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--views", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="check that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.size, arguments.views, arguments.repeats = 32, 6, 2
    torch.set_num_threads(arguments.threads)
    result = measure(arguments.size, arguments.views, arguments.repeats, arguments.device)
    for name, values in result["times"].items():
        print(f"{name:40s} {values['median_ms']:9.2f} ms (median)")
    print(f"{'forward + adjoint: times faster':40s} {result['times_faster']['forward_adjoint']:9.2f}")
    print(f"{'gradient: times faster':40s} {result['times_faster']['gradient']:9.2f}")
    name = f"operators_{arguments.device}_{arguments.size}_{arguments.views}_threads{arguments.threads}"
    report(name, result, arguments.quick)


if __name__ == "__main__":
    main()
