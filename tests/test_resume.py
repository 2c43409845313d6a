"""A fit that is killed at any moment continues as if nothing had happened, and leaves no half-written file."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from dip_lightning.cli import main

ROOT = Path(__file__).parents[1]
CONFIG = f"--config={ROOT / 'configs' / 'demo.yaml'}"
FIT = [
    *(sys.executable, "-m", "dip_lightning", "fit", CONFIG),
    *("--data.size=32", "--model.outer_steps=40", "--model.inner_steps=2", "--model.input_noise=0.01"),
    *("--trainer.accelerator=cpu", "--checkpoint.seconds=0", "--record.flush_seconds=0"),
    *("--record.preview=false", "--seed_everything=3"),
]


def fit(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [*FIT, f"--record.run_dir={folder}", *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # two threads on a busy machine wait for each other
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT, env=environment)


def estimate(folder: Path) -> np.ndarray:
    with h5py.File(folder / "reconstruction.h5") as file:
        return np.asarray(file["estimate"])


def check_whole(folder: Path) -> None:
    """Every file that has its final name can be read to its end."""
    if (folder / "metrics.csv").exists():
        rows = list(csv.reader((folder / "metrics.csv").open()))
        assert len({len(row) for row in rows}) == 1
    if (folder / "checkpoints" / "last.ckpt").exists():
        assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["dip_lightning"]["iteration"] > 0
    for name in ("summary.json", "reconstruction.h5"):
        if (folder / name).exists():
            json.loads((folder / name).read_text()) if name.endswith("json") else estimate(folder)


def wait_for_checkpoint(process: subprocess.Popen[bytes], folder: Path, newer_than: float) -> None:
    path = folder / "checkpoints" / "last.ckpt"
    for _ in range(12_000):
        if path.exists() and path.stat().st_mtime > newer_than:
            return
        if process.poll() is not None:
            pytest.fail(f"the fit ended early: {process.stderr.read().decode()}")  # type: ignore[union-attr]
        time.sleep(0.05)
    pytest.fail("no checkpoint within ten minutes")


def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert fit(undisturbed).wait() == 0

    moments = random.Random(time.time_ns())
    for more in ([], ["--ckpt_path=last"]):
        started = time.time()
        process = fit(killed, *more)
        wait_for_checkpoint(process, killed, newer_than=started)
        time.sleep(moments.uniform(0, 0.2))
        process.kill()
        process.wait()
        check_whole(killed)
    assert fit(killed, "--ckpt_path=last").wait() == 0
    check_whole(killed)

    assert np.array_equal(estimate(killed), estimate(undisturbed))
    columns = ("iteration", "loss", "psnr", "stop_statistic")
    curves = [
        [[row[c] for c in columns] for row in csv.DictReader((folder / "metrics.csv").open())]
        for folder in (killed, undisturbed)
    ]
    assert curves[0] == curves[1]
    summary = json.loads((killed / "summary.json").read_text())
    assert summary["iterations"] == 80
    assert not [path for path in killed.rglob("*") if ".tmp" in path.name and path.stat().st_size == 0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments of a fit that has finished."""
    folder = tmp_path_factory.mktemp("finished")
    options = ["--data.size=32", "--data.kind=ellipses", "--model.outer_steps=1", "--model.inner_steps=2"]
    arguments = ["fit", CONFIG, *options, "--trainer.accelerator=cpu", f"--record.run_dir={folder}"]
    assert main([*arguments, "--record.preview=false"]) == 0
    return arguments


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("--data.acquisition.views=6", "shape of y was [1, 1, 30, 46], is now [1, 1, 6, 46]"),
        ("--data.size=48", "shape of initial was"),
        ("--data.seed=5", "y has other values"),
        ("--data.index=1", "measurement was"),
        ("--seed_everything=1", "seed was [0], is now [1]"),
        ("--trainer.precision=64-true", "precision was 32-true, is now 64-true"),
        ("--model.inner_steps=3", "model.inner_steps was 2, is now 3"),
        ("--model.optimizer.lr=0.5", "model.optimizer.lr was"),
        ("--model.penalties=null", "model.penalties was"),
        ("--model.network=UNet", "model.network.class_path was"),
        ("--trainer.callbacks=[InputUpdate]", "callbacks was"),
    ],
)
def test_a_checkpoint_of_another_fit_is_refused(
    change: str, expected: str, finished: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(finished[-1].partition("=")[2])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main([*finished, change, "--ckpt_path=last"]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert "--record.run_dir" in error
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("by_name", [False, True])
def test_what_makes_no_other_fit_may_change(finished: list[str], tmp_path: Path, by_name: bool) -> None:
    """Nor does a checkpoint that is named put its own settings over those that are asked for."""
    folder = shutil.copytree(finished[-1].partition("=")[2], tmp_path / "run")
    changes = [
        "--model.outer_steps=2",
        "--metrics.ssim_every=1",
        "--progress.seconds=5",
        "--trainer.log_every_n_steps=1",
    ]
    checkpoint = folder / "checkpoints" / "last.ckpt" if by_name else "last"
    assert main([*finished[:-1], f"--record.run_dir={folder}", *changes, f"--ckpt_path={checkpoint}"]) == 0
    assert json.loads((folder / "summary.json").read_text())["iterations"] == 4
