"""Run folders without fits: what a comparison leaves behind, made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from dip_lightning.compare.jobs import FAILURE, JOB
from dip_lightning.run_folder import METRICS, RunFolder

#: PSNR that a method reaches, how fast, and how much it loses by going on.
METHODS = {"aSeqDIP": (33.0, 60.0, 0.5), "DIP": (29.0, 90.0, 4.0), "TV-DIP": (31.0, 80.0, 1.5)}


def write_run(
    root: Path,
    method: str,
    task: str = "ct",
    measurement: str = "m0",
    seed: int = 0,
    psnr: float = 30.0,
    oracle: float | None = 31.0,
    image: np.ndarray | None = None,
    rows: int = 60,
    job: dict[str, Any] | None = None,
    **summary: Any,
) -> Path:
    """Write a finished run as a fit or a baseline would.

    Args:
        root: Folder of the comparison.
        method: Its name.
        task: Name of the task.
        measurement: Name of the measurement.
        seed: Seed.
        psnr: PSNR of the estimate.
        oracle: Best PSNR; ``None`` for a baseline.
        image: Target, ``[H, W]``; the estimate is the target with noise.
        rows: Rows of ``metrics.csv``.
        job: Written as ``job.json``.
        **summary: Further keys of ``summary.json``.
    """
    folder = RunFolder(root / "runs" / f"{abs(hash((method, task, measurement, seed, str(job)))):x}")
    folder.path.mkdir(parents=True)
    generator = np.random.default_rng(abs(hash((method, measurement, seed))) % 2**32)
    target = np.clip(generator.random((16, 16)) if image is None else image, 0, 1)[None].astype(np.float32)
    noisy = {level: target + 10 ** (-level / 20) * generator.standard_normal(target.shape) for level in (20.0, psnr)}
    images = {"estimate": noisy[psnr], "last": noisy[psnr], "initial": noisy[20.0], "target": target}
    folder.write_images(
        {name: array.astype(np.float32) for name, array in images.items()},
        {"measurement": measurement, "task": task, "units": "1", "value_range": (0.0, 1.0), "magnitude": False},
    )
    best = psnr if oracle is None else oracle
    iterations = np.linspace(10, 10 * rows, rows)
    curve = best - (best - 15) * np.exp(-iterations / (2 * rows)) - (best - psnr) * (iterations / iterations[-1]) ** 3
    lines = [f"{i:.0f},{i / 100:.3f},{1 / i:.5f},{p:.4f},," for i, p in zip(iterations, curve, strict=True)]
    folder.write_text(METRICS, "\n".join(["iteration,seconds,loss,psnr,ssim,stop_statistic", *lines, ""]))
    if job is not None:
        (folder.path / JOB).write_text(json.dumps(job))
    scores = {"initial": 20.0, "last": psnr - 0.5, "estimate": psnr, "oracle": oracle}
    folder.write_summary(
        {
            "method": method,
            "task": task,
            "measurement": measurement,
            "seed": seed,
            "iterations": 10 * rows,
            "stopped_by": "baseline" if oracle is None else "early_stopping_wmv",
            "seconds": rows / 10,
            "seconds_per_iteration": 0.01,
            "psnr": scores,
            "ssim": {name: value and round(value / 40, 3) for name, value in scores.items()},
            "oracle_iteration": 7 * rows,
            "callbacks": {"EarlyStoppingWMV": {"action": "stop", "iteration": 8 * rows, "rule": "wmv"}},
            "device": "cpu (1 threads)",
            "versions": {"python": "3.12.1", "torch": "2.6.0"},
            **summary,
        }
    )
    return folder.path


def write_failure(root: Path, method: str, error: str, trace: str = "") -> Path:
    """Write what a failed job leaves."""
    folder = root / "runs" / f"failed_{abs(hash((method, error))):x}"
    folder.mkdir(parents=True)
    content = {"method": method, "data": "ct", "index": 3, "seed": 1, "error": error, "traceback": trace}
    (folder / FAILURE).write_text(json.dumps(content))
    return folder
