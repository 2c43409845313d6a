"""The settings that the configurations of the variants claim to be the released ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

CONFIGS = Path(__file__).parents[1] / "configs"
TASKS = ("mri", "ct", "denoising", "inpainting", "deblurring")


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / name).read_text())


def arguments(config: str) -> dict[str, Any]:
    return read(config)["model"]["init_args"]


def steps(model: dict[str, Any]) -> int:
    return model["outer_steps"] * model["inner_steps"]


def callback(trainer: str, name: str) -> dict[str, Any]:
    found = [c for c in read(f"trainer/{trainer}.yaml")["callbacks"] if c["class_path"] == name]
    assert len(found) == 1
    return found[0].get("init_args", {})


@pytest.mark.parametrize("task", TASKS)
def test_self_guided(task: str) -> None:
    model = arguments(f"selfguideddip_{task}.yaml")
    assert (model["regularisation"], model["draws"], model["noise"], model["noise_amplitude"]) == (2, 3, "uniform", 0.5)
    assert (model["reduction"], model["optimizer"]["init_args"]["lr"], steps(model)) == ("norm", 3e-4, 4000)
    assert model["initial_input"]["init_args"]["scale"] == 1.0
    assert callback("selfguideddip", "LearnedInput") == {"lr": 0.1}
    assert callback("selfguideddip", "OutputAveraging") == {"weight": 0.99}


@pytest.mark.parametrize("task", TASKS)
def test_sgld(task: str) -> None:
    model = arguments(f"sglddip_{task}.yaml")
    assert model["optimizer"]["init_args"] == {"lr": 0.01, "weight_decay": 5e-8}
    assert (model["param_noise_sigma"], steps(model)) == (2.0, 20000)
    assert callback("sglddip", "PosteriorSamples") == {"burn_in": 7000, "every": 50}


@pytest.mark.parametrize("task", TASKS)
def test_early_stopping(task: str) -> None:
    model = arguments(f"esdip_{task}.yaml")
    assert (model["optimizer"]["init_args"]["lr"], steps(model)) == (0.01, 5000)
    if task == "mri":  # there the loss and the clean input of dip_mri.yaml
        assert (model["reduction"], model.get("input_noise", 0.0)) == ("norm", 0.0)
    else:
        assert (model["reduction"], model["input_noise"]) == ("mse", pytest.approx(1 / 30, rel=1e-4))
    assert callback("esdip", "EarlyStoppingWMV") == {"window": 100, "patience": 1000}


def test_total_variation_for_ct() -> None:
    model = arguments("tvdip_ct.yaml")
    assert (model["tv_weight"], model["tv_isotropic"], model["tv_reduction"]) == (1e-4, False, "sum")
    assert (model["optimizer"]["init_args"]["lr"], model["gradient_clip"], steps(model)) == (1e-3, 1.0, 5000)
    callback("tvdip", "BestLoss")


@pytest.mark.parametrize("task", TASKS)
def test_rethinking(task: str) -> None:
    model = arguments(f"rethinkingdip_{task}.yaml")
    if task != "ct":  # there the first steps of RAdam are too large
        assert model["optimizer"] == {"class_path": "torch.optim.RAdam", "init_args": {"lr": 0.1}}
    assert model["lr_scheduler"]["init_args"] == {"step_size": 300, "gamma": 0.9}
    assert (model["perturbation"], model["divergence"], steps(model)) == (0.5, "exact", 3000)
    callback("rethinkingdip", "ZeroCrossing")


@pytest.mark.parametrize("task", TASKS)
def test_every_method_has_every_task(task: str) -> None:
    for method in ("dip", "aseqdip", "tvdip", "esdip", "sglddip", "selfguideddip", "refguideddip", "rethinkingdip"):
        assert (CONFIGS / f"{method}_{task}.yaml").exists()
