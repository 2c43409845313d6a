"""What the runners of a comparison cost: equal jobs one after the other, two at once, and through Ray.

On a machine with two cores and nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks._common import machine, report

FIT = {
    "model": {
        "class_path": "DIP",
        "init_args": {"network": "SmallUNet", "initial_input": "InitialEstimate", "inner_steps": 10},
    },
    "data": {
        "class_path": "Phantom",
        "init_args": {"size": 64, "acquisition": {"class_path": "ParallelBeamCT", "init_args": {"views": 20}}},
    },
    "trainer": {"accelerator": "cpu"},
    "record": {"preview": False},
}


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=150, help="outer steps of a job, of ten iterations each")
    parser.add_argument("--ray", action="store_true", help="measure the Ray runner as well")
    parser.add_argument("--quick", action="store_true", help="check that it runs")
    options = parser.parse_args()
    if options.quick:
        options.jobs, options.steps = 2, 2
    runners = {"sequential": ["--workers", "1", "--threads", "1"], "two workers": ["--workers", "2", "--threads", "1"]}
    if options.ray:
        runners["ray"] = ["--runner", "ray"]
    result: dict[str, Any] = {"jobs": options.jobs, "outer_steps": options.steps}
    cores = int(machine()["cores"])
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in runners.items():
            slots = {"sequential": 1, "two workers": 2, "ray": cores}[name]
            result[name] = _measure(Path(folder) / name.split()[0], options.jobs, options.steps, arguments, slots)
            print(f"{name}: {result[name]}", flush=True)
    result["ratio of two workers"] = round(result["two workers"]["wall_s"] / result["sequential"]["wall_s"], 3)
    print(f"two workers take {result['ratio of two workers']} of the sequential time")
    report("compare", result, options.quick)


def _measure(root: Path, jobs: int, steps: int, arguments: list[str], slots: int) -> dict[str, float]:
    model = {**FIT["model"], "init_args": {**FIT["model"]["init_args"], "outer_steps": steps}}
    plan = {"root": str(root), "methods": [{"name": "dip", "config": {**FIT, "model": model}}], "seeds": jobs}
    root.mkdir()
    path = root / "plan.yaml"
    path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    command = [sys.executable, "-m", "dip_lightning", "compare", "--config", str(path), "--quiet", *arguments]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - started
    seconds = [json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in root.rglob("summary.json")]
    used = min(slots, jobs)
    return {
        "wall_s": round(wall, 2),
        "mean_fit_s": round(sum(seconds) / len(seconds), 2),
        "beside_the_fit_s_per_job": round((used * wall - sum(seconds)) / jobs, 2),
    }


if __name__ == "__main__":
    main()
