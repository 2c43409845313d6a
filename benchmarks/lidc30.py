"""Problem "LIDC 30": the released form of aSeqDIP and our recommended configuration, with and without noise.

    python -m benchmarks.lidc30 --form released --noise 0.05 --seeds 0 1 2 --steps 2000

A chest CT slice of 128x128 pixels from 30 views (configs/data/lidc30.yaml; needs DIP_LIGHTNING_DATA). Each run goes
through the command line, as a user's would; the curve is read from its ``metrics.csv``. Nothing that the fit uses
looks at the target: the oracle's figures are there to be compared with.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks._common import write_result
from dip_lightning.cli import main as command_line

ROOT = Path(__file__).parents[1]
RELEASED_STEPS = {0.0: 840, 0.05: 200}  # where the published table has its best, without and with noise
FORMS = {
    # The released form runs to the end; the rule only records what it would have chosen.
    "released": [
        "--config",
        str(ROOT / "configs/aseqdip_ct.yaml"),
        "--trainer.callbacks=[{class_path: InputUpdate}, "
        "{class_path: EarlyStoppingWMV, init_args: {window: 100, patience: 1000, action: record}}]",
    ],
    "recommended": ["--config", str(ROOT / "configs/recommended_ct.yaml")],
}


def run(form: str, noise: float, seed: int, steps: int | None, folder: Path) -> dict[str, Any]:
    """Fit once, or take the finished run, and read its record.

    Args:
        form: ``released`` or ``recommended``.
        noise: Standard deviation of the noise relative to the mean of |y|.
        seed: Seed of weights and noise of the fit.
        steps: Optimiser steps; ``None`` leaves the configuration's.
        folder: Where run folders go.

    Returns:
        Scores, the curve, and the PSNR at the published table's step.
    """
    run_dir = folder / f"{form}_noise{noise:g}_seed{seed}"
    arguments = ["fit", *FORMS[form], f"--data={ROOT / 'configs/data/lidc30.yaml'}", f"--seed_everything={seed}"]
    if noise:
        arguments += ["--data.acquisition.noise=RelativeGaussian", f"--data.acquisition.noise.relative={noise}"]
    if steps:
        arguments.append(f"--model.outer_steps={steps // 10}")
    if not (run_dir / "summary.json").exists():
        code = command_line([*arguments, f"--record.run_dir={run_dir}", "--ckpt_path=last", "--progress.seconds=60"])
        if code:
            raise SystemExit(code)
    summary = json.loads((run_dir / "summary.json").read_text())
    with (run_dir / "metrics.csv").open() as file:
        curve = [(int(row["iteration"]), float(row["psnr"])) for row in csv.DictReader(file)]
    keep = ("iterations", "stopped_by", "psnr", "ssim", "oracle_iteration", "seconds", "callbacks")
    at = RELEASED_STEPS[noise]
    return {
        "seed": seed,
        **{key: summary[key] for key in keep},
        "psnr_at_published_step": next((psnr for step, psnr in curve if step == at), None),
        "curve": [(step, round(psnr, 2)) for step, psnr in curve if step % 100 == 0],
    }


def main() -> None:
    """Run all seeds of one form at one noise level and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", choices=FORMS, default="recommended")
    parser.add_argument("--noise", type=float, choices=RELEASED_STEPS, default=0.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="optimiser steps; by default the configuration's")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "benchmarks" / "lidc30")
    arguments = parser.parse_args()
    runs = [run(arguments.form, arguments.noise, s, arguments.steps, arguments.folder) for s in arguments.seeds]
    means = {key: statistics.mean(r["psnr"][key] for r in runs) for key in ("initial", "last", "estimate", "oracle")}
    result = {"form": arguments.form, "noise": arguments.noise, "mean_psnr": means, "runs": runs}
    print(write_result(f"lidc30_{arguments.form}_noise{arguments.noise:g}", result))
    print(json.dumps(means, indent=2))


if __name__ == "__main__":
    main()
