"""Stopping rules side by side: one fit of vanilla DIP each, in which all rules only record what they would choose.

    python -m benchmarks.stopping --seeds 0 1 --steps 800

Four small problems of 64x64 pixels with noise, made from images that come with the packages. Five percent of the data
are held out in all of them, for the rule that needs it. "Regret" is the PSNR of the best estimate there was, less that
of the chosen one; the truth is looked at for nothing else.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch

from benchmarks._common import report
from dip_lightning import physics
from dip_lightning.callbacks import (
    BestLoss,
    DiscrepancyStopping,
    EarlyStoppingEMV,
    EarlyStoppingWMV,
    HeldOutStopping,
    OutputAveraging,
    ReconstructionMetrics,
    SUREStopping,
)
from dip_lightning.data import Phantom, SampleImage
from dip_lightning.inputs import UniformNoise
from dip_lightning.methods import DIP
from dip_lightning.networks import SkipNet

NEVER, INNER, SIZE = 10**9, 5, 64
GAUSSIAN = physics.AdditiveGaussian(25.0)


def problems() -> dict[str, tuple[Any, str, int]]:
    """DataModule, unit that is held out, and channels of the image, by name."""
    camera = partial(SampleImage, name="camera", size=SIZE)
    lines = physics.RandomLines(acceleration=4, center_fraction=0.08)
    mri = physics.CartesianMRI(lines, physics.SimulatedCoils(coils=4), physics.RelativeGaussian(0.1))
    return {
        "denoising, sigma 25": (camera(physics.Denoising(GAUSSIAN)), "element", 1),
        "inpainting, half of the pixels, sigma 25": (
            camera(physics.Inpainting(mask="random", ratio=0.5, noise=GAUSSIAN)), "element", 1,
        ),
        "CT, 30 views, 5 % noise": (
            camera(physics.ParallelBeamCT(views=30, noise=physics.RelativeGaussian(0.05))), "view", 1,
        ),
        "MRI, 4 coils, 4x, 10 % noise": (Phantom(mri, kind="ellipses", size=SIZE), "line", 2),
    }  # fmt: skip


def run(name: str, seed: int, steps: int) -> dict[str, Any]:
    """Fit once, with all rules watching.

    Args:
        name: Which problem.
        seed: Seed of weights, input, noise of the fit and choice of what is held out.
        steps: Optimiser steps.

    Returns:
        PSNR of initial image, last estimate and oracle, and iteration and regret of each rule.
    """
    data, unit, channels = problems()[name]
    network = SkipNet(16, channels, channels=(32, 32, 32), output_activation="none" if channels == 2 else "sigmoid")
    method = DIP(
        network=network,
        initial_input=UniformNoise(16, 0.1),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        input_noise=1 / 30,
        outer_steps=steps // INNER,
        inner_steps=INNER,
        seed=seed,
    )
    options: dict[str, Any] = {"patience": NEVER, "action": "record"}
    rules: list[Any] = [
        HeldOutStopping(0.05, unit, **options),
        EarlyStoppingWMV(50, **options),
        EarlyStoppingEMV(0.1, **options),
        DiscrepancyStopping(action="record"),
        SUREStopping(**options),
        BestLoss(action="record"),
    ]
    metrics = ReconstructionMetrics(ssim_every=0)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[OutputAveraging(0.95), metrics, *rules],
    )  # fmt: skip
    trainer.fit(method, datamodule=data)
    summary = metrics.summary()
    chosen = {rule.label: {**summary["recorded"].get(rule.label, {}), **_when(rule)} for rule in rules}
    psnr = {key: round(value, 2) for key, value in summary["psnr"].items()}
    at = summary["oracle_iteration"]
    return {"problem": name, "seed": seed, "psnr": psnr, "oracle_iteration": at, "rules": chosen}


def _when(rule: Any) -> dict[str, Any]:
    return {"iteration": rule.summary()["iteration"]}


def main() -> None:
    """Run all problems and seeds; write regrets, and their means over the runs in which a rule chose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--quick", action="store_true", help="ten steps: shows that the program runs")
    arguments = parser.parse_args()
    steps = 10 if arguments.quick else arguments.steps
    runs = []
    for name in problems():
        for seed in arguments.seeds[: 1 if arguments.quick else None]:
            runs.append(run(name, seed, steps))
            regrets = {rule: found.get("regret_db") for rule, found in runs[-1]["rules"].items()}
            print(name, seed, runs[-1]["psnr"], {k: v if v is None else round(v, 2) for k, v in regrets.items()})
    means = {}
    for rule in runs[0]["rules"]:
        regrets = [r["rules"][rule]["regret_db"] for r in runs if r["rules"][rule].get("regret_db") is not None]
        means[rule] = {"mean_regret_db": statistics.mean(regrets) if regrets else None, "chose": len(regrets)}
    print({rule: mean["mean_regret_db"] and round(mean["mean_regret_db"], 2) for rule, mean in means.items()})
    report("stopping", {"steps": steps, "runs": runs, "means": means}, arguments.quick)


if __name__ == "__main__":
    main()
