"""Measured data: aSeqDIP against FBP on 36 of 720 views of three HTC2022 phantoms, at 256x256.

    python -m benchmarks.htc2022

Needs DIP_LIGHTNING_DATA. The reference is the FBP of all views: a reconstruction, not the truth.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks._common import write_result
from dip_lightning.cli import main as command_line

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Reconstruct each phantom, or take its finished run, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phantoms", nargs="+", default=["01a", "03a", "ta"])
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "aseqdip_htc2022.yaml")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "benchmarks" / "htc2022")
    arguments = parser.parse_args()
    runs = []
    for phantom in arguments.phantoms:
        run_dir = arguments.folder / phantom
        if not (run_dir / "summary.json").exists():
            options = [f"--config={arguments.config}", f"--data.phantom={phantom}", f"--record.run_dir={run_dir}"]
            if command_line(["fit", *options, "--ckpt_path=last"]):
                raise SystemExit(2)
        summary = json.loads((run_dir / "summary.json").read_text())
        keep = ("measurement", "iterations", "stopped_by", "psnr", "ssim", "oracle_iteration", "seconds", "callbacks")
        gain = summary["psnr"]["estimate"] - summary["psnr"]["initial"]
        runs.append({"phantom": phantom, "gain_over_fbp_db": gain, **{key: summary[key] for key in keep}})
        print(f"{phantom}: FBP {summary['psnr']['initial']:.2f} dB, aSeqDIP {summary['psnr']['estimate']:.2f} dB")
    print(write_result("htc2022", {"config": arguments.config.name, "runs": runs}))


if __name__ == "__main__":
    main()
