"""The run folder: whole files, refusals, what is in it."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from dip_lightning.callbacks import (
    InputUpdate,
    OutputAveraging,
    Pictures,
    ResultWriter,
    ResumeCheckpoint,
    result_writer,
)
from dip_lightning.callbacks.metric_rows import MetricRows
from dip_lightning.errors import ConfigurationError, RunFolderError
from dip_lightning.hooks import IterateHook
from dip_lightning.inputs import InitialEstimate
from dip_lightning.members import repeat_measurement
from dip_lightning.methods import ASeqDIP
from dip_lightning.records import folder_name
from dip_lightning.run_folder import RunFolder, written_whole
from tests.support import TinyNetwork, fit, matrix_measurement


def aseqdip(**options: object) -> ASeqDIP:
    return ASeqDIP(network=TinyNetwork(), initial_input=InitialEstimate(), **{"outer_steps": 3, **options})


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write_half() -> None:
        with written_whole(path) as temporary:
            temporary.write_text("new, but")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]
    assert path.read_text() == "old"


def test_what_a_fit_leaves(tmp_path: Path) -> None:
    measurement = matrix_measurement(units="1 = 0.05 per mm", noise_level=0.5)
    callbacks = [InputUpdate(), OutputAveraging(0.9), ResultWriter(run_dir=str(tmp_path)), ResumeCheckpoint()]
    method = aseqdip()
    fit(method, measurement, callbacks, enable_checkpointing=True)
    with h5py.File(tmp_path / "reconstruction.h5") as file:
        assert set(file) == {"estimate", "last", "initial", "average", "target"}
        assert file.attrs["units"] == "1 = 0.05 per mm"
        assert list(file.attrs["value_range"]) == [0, 1]
        assert np.allclose(file["estimate"], file["average"])
        assert np.allclose(file["last"], method.last_output[0])
        assert file["initial"].shape == (1, 6, 6)
    summary = json.loads((tmp_path / "summary.json").read_text())
    for key in ("method", "task", "measurement", "seed", "iterations", "stopped_by", "seconds", "versions", "device"):
        assert summary[key] is not None, key
    assert summary["noise_level"] == 0.5
    assert (tmp_path / "preview.png").stat().st_size > 10_000
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_a_checkpoint_comes_after_the_record_of_its_step(tmp_path: Path) -> None:
    callbacks = [InputUpdate(), ResumeCheckpoint(), ResultWriter(run_dir=str(tmp_path))]
    with pytest.raises(ConfigurationError, match="after ResultWriter"):
        fit(aseqdip(), matrix_measurement(), callbacks, enable_checkpointing=True)


def test_the_default_place_is_method_task_measurement_seed(tmp_path: Path) -> None:
    callbacks = [InputUpdate(), ResultWriter(preview=False)]
    options = {"enable_checkpointing": True, "default_root_dir": tmp_path}
    fit(aseqdip(seed=7), matrix_measurement(ids=("slice 1/2",)), callbacks, **options)
    assert (tmp_path / "aseqdip_matrix" / "slice_1_2" / "seed7" / "summary.json").exists()


@pytest.mark.parametrize("run_dir", [None, "given"])
def test_members_whose_ids_make_the_same_folder_are_refused(run_dir: str | None, tmp_path: Path) -> None:
    one = matrix_measurement()
    images = {name: getattr(one, name).repeat(2, *[1] * (getattr(one, name).ndim - 1)) for name in ("y", "initial")}
    two = replace(one, target=None, ids=("img 1", "img_1"), **images)
    writer = ResultWriter(run_dir and str(tmp_path / run_dir), preview=False)
    with pytest.raises(RunFolderError, match="'img 1' and 'img_1'"):
        fit(aseqdip(), two, [InputUpdate(), writer], enable_checkpointing=True, default_root_dir=tmp_path)


def test_a_finished_folder_is_refused_before_any_step(tmp_path: Path) -> None:
    def run(overwrite: bool) -> ASeqDIP:
        method = aseqdip()
        writer = ResultWriter(run_dir=str(tmp_path), preview=False, overwrite=overwrite)
        try:
            fit(method, matrix_measurement(), [InputUpdate(), writer], enable_checkpointing=True)
        except RunFolderError:
            assert method.iteration == 0
            raise
        return method

    run(overwrite=False)
    (tmp_path / "notes.txt").write_text("the user's own")
    before = (tmp_path / "reconstruction.h5").read_bytes()
    with pytest.raises(RunFolderError, match=r"ResultWriter\(overwrite=True\)"):
        run(overwrite=False)
    assert (tmp_path / "reconstruction.h5").read_bytes() == before
    run(overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "the user's own"


@pytest.mark.parametrize("continuable", [False, True])
def test_only_what_can_be_continued_is_offered_to_be(continuable: bool, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_summary({})
    if continuable:
        with written_whole(folder.checkpoint) as temporary:
            temporary.touch()
    with pytest.raises(RunFolderError, match="overwrite") as refusal:
        folder.claim(overwrite=False, resume=False)
    assert ("--ckpt_path last" in str(refusal.value)) is continuable


def test_files_that_no_fit_wrote_stay(tmp_path: Path) -> None:
    def run() -> None:
        writer = ResultWriter(run_dir=str(tmp_path), preview=False, overwrite=True)
        fit(aseqdip(), matrix_measurement(), [InputUpdate(), writer], enable_checkpointing=True)

    own = [tmp_path / "pictures" / "holiday.png", tmp_path / "preview.png"]
    (tmp_path / "pictures").mkdir()
    for path in own:
        path.write_text("the user's own")
    run()  # no fit has been here
    assert [path.read_text() for path in own] == ["the user's own"] * 2
    old = tmp_path / "pictures" / "iteration_000123.png"
    old.write_text("of the run that is replaced")
    run()
    assert not old.exists()
    assert own[0].exists()
    assert not own[1].exists()  # a preview in the folder of a run is that run's


def test_a_preview_of_values_below_zero(tmp_path: Path) -> None:
    measurement = matrix_measurement(value_range=None)
    below = replace(measurement, target=measurement.target - 5)
    callbacks = [InputUpdate(), ResultWriter(run_dir=str(tmp_path))]
    fit(aseqdip(), below, callbacks, enable_checkpointing=True)
    assert (tmp_path / "preview.png").exists()
    assert (tmp_path / "summary.json").exists()


def test_a_preview_that_cannot_be_drawn_costs_the_picture_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("cannot draw this")

    monkeypatch.setattr(result_writer, "preview_figure", fails)
    callbacks = [InputUpdate(), ResultWriter(run_dir=str(tmp_path))]
    fit(aseqdip(), matrix_measurement(), callbacks, enable_checkpointing=True)
    assert "cannot draw this" in caplog.text
    assert (tmp_path / "summary.json").exists()


class Interrupt(pl.Callback):
    """Break off in the second outer step."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.outer_step == 2:
            raise RuntimeError("interrupted")


def test_the_checkpoint_of_an_interrupted_run_stays_until_there_is_another(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"

    def run(seconds: float, final: bool, *more: pl.Callback) -> None:
        callbacks = [ResultWriter(run_dir=str(tmp_path), preview=False), ResumeCheckpoint(seconds, final), *more]
        fit(aseqdip(), matrix_measurement(), [InputUpdate(), *callbacks], enable_checkpointing=True)

    def interrupted(seconds: float) -> bytes:
        with pytest.raises(RuntimeError, match="interrupted"):
            run(seconds, True, Interrupt())
        return checkpoint.read_bytes()

    first = interrupted(0)
    assert interrupted(60) == first  # the second run got no further than before its first checkpoint
    run(60, False)
    assert not checkpoint.exists()  # a finished run is not continued from an older one's checkpoint


@pytest.mark.parametrize("repeat", [1, 2])
def test_a_trial_run_leaves_everything_as_it_was(repeat: int, tmp_path: Path) -> None:
    """``fast_dev_run`` promises to keep nothing: neither files of its own, nor another checkpoint in place of one."""
    measurement = repeat_measurement(matrix_measurement(), repeat)

    def run(*more: pl.Callback, **trainer: Any) -> ASeqDIP:
        method = aseqdip()
        writers = [Pictures(at=[1]), ResultWriter(run_dir=str(tmp_path / "run"), preview=False), ResumeCheckpoint(0)]
        options = {"enable_checkpointing": True, "default_root_dir": tmp_path, **trainer}
        fit(method, measurement, [InputUpdate(), *writers, *more], **options)
        return method

    assert run(fast_dev_run=True).outer_step == 1
    assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="interrupted"):
        run(Interrupt())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    run(fast_dev_run=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


class Signal(pl.Callback, IterateHook):
    """Send the process a signal in the middle of the second outer step."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def on_iterate(self, trainer: pl.Trainer, pl_module: Any, output: Any) -> None:
        if pl_module.outer_step == 1 and pl_module.iteration % pl_module.inner_steps == 1:
            signal.raise_signal(self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_rows_and_a_checkpoint_of_a_whole_outer_step(
    number: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(folder: Path, *more: pl.Callback, ckpt_path: str | None = None) -> ASeqDIP:
        method = aseqdip(inner_steps=4, outer_steps=5, seed=1)
        callbacks = [InputUpdate(), ResultWriter(run_dir=str(folder), preview=False), ResumeCheckpoint(), *more]
        fit(method, matrix_measurement(), callbacks, enable_checkpointing=True, ckpt_path=ckpt_path)
        return method

    handler, checkpoint = signal.getsignal(signal.SIGINT), tmp_path / "cut" / "checkpoints" / "last.ckpt"
    with pytest.raises(SystemExit):
        run(tmp_path / "cut", Signal(number))
    signal.signal(signal.SIGINT, handler)  # Lightning ignores interrupts from the first on
    assert f"--ckpt_path last continues from {checkpoint}" in capsys.readouterr().err
    assert not (tmp_path / "cut" / "summary.json").exists()
    rows = (tmp_path / "cut" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["iteration", "4", "8"]
    continued, through = run(tmp_path / "cut", ckpt_path=str(checkpoint)), run(tmp_path / "through")
    assert signal.getsignal(signal.SIGINT) is handler
    assert torch.equal(continued.estimate, through.estimate)


def test_a_refused_run_does_not_touch_the_rows_of_the_finished_one(tmp_path: Path) -> None:
    def run() -> None:
        callbacks = [InputUpdate(), ResultWriter(run_dir=str(tmp_path), preview=False)]
        fit(aseqdip(), matrix_measurement(), callbacks, enable_checkpointing=True)

    run()
    rows = (tmp_path / "metrics.csv").read_bytes()
    with pytest.raises(RunFolderError, match="finished"):
        run()
    assert (tmp_path / "metrics.csv").read_bytes() == rows


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"max_time": timedelta(milliseconds=1)}, "max_time"), ({"limit_train_batches": 2}, "trainer")],
)
def test_an_end_made_by_the_trainer_is_named(options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    callbacks = [InputUpdate(), ResultWriter(run_dir=str(tmp_path), preview=False)]
    fit(aseqdip(), matrix_measurement(), callbacks, enable_checkpointing=True, **options)
    assert json.loads((tmp_path / "summary.json").read_text())["stopped_by"] == reason


def test_steps_that_the_trainer_cannot_count_are_refused(tmp_path: Path) -> None:
    callbacks = [InputUpdate(), ResultWriter(run_dir=str(tmp_path))]
    with pytest.raises(ConfigurationError, match="outer_steps"):
        fit(aseqdip(), matrix_measurement(), callbacks, enable_checkpointing=True, max_steps=2)
    with pytest.raises(ConfigurationError, match="outer_steps"):
        fit(aseqdip(), matrix_measurement(), [InputUpdate()], max_steps=2)


@pytest.mark.parametrize("option", ["max_epochs", "limit_train_batches"])
def test_a_trainer_that_makes_no_step_is_refused(option: str, tmp_path: Path) -> None:
    callbacks = [InputUpdate(), ResultWriter(run_dir=str(tmp_path / "run"))]
    with pytest.raises(ConfigurationError, match=f"trainer.{option}=0"):
        fit(aseqdip(), matrix_measurement(), callbacks, enable_checkpointing=True, **{option: 0})
    assert not (tmp_path / "run").exists()


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(RunFolderError, match="fit"):
        folder.read_image()
    folder.write_images({"estimate": np.zeros((1, 2, 2))}, {"units": None})
    with pytest.raises(RunFolderError, match="only: estimate"):
        folder.read_image("average")
    whole = (tmp_path / "reconstruction.h5").read_bytes()
    (tmp_path / "reconstruction.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunFolderError, match="cannot be read"):
        folder.read_image()


def test_summaries_hold_no_nan(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_summary({"a": float("nan"), "b": [np.float32(1.5), np.int64(2)], "c": {"d": float("inf")}})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"a": None, "b": [1.5, 2], "c": {"d": None}}


def test_rows_keep_members_apart_and_blanks_blank(tmp_path: Path) -> None:
    rows = MetricRows()
    rows.add(10, 0.5, {"loss": torch.tensor([1.0, 2.0])})
    rows.add(20, 1.0, {"loss": torch.tensor([0.5, 1.5]), "psnr": torch.tensor([20.0, 30.0])})
    again = MetricRows()
    again.load_state_dict(rows.state_dict())
    assert again.csv(0) == "iteration,seconds,loss,psnr,ssim,stop_statistic\n10,0.5,1.0,,,\n20,1.0,0.5,20.0,,\n"
    assert again.csv(1).splitlines()[2] == "20,1.0,1.5,30.0,,"
    assert again.curves(1)["psnr"] == [(20, 30.0)]


@pytest.mark.parametrize(("name", "expected"), [("a b/c", "a_b_c"), ("../..", "measurement"), ("x-1.2", "x-1.2")])
def test_ids_become_folder_names(name: str, expected: str) -> None:
    assert folder_name(name) == expected
