"""Seconds to reach a PSNR on the problem LIDC 30: our recommended configuration and the released form of aSeqDIP.

Both run through the command line, as a user's would, one after the other on the same machine; the curve is read from
``metrics.csv``. The released form runs for the 840 steps at which it was best; the recommended one to its end. A fit
does not look at the target: the curve is for the record. Needs DIP_LIGHTNING_DATA. Aims: 29.9 dB at least 3 times
sooner than the released form reaches its best, and 28.0 dB (total variation tuned with the truth) 6 times sooner.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks._common import report
from dip_lightning.cli import main as command_line

CONFIGS = Path(__file__).parents[1] / "configs"
LEVELS = (28.0, 29.9)
RELEASED_STEPS = 840


def curve(config: str, folder: Path, noise: float, arguments: list[str]) -> list[dict[str, float]]:
    """Fit a configuration and read its curve.

    Args:
        config: File under ``configs``.
        folder: Where the run goes.
        noise: Standard deviation of the noise relative to the mean of the data.
        arguments: Further arguments of the command line.
    """
    command = ["fit", "--config", str(CONFIGS / config), f"--data={CONFIGS / 'data' / 'lidc30.yaml'}", *arguments]
    if noise:
        command += ["--data.acquisition.noise=RelativeGaussian", f"--data.acquisition.noise.relative={noise}"]
    command += [f"--record.run_dir={folder}", "--record.overwrite=true", "--progress.seconds=30"]
    code = command_line(command)
    if code:
        raise SystemExit(code)
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{key: float(row[key]) for key in ("iteration", "seconds", "psnr")} for row in rows]


def reached(rows: list[dict[str, float]], level: float) -> dict[str, float] | None:
    """First row at or above a PSNR, if there is one."""
    return next((row for row in rows if row["psnr"] >= level), None)


def main() -> None:
    """Run both, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="also the recommended configuration in bfloat16")
    parser.add_argument("--quick", action="store_true", help="check that it runs")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    steps = 20 if arguments.quick else RELEASED_STEPS
    seed = f"--seed_everything={arguments.seed}"
    with tempfile.TemporaryDirectory() as folder:
        short = ["--model.outer_steps=2"] if arguments.quick else []
        runs: dict[str, list[dict[str, float]]] = {
            "recommended": curve("recommended_ct.yaml", Path(folder) / "r", arguments.noise, [seed, *short]),
            "released": curve(
                "aseqdip_ct.yaml",
                Path(folder) / "a",
                arguments.noise,
                [seed, f"--model.outer_steps={steps // 10}", "--trainer.callbacks=[InputUpdate]"],
            ),
        }
        if arguments.bf16:
            precise = [seed, *short, "--trainer.precision=bf16-mixed"]
            runs["recommended_bf16"] = curve("recommended_ct.yaml", Path(folder) / "b", arguments.noise, precise)
    best = max(runs["released"], key=lambda row: row["psnr"])
    result: dict[str, Any] = {
        "noise": arguments.noise,
        "seed": arguments.seed,
        "best": {name: max(rows, key=lambda row: row["psnr"]) for name, rows in runs.items()},
        "reached": {str(level): {name: reached(rows, level) for name, rows in runs.items()} for level in LEVELS},
        "last": {name: rows[-1] for name, rows in runs.items()},
        "times_sooner": {},
        "curves": {name: rows[:: max(len(rows) // 40, 1)] for name, rows in runs.items()},
    }
    for level in (*LEVELS, best["psnr"]):
        theirs = reached(runs["released"], level)
        for name, rows in runs.items():
            ours = reached(rows, level)
            if ours and theirs and name != "released":
                result["times_sooner"].setdefault(f"{level:.2f}", {})[name] = theirs["seconds"] / ours["seconds"]
    print(json.dumps({key: value for key, value in result.items() if key != "curves"}, indent=2))
    report(f"time_to_quality_noise{arguments.noise:g}_threads{arguments.threads}", result, arguments.quick)


if __name__ == "__main__":
    main()
