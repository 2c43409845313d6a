"""Every shipped configuration runs, at a small size, through the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from dip_lightning.cli import main

CONFIGS = Path(__file__).parents[1] / "configs"
#: Pretraining, and what starts from it: tests/pretraining runs them.
PRETRAINED = {"pretrain_ct.yaml", "edip_ct.yaml", "subspacedip_ct.yaml"}
ALL = sorted(path.name for path in CONFIGS.glob("*.yaml") if path.name not in PRETRAINED)
#: Of methods that run on every task without changes, two tasks are enough for the quick tests.
REPEATED = {
    f"{method}_{task}.yaml"
    for method in ("esdip", "refguideddip", "rethinkingdip", "selfguideddip", "sglddip", "tvdip")
    for task in ("mri", "inpainting", "deblurring")
}
#: Makes a fit small: two outer steps of at most two inner ones.
SHORT = ["--model.outer_steps=2", "--model.inner_steps=2", "--trainer.accelerator=cpu", "--record.preview=false"]
TASKS = ("mri", "ct", "denoising", "inpainting", "deblurring")
#: What a configuration needs beside SHORT to be small.
SMALLER: dict[str, list[str]] = {
    # Five scales need 64 pixels: batch norm wants more than one value; so does the blur kernel of 64 pixels.
    f"{name}.yaml": ["--data.size=64"]
    for name in (
        "aseqdip_deblurring",
        "aseqdip_inpainting",
        "dip_compressedsensing",
        "dip_ct",
        "dip_deblurring",
        "dip_denoising",
        "pnpdip_inpainting",
        "refguideddip_deblurring",
        "selfguideddip_deblurring",
        "tvdipsplitting_ct",
        *(f"{method}_{task}" for method in ("esdip", "rethinkingdip", "sglddip", "tvdip") for task in TASKS),
        "dip_inpainting",
        "dip_superresolution",
        "recommended_deblurring",
        "recommended_denoising",
        "recommended_inpainting",
    )
}
SMALLER["oesdip_denoising.yaml"] = ["--data.size=64", "--model.mask_steps=1", "--model.network.channels=[8,8,8]"]


def data_overrides(config: Path) -> list[str]:
    """Shrink embedded data; skip where a data set is needed and absent."""
    data = yaml.safe_load(config.read_text())["data"]
    block = yaml.safe_load((config.parent / data).read_text()) if isinstance(data, str) else data
    arguments = block.get("init_args", {})
    if "DIP_LIGHTNING_DATA" in str(arguments.get("path", "")) and not os.environ.get("DIP_LIGHTNING_DATA"):
        pytest.skip("the data set is absent: DIP_LIGHTNING_DATA is not set")
    return [f"--data.{key}=32" for key in ("size", "image_size") if key in arguments]


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in REPEATED else n for n in ALL])
def test_config_runs(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if "DIP_LIGHTNING_DATA" in os.environ or (CONFIGS.parents[1] / "shared" / "data").is_dir():
        os.environ.setdefault("DIP_LIGHTNING_DATA", str(CONFIGS.parents[1] / "shared" / "data"))
    config = CONFIGS / name
    arguments = [f"--config={config}", *SHORT, *data_overrides(config), *SMALLER.get(name, [])]
    assert main(["fit", *arguments, f"--record.run_dir={tmp_path}"]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["iterations"] == 4
    assert summary["stopped_by"] == "outer_steps"
    assert summary["psnr"]["estimate"] is not None


def test_every_config_says_what_it_is() -> None:
    for path in CONFIGS.rglob("*.yaml"):
        assert path.read_text().startswith("#"), f"{path} does not begin with a comment"
