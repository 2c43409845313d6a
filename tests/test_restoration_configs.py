"""Configurations of image restoration: the settings that they claim, and every data block with every acquisition."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dip_lightning.cli import main

CONFIGS = Path(__file__).parents[1] / "configs"
#: Released settings: network, learning rate, K, N, lambda.
RELEASED = {
    "aseqdip_denoising": ("ShallowUNet", 1e-4, 2000, 2, 1.0),
    "aseqdip_inpainting": ("SkipNet", 3e-4, 200, 2, 1.0),
    "aseqdip_deblurring": ("ShallowUNet", 1e-4, 5000, 2, 5.0),
}
#: Settings of the first DIP paper: optimiser steps and input noise.
FIRST_PAPER = {
    "dip_denoising": (3000, 1 / 30),
    "dip_inpainting": (6000, 0.03),
    "dip_superresolution": (2000, 0.03),
}
TINY = ["--trainer.accelerator=cpu", "--record.preview=false", "--model.outer_steps=2", "--model.inner_steps=1"]


def read(name: str) -> dict:
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", RELEASED)
def test_released_settings(name):
    network, rate, outer, inner, weight = RELEASED[name]
    model = read(name)["model"]["init_args"]
    assert model["network"]["class_path"] == network
    assert model["optimizer"]["init_args"]["lr"] == rate
    assert (model["outer_steps"], model["inner_steps"], model["regularisation"]) == (outer, inner, weight)
    assert model["reduction"] == "mse"
    assert model["initial_input"]["class_path"] == "InitialEstimate"


@pytest.mark.parametrize("name", FIRST_PAPER)
def test_settings_of_the_first_paper(name):
    steps, noise = FIRST_PAPER[name]
    model = read(name)["model"]["init_args"]
    assert model["outer_steps"] * model["inner_steps"] == steps
    assert model["input_noise"] == pytest.approx(noise, rel=1e-4)
    assert model["optimizer"]["init_args"]["lr"] == 0.01
    assert model["network"]["init_args"]["in_channels"] == model["initial_input"]["init_args"]["channels"] == 32


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("aseqdip_denoising", ["--data.acquisition.noise=ImpulseNoise"]),
        ("dip_denoising", ["--data.acquisition.noise.sigma=50", "--model.network=SmallUNet"]),
        ("aseqdip_inpainting", ["--data.acquisition.mask=random", "--data.acquisition.fill=nearest"]),
        ("aseqdip_deblurring", ["--data.acquisition.kernel.size=15", "--data.acquisition.boundary=valid"]),
        ("dip_superresolution", ["--data.acquisition.factor=8"]),
        ("dip_compressedsensing", ["--data.acquisition.ratio=0.1"]),
    ],
)
def test_overrides(name, overrides, tmp_path):
    arguments = [f"--config={CONFIGS / name}.yaml", "--data.size=64", *TINY, *overrides]
    if "--model.network=SmallUNet" in overrides:
        arguments += ["--model.network.in_channels=32", "--model.network.out_channels=3"]
    assert main(["fit", *arguments, f"--record.run_dir={tmp_path}"]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["iterations"] == 2
    assert summary["task"] == name.split("_")[1]


def test_nonlinear_blur_by_override(tmp_path):
    blur = ["--data.acquisition=NonlinearBlur"]
    blur += [f"--data.acquisition.{option}" for option in ("width=4", "front_blocks=1", "back_blocks=1")]
    network = ["--model.network=SmallUNet", "--model.network.in_channels=3", "--model.network.out_channels=3"]
    arguments = [f"--config={CONFIGS / 'aseqdip_deblurring.yaml'}", "--data.size=128", *TINY, *blur, *network]
    assert main(["fit", *arguments, f"--record.run_dir={tmp_path}"]) == 0
    assert json.loads((tmp_path / "summary.json").read_text())["task"] == "nonlinear_deblurring"


@pytest.mark.parametrize("task", ["denoising", "inpainting", "deblurring"])
def test_on_the_data_set(task, data_root, monkeypatch, tmp_path):
    monkeypatch.setenv("DIP_LIGHTNING_DATA", str(data_root))
    network = ["--model.network=SmallUNet", "--model.network.in_channels=3", "--model.network.out_channels=3"]
    data = [f"--data={CONFIGS / 'data' / f'cbsd68_{task}.yaml'}", "--data.index=3", "--data.size=96"]
    arguments = [f"--config={CONFIGS / f'aseqdip_{task}.yaml'}", *data, *TINY, *network]
    assert main(["fit", *arguments, f"--record.run_dir={tmp_path}"]) == 0
    assert json.loads((tmp_path / "summary.json").read_text())["measurement"] == "cbsd68_0003"


def test_data_set_is_taken_at_full_size(data_root, monkeypatch, capsys):
    monkeypatch.setenv("DIP_LIGHTNING_DATA", str(data_root))
    block = CONFIGS / "data" / "cbsd68_denoising.yaml"
    with pytest.raises(SystemExit):
        main(["fit", f"--config={CONFIGS / 'aseqdip_denoising.yaml'}", f"--data={block}", "--print_config"])
    data = yaml.safe_load(capsys.readouterr().out)["data"]
    assert data["class_path"] == "dip_lightning.data.CBSD68"
    assert data["init_args"]["size"] is None
    assert "name" not in data["init_args"]


def test_embedded_and_data_set_blocks_have_the_same_acquisition():
    for task in ("denoising", "inpainting", "deblurring", "superresolution", "compressedsensing"):
        blocks = [yaml.safe_load((CONFIGS / "data" / f"{name}.yaml").read_text()) for name in (task, f"cbsd68_{task}")]
        assert blocks[0]["init_args"]["acquisition"] == blocks[1]["init_args"]["acquisition"]
