"""The shipped configurations that start from pretrained weights, pretraining first, at a small size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dip_lightning.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = ["--trainer.accelerator=cpu", "--model.network.channels=[16,16,16,16,16]"]


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    arguments = [
        "--data.size=64",
        "--data.images=4",
        "--data.validation_images=1",
        "--data.batch_size=1",
        "--data.workers=0",
        "--data.samples=1",
        "--trainer.max_epochs=2",
        "--trainer.enable_progress_bar=false",
        f"--trainer.default_root_dir={folder}",
        "--trainer.callbacks.every=1",
    ]
    assert main(["pretrain", f"--config={CONFIGS / 'pretrain_ct.yaml'}", *SMALL, *arguments]) == 0
    return folder


@pytest.mark.parametrize(
    ("name", "more"), [("edip", []), ("subspacedip", ["--model.trajectory={}/trajectory.pt", "--model.dim=3"])]
)
def test_config_runs_after_pretraining(name: str, more: list[str], folder: Path, tmp_path: Path) -> None:
    arguments = [
        "--data.size=64",
        "--model.outer_steps=3",
        f"--model.pretrained={folder / 'checkpoints' / 'last.ckpt'}",
        f"--record.run_dir={tmp_path}",
        "--record.preview=false",
        *(argument.format(folder) for argument in more),
    ]
    assert main(["fit", f"--config={CONFIGS / name}_ct.yaml", *SMALL, *arguments]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["method"], summary["iterations"]) == (name, 3)


def test_without_pretraining_the_error_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"--model.pretrained={tmp_path / 'none.ckpt'}", f"--record.run_dir={tmp_path}", "--data.size=64"]
    assert main(["fit", f"--config={CONFIGS / 'edip_ct.yaml'}", *SMALL, *arguments]) == 2
    assert "dip-lightning pretrain" in capsys.readouterr().err
