"""Block matching as the input updates call it, beside deepinv's own settings and the package bm3d: time and PSNR.

Grey photographs of scikit-image with white noise of three strengths; the denoisers are told the strength. deepinv's own
settings need ptwt, and the package bm3d is not among our extras: what is not installed is left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from deepinv.models import BM3D
from skimage import data
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from benchmarks._common import report, side_by_side
from dip_lightning.denoisers import BlockMatching

STRENGTHS = (0.03, 0.06, 0.1)


def photographs(size: int) -> list[Tensor]:
    """Centres of three photographs, ``[1, 1, size, size]``, range [0, 1]."""
    images = (data.camera(), data.coins(), data.brick())
    middles = [(image.shape[0] // 2, image.shape[1] // 2) for image in images]
    half = size // 2
    crops = [image[y - half : y + half, x - half : x + half] for image, (y, x) in zip(images, middles, strict=True)]
    return [torch.from_numpy(crop / 255).float()[None, None] for crop in crops]


def denoisers() -> dict[str, Callable[[Tensor, float], Tensor]]:
    """Those that are installed, by name."""
    found: dict[str, Callable[[Tensor, float], Tensor]] = {"BlockMatching": BlockMatching()}
    if find_spec("ptwt"):
        found["deepinv's settings"] = BM3D(use_legacy=False)
    if find_spec("bm3d"):
        found["package bm3d"] = BM3D(use_legacy=True)
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--quick", action="store_true", help="check that it runs")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    size = 32 if arguments.quick else arguments.size
    pairs = [(image, image + s * torch.randn_like(image), s) for image in photographs(size) for s in STRENGTHS]
    candidates = denoisers()
    _, noisy, strength = pairs[1]
    calls = {name: lambda denoise=denoise: denoise(noisy, strength) for name, denoise in candidates.items()}
    result: dict[str, Any] = {
        "problem": {"size": size, "images": 3, "strengths": list(STRENGTHS)},
        "times": side_by_side(calls, repeats=1 if arguments.quick else 7, warmup=0 if arguments.quick else 1),
        "psnr": {name: _mean_psnr(denoise, pairs) for name, denoise in candidates.items()},
        "psnr_noisy": _mean_psnr(lambda image, _: image, pairs),
    }
    print(result)
    report(f"denoisers_{size}_threads{arguments.threads}", result, arguments.quick)


def _mean_psnr(denoise: Callable[[Tensor, float], Tensor], pairs: list[tuple[Tensor, Tensor, float]]) -> float:
    scores = [peak_signal_noise_ratio(denoise(noisy, s), image, data_range=1.0) for image, noisy, s in pairs]
    return float(torch.stack(scores).mean())


if __name__ == "__main__":
    main()
