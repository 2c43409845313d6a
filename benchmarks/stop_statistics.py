"""What feeding the early-stopping statistics costs beside an optimiser step, at 256x256. Aim: under 1 %."""

from __future__ import annotations

import argparse
from functools import partial

import torch

from benchmarks._common import report, side_by_side
from dip_lightning.functional.statistics import ExponentialMovingVariance, RunningStatistic, WindowedMovingVariance
from dip_lightning.networks import SmallUNet


def feed(statistic: RunningStatistic, image: torch.Tensor) -> None:
    """Take in one iterate and compute the statistic."""
    statistic.update(image)
    statistic.compute()


def step(network: torch.nn.Module, optimiser: torch.optim.Optimizer, image: torch.Tensor) -> None:
    """One optimiser step of the smallest network of the suite, without physics: the least that a step can cost."""
    optimiser.zero_grad(set_to_none=True)
    (network(image) - image).square().mean().backward()
    optimiser.step()


def main() -> None:
    """Time a step and both statistics in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    image = torch.rand(1, 1, arguments.size, arguments.size)
    network = SmallUNet()
    optimiser = torch.optim.Adam(network.parameters())
    window, exponential = WindowedMovingVariance(100), ExponentialMovingVariance(0.1)
    for _ in range(100):
        window.update(image)
    times = side_by_side(
        {
            "step": partial(step, network, optimiser, image),
            "wmv": partial(feed, window, image),
            "emv": partial(feed, exponential, image),
        },
        arguments.repeats,
    )
    parts = {name: times[name]["median_ms"] / times["step"]["median_ms"] for name in ("wmv", "emv")}
    report("stop_statistics", {"size": arguments.size, "times": times, "part_of_a_step": parts})


if __name__ == "__main__":
    main()
