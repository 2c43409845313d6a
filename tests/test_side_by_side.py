"""Several measurements, one process each: the same results as one after the other, and no process left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from jsonargparse import Namespace
from pytorch_lightning.accelerators import CUDAAccelerator

from dip_lightning.cli import main
from dip_lightning.companion import Companion
from dip_lightning.errors import ConfigurationError
from dip_lightning.shares import Share, shares
from dip_lightning.side_by_side import run_side_by_side

ROOT = Path(__file__).parents[1]
SMALL = [
    *("fit", f"--config={ROOT / 'configs' / 'demo.yaml'}", "--data.kind=ellipses", "--data.size=32"),
    *("--model.outer_steps=2", "--model.inner_steps=2", "--trainer.accelerator=cpu", "--record.preview=false"),
]


def configuration(**changes: Any) -> Namespace:
    trainer = {"accelerator": "cpu", "devices": 3, "strategy": "auto", "num_nodes": 1, "logger": False}
    trainer.update({key: value for key, value in changes.items() if key in trainer})
    data = changes.get("data", {"index": 4, "batch": 1})
    return Namespace(
        trainer=Namespace(**trainer),
        data=Namespace(class_path="Phantom", init_args=Namespace(**data)),
        record=Namespace(run_dir=changes.get("run_dir")),
        ckpt_path=changes.get("ckpt_path"),
    )


def test_one_device_is_this_process() -> None:
    assert shares(configuration(devices=1)) == shares(configuration(devices="auto")) == []


def test_each_device_gets_its_group() -> None:
    dealt = shares(configuration(data={"index": 4, "batch": 2}))
    assert [share.index for share in dealt] == [4, 6, 8]
    assert dealt[1].arguments == ("--trainer.devices=1", "--data.index=6")


def cuda(monkeypatch: pytest.MonkeyPatch, visible: str | None) -> None:
    """Two devices of a machine, as Lightning would find them."""
    machine = SimpleNamespace(accelerator=CUDAAccelerator(), device_ids=[0, 3], num_devices=2)
    monkeypatch.setattr("dip_lightning.shares.pl.Trainer", lambda **_: machine)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, ["0", "3"]), ("4,5,6,7", ["4", "7"]), ("GPU-a, GPU-b, GPU-c, GPU-d", ["GPU-a", "GPU-d"])],
)
def test_each_process_sees_its_gpu_alone(
    monkeypatch: pytest.MonkeyPatch, given: str | None, expected: list[str]
) -> None:
    """Counted among those that are visible here; a process that saw the others would take memory on them."""
    cuda(monkeypatch, given)
    dealt = shares(configuration(accelerator="gpu", devices=[0, 3]))
    assert [share.arguments[0] for share in dealt] == ["--trainer.devices=1"] * 2
    assert [share.environment["CUDA_VISIBLE_DEVICES"] for share in dealt] == expected


def test_a_gpu_that_is_not_visible_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda(monkeypatch, "4,5")
    with pytest.raises(ConfigurationError, match=r"device 3 .* shows 2"):
        shares(configuration(accelerator="gpu", devices=[0, 3]))


def test_a_given_folder_is_divided() -> None:
    assert (
        shares(configuration(run_dir="here"))[2].arguments[-1] == f"--record.run_dir={os.path.join('here', 'index6')}"
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"strategy": "ddp"}, "trainer.strategy"),
        ({"num_nodes": 2}, "cluster.md"),
        ({"data": {}}, "no option 'index'"),
        ({"ckpt_path": "some.ckpt"}, "--ckpt_path last"),
        ({"logger": Namespace(class_path="WandbLogger", init_args=Namespace(id="one"))}, "logger's id"),
    ],
)
def test_what_cannot_be_dealt_out_is_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        shares(configuration(**changes))


def test_one_device_waits_for_no_other_machine() -> None:
    with pytest.raises(ConfigurationError, match="num_nodes=2"):
        shares(configuration(devices=1, num_nodes=2))


def test_two_processes_give_what_two_single_runs_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = ["--trainer.devices=2", "--data.index=1", f"--trainer.default_root_dir={tmp_path / 'together'}"]
    logger = ["--trainer.logger=CSVLogger", f"--trainer.logger.save_dir={tmp_path / 'logs'}"]
    command = [sys.executable, "-m", "dip_lightning", *SMALL, *together, *logger]
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "logs").glob("*/*")) == ["version_0", "version_1"]

    for index in (1, 2):
        name = f"ellipses_32_{index:04d}"
        assert f"aseqdip on {name}: stopped by" in result.stdout
        assert main([*SMALL, f"--data.index={index}", f"--record.run_dir={tmp_path / name}"]) == 0
        run = tmp_path / "together" / "aseqdip_ct" / name / "seed0"
        summary = json.loads((run / "summary.json").read_text())
        assert (summary["measurement"], summary["iterations"]) == (name, 4)
        assert len((run / "metrics.csv").read_text().splitlines()) == 3
        assert (run / "checkpoints" / "last.ckpt").exists()
        with h5py.File(run / "reconstruction.h5") as a, h5py.File(tmp_path / name / "reconstruction.h5") as b:
            assert np.array_equal(a["estimate"], b["estimate"])
    # The record of one is the record of a single fit, and repeats it.
    assert main(["fit", f"--config={run / 'config.yaml'}", f"--record.run_dir={tmp_path / 'again'}"]) == 0
    assert json.loads((tmp_path / "again" / "summary.json").read_text())["measurement"] == name


# Processes that fail: ``main`` is one of these, in processes that have nothing else to do.


def fails_before_the_start(arguments: Sequence[str], companion: Companion) -> int:
    if arguments[-1] == "fail":
        return 2
    companion.on_train_start(None, None)  # type: ignore[arg-type]
    Path(arguments[0], "started").touch()
    return 0


def fails_after_the_start(arguments: Sequence[str], companion: Companion) -> int:
    companion.on_train_start(None, None)  # type: ignore[arg-type]
    if arguments[-1] == "fail":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5)
    Path(arguments[0], "finished").touch()
    return 0


def never_ends(arguments: Sequence[str], companion: Companion) -> int:
    companion.on_train_start(None, None)  # type: ignore[arg-type]
    Path(arguments[0], f"pid{os.getpid()}").touch()
    time.sleep(300)
    return 0


def notes_its_device(arguments: Sequence[str], companion: Companion) -> int:
    companion.on_train_start(None, None)  # type: ignore[arg-type]
    Path(arguments[0], arguments[-1]).write_text(os.environ["CUDA_VISIBLE_DEVICES"])
    return 0


def test_a_process_is_started_with_its_own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    dealt = [Share(number, (f"{number}",), {"CUDA_VISIBLE_DEVICES": f"{4 + number}"}) for number in (0, 1)]
    assert run_side_by_side(notes_its_device, [str(tmp_path)], dealt) == 0
    assert [(tmp_path / f"{number}").read_text() for number in (0, 1)] == ["4", "5"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,5"


PAIR = [Share(0, ("work",)), Share(1, ("fail",))]


def test_nothing_starts_if_one_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_side_by_side(fails_before_the_start, [str(tmp_path)], PAIR) == 2
    assert not list(tmp_path.iterdir())
    assert "data.index 1 failed; nothing of 0, 1 was started" in capsys.readouterr().err


def test_the_others_go_on_if_one_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_side_by_side(fails_after_the_start, [str(tmp_path)], PAIR) == 128 + signal.SIGKILL
    assert (tmp_path / "finished").exists()
    assert "data.index 1 failed" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_the_one_that_started_it(how: signal.Signals, tmp_path: Path) -> None:
    code = (
        "from dip_lightning.shares import Share; from dip_lightning.side_by_side import run_side_by_side\n"
        "from tests.test_side_by_side import never_ends\n"
        f"run_side_by_side(never_ends, [{str(tmp_path)!r}], [Share(0, ()), Share(1, ())])\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    until(lambda: len(list(tmp_path.iterdir())) == 2, 120)
    parent.send_signal(how)
    parent.wait(60)
    pids = [int(path.name[3:]) for path in tmp_path.iterdir()]
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 30)


@pytest.mark.slow
def test_more_devices_than_measurements_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.random.default_rng(0).random((2, 1, 16, 16), dtype=np.float32))
    data = ["--data=OwnMeasurement", f"--data.y={tmp_path / 'y.npy'}", "--data.image_shape=[1,16,16]"]
    data += ["--data.physics=deepinv.physics.Denoising"]
    model = [argument for argument in SMALL if "data." not in argument]
    command = [sys.executable, "-m", "dip_lightning", *model, *data, "--trainer.devices=3"]
    result = subprocess.run(
        [*command, f"--trainer.default_root_dir={tmp_path / 'runs'}"], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 2
    assert "holds 2 (the first is 0)" in result.stderr
    assert "nothing of 0, 1, 2 was started" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "runs").rglob("metrics.csv"))


def until(condition: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
