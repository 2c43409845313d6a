"""The local runner: what is done is done once, whatever happens to it and around it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.accelerators import CPUAccelerator

from dip_lightning.cli import main
from dip_lightning.compare.command import unique
from dip_lightning.compare.config_tree import set_key
from dip_lightning.compare.execute import FIT_CONFIG, execute, failure_of, lock_of
from dip_lightning.compare.jobs import FAILURE, Job, expand, state, write_json
from dip_lightning.compare.local import LocalRunner
from dip_lightning.compare.plan import load_plan
from dip_lightning.errors import ConfigurationError
from dip_lightning.locks import JobLock
from dip_lightning.run_folder import SUMMARY, RunFolder
from tests.compare.conftest import ROOT
from tests.compare.small import DATA, METHOD, with_class, write_plan


def jobs_of(plan: Path) -> list[Job]:
    return unique(expand(load_plan(plan)))


def compare(plan: Path, *options: str) -> int:
    return main(["compare", "--config", str(plan), "--quiet", *options])


def start(plan: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dip_lightning", "compare", "--config", str(plan), "--quiet", *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def estimates(jobs: list[Job]) -> dict[str, np.ndarray]:
    return {job.name.rpartition("_")[0]: RunFolder(job.folder).read_image() for job in jobs}


def assert_same(jobs: list[Job], others: list[Job]) -> None:
    ours, theirs = estimates(jobs), estimates(others)
    assert ours.keys() == theirs.keys()
    for name, image in ours.items():
        np.testing.assert_array_equal(image, theirs[name], err_msg=name)


def test_in_this_process_then_nothing_is_left_to_do(tmp_path, capsys):
    plan = write_plan(tmp_path, seeds=2)
    assert compare(plan, "--workers", "0") == 0
    before = {job.name: (job.folder / SUMMARY).stat().st_mtime_ns for job in jobs_of(plan)}
    assert compare(plan, "--workers", "0") == 0
    assert {job.name: (job.folder / SUMMARY).stat().st_mtime_ns for job in jobs_of(plan)} == before
    assert "2 finished; 0 to do" in capsys.readouterr().out
    summaries = [json.loads((job.folder / SUMMARY).read_text()) for job in jobs_of(plan)]
    assert [summary["seed"] for summary in summaries] == [0, 1]


def test_run_is_repeated_by_fit_on_its_configuration(tmp_path):
    plan = write_plan(tmp_path)
    assert compare(plan, "--workers", "0") == 0
    job = jobs_of(plan)[0]
    for config in ("config.yaml", FIT_CONFIG):
        again = tmp_path / config
        assert main(["fit", "--config", str(job.folder / config), "--record.run_dir", str(again)]) == 0
        np.testing.assert_array_equal(RunFolder(again).read_image(), RunFolder(job.folder).read_image())


def test_job_takes_one_of_several_devices(tmp_path, monkeypatch):
    monkeypatch.setattr(CPUAccelerator, "auto_device_count", staticmethod(lambda: 2))
    plan = write_plan(tmp_path, overrides={"trainer.devices": "auto"})
    assert compare(plan, "--workers", "0") == 0


def test_changed_configuration_is_a_new_job(tmp_path):
    assert compare(write_plan(tmp_path), "--workers", "0") == 0
    plan = write_plan(tmp_path, overrides={"model.outer_steps": 3})
    assert [state(job) for job in jobs_of(plan)] == ["new"]
    assert compare(plan, "--workers", "0") == 0
    assert len(list((tmp_path / "root").rglob(SUMMARY))) == 2


def test_failures_and_killed_jobs_are_recorded_and_others_go_on(tmp_path, capsys):
    methods = [
        {"name": "raises", "config": with_class("Failing")},
        {"name": "killed", "config": with_class("Hungry")},
        {"name": "dip", "config": METHOD},
    ]
    plan = write_plan(tmp_path, methods=methods)
    assert compare(plan, "--workers", "1") == 2
    raises, killed, good = jobs_of(plan)
    failure = json.loads((raises.folder / FAILURE).read_text())
    assert failure["error"] == "the fit went <wrong>"
    assert "in objective" in failure["traceback"]
    assert "SIGKILL" in json.loads((killed.folder / FAILURE).read_text())["error"]
    assert state(good) == "finished"
    assert "failed: raises" in capsys.readouterr().out

    assert compare(plan, "--workers", "0", "--no-wait") == 2  # neither is tried again unasked


def test_failed_job_is_tried_again_on_demand(tmp_path):
    plan = write_plan(tmp_path)
    job = jobs_of(plan)[0]
    write_json(job.folder / FAILURE, {"error": "the disk was full"})
    assert compare(plan, "--workers", "0") == 1
    assert compare(plan, "--workers", "0", "--retry-failed") == 0
    assert not (job.folder / FAILURE).exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model.outr_steps": 3}, "model: DIP has no option 'outr_steps'. Did you mean 'outer_steps'?"),
        ({"data.acquisition.views": 0}, "at least one view"),
        ({"trainer.accelerator": "gpu"}, "a GPU was asked for, but there is none here"),
    ],
)
def test_failure_says_what_is_wrong_in_one_line(tmp_path, monkeypatch, change, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (job,) = jobs_of(write_plan(tmp_path, methods=[{"name": "dip", "config": {**METHOD, "data": DATA}}], data=[]))
    for key, value in change.items():
        job = replace(job, tree=set_key(job.tree, key, value))
    assert execute(job) == "failed"
    failure = failure_of(job)
    assert failure is not None
    assert expected in failure["error"]
    assert len(failure["error"].splitlines()) == 1
    assert "Traceback" in failure["traceback"]


def test_unreadable_checkpoint_is_recorded_and_retry_starts_anew(tmp_path):
    plan = write_plan(tmp_path)
    job = jobs_of(plan)[0]
    checkpoint = RunFolder(job.folder).checkpoint
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"not a checkpoint")
    assert compare(plan, "--workers", "0") == 1
    assert compare(plan, "--workers", "0", "--retry-failed") == 0


def test_broken_summary_is_not_taken_for_a_result(tmp_path):
    plan = write_plan(tmp_path)
    job = jobs_of(plan)[0]
    job.folder.mkdir(parents=True)
    (job.folder / SUMMARY).write_text('{"method": "di')
    assert compare(plan, "--workers", "0") == 0
    assert json.loads((job.folder / SUMMARY).read_text())["method"] == "dip"


def test_foreign_file_in_the_way_costs_one_job(tmp_path):
    plan = write_plan(tmp_path, seeds=2)
    first, second = jobs_of(plan)
    first.folder.parent.mkdir(parents=True)
    first.folder.write_text("somebody else's")
    (tmp_path / "root" / "somebody").mkdir()
    assert compare(plan, "--workers", "0") == 1
    assert first.folder.read_text() == "somebody else's"
    assert failure_of(first) is not None
    assert state(second) == "finished"


def test_root_that_cannot_be_written_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    plan = write_plan(tmp_path, root=str(tmp_path / "file" / "root"))
    assert compare(plan) == 2
    assert "Cannot write to the root" in capsys.readouterr().err


def test_root_that_cannot_be_written_later_fails_the_job(tmp_path):
    job = jobs_of(write_plan(tmp_path, root=str(tmp_path / "file" / "root")))[0]
    (tmp_path / "file").write_text("")
    assert execute(job) == "failed"


def test_full_disk_is_recorded(tmp_path, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    job = jobs_of(write_plan(tmp_path))[0]
    monkeypatch.setattr(RunFolder, "write_images", full)
    assert execute(job) == "failed"
    failure = failure_of(job)
    assert failure is not None
    assert "No space left" in failure["error"]
    assert state(job) == "failed"


def test_devices_are_counted_among_those_that_are_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    runner = LocalRunner(workers=3, devices=[0, 2])
    assert [runner._environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["4", "6", "4"]
    with pytest.raises(ConfigurationError, match="shows 3"):
        LocalRunner(devices=[3])


def test_no_device_is_dealt_out_where_none_is_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigurationError, match="shows 0"):
        LocalRunner(devices=[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--workers", "-1"), "'-1' is no whole number from 0 on"),
        (("--workers", "two"), "'two' is no whole number from 0 on"),
        (("--threads", "0"), "'0' is no whole number from 1 on"),
        (("--devices", "0,a"), "'a' is no whole number from 0 on"),
        (("--devices", "-1"), "'-1' is no whole number from 0 on"),
        (("--devices", "0,2"), "CUDA device 2 is asked for, but 2 can be used here"),
    ],
)
def test_wrong_numbers_of_processes_and_devices_are_refused(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    try:
        code = compare(write_plan(tmp_path), *options)
    except SystemExit as error:  # of the parser
        code = error.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "root").exists()


def test_lock_keeps_others_out_until_released(tmp_path):
    path = tmp_path / "job.lock"
    first, second = JobLock(path), JobLock(path)
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()
    assert list(tmp_path.iterdir()) == []


def test_lock_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_: Any) -> None:
        raise PermissionError("this file system has no hard links")

    monkeypatch.setattr(os, "link", refuse)
    first, second = JobLock(tmp_path / "job.lock"), JobLock(tmp_path / "job.lock")
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert list(tmp_path.iterdir()) == []


def test_lock_of_a_dead_process_is_taken_over_at_once(tmp_path):
    path = tmp_path / "job.lock"
    code = "from pathlib import Path; from dip_lightning.locks import JobLock; import os\n"
    code += f"assert JobLock(Path({str(path)!r})).acquire(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert path.exists()
    lock = JobLock(path)
    assert not lock.held
    assert lock.acquire()


def test_lock_of_another_machine_is_taken_over_when_it_ages(tmp_path):
    path = tmp_path / "job.lock"
    path.write_text(json.dumps({"token": "x", "host": "elsewhere", "pid": 1, "started": "1"}))
    assert not JobLock(path).acquire()
    long_ago = time.time() - 1000
    os.utime(path, (long_ago, long_ago))
    assert JobLock(path).acquire()


def test_one_of_many_takes_over_a_lock_left_behind(tmp_path):
    path = tmp_path / "job.lock"
    path.write_text(json.dumps({"token": "x", "host": "elsewhere", "pid": 1, "started": "1"}))
    os.utime(path, (0, 0))
    code = (
        "import sys, time; from pathlib import Path; from dip_lightning.locks import JobLock\n"
        f"lock = JobLock(Path({str(path)!r})); sys.stdin.readline(); print(lock.acquire(), flush=True); time.sleep(1)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    outputs = [process.communicate()[0].strip() for process in processes]
    assert sorted(outputs) == [b"False"] * 5 + [b"True"]


def test_job_that_another_process_is_at_is_left_alone(tmp_path):
    job = jobs_of(write_plan(tmp_path))[0]
    lock = lock_of(job)
    assert lock.acquire()
    assert execute(job) == "busy"
    lock.release()
    assert execute(job) == "finished"
    assert execute(job) == "skipped"


@pytest.mark.parametrize(("workers", "code"), [("0", 143), ("1", 0)])
def test_job_that_sigterm_ends_goes_on_where_it_was(tmp_path, workers, code):
    config = {**with_class("Signalled", signal_number=int(signal.SIGTERM)), "checkpoint": {"seconds": 0.0}}
    plan = write_plan(tmp_path, methods=[{"name": "signalled", "config": config}])
    (job,) = jobs_of(plan)
    assert compare(plan, "--workers", workers) == code
    assert state(job) == "interrupted"
    assert failure_of(job) is None
    assert not lock_of(job).held
    assert compare(plan, "--workers", "0") == 0
    assert state(job) == "finished"


def test_interrupt_in_this_process_ends_the_comparison(tmp_path, capsys):
    config = {**with_class("Signalled", signal_number=int(signal.SIGINT)), "checkpoint": {"seconds": 0.0}}
    plan = write_plan(tmp_path, methods=[{"name": "signalled", "config": config}], seeds=2)
    handler = signal.getsignal(signal.SIGINT)
    assert compare(plan, "--workers", "0") == 130
    assert signal.getsignal(signal.SIGINT) is handler
    assert [state(job) for job in jobs_of(plan)] == ["interrupted", "new"]
    assert "goes on from the last checkpoints" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_share_one_root(tmp_path):
    alone = write_plan(tmp_path, root=str(tmp_path / "alone"), seeds=8)
    assert compare(alone, "--workers", "0") == 0
    plan = write_plan(tmp_path, seeds=8)
    both = [start(plan), start(plan)]
    outputs = [process.communicate(timeout=120)[0].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert_same(jobs_of(plan), jobs_of(alone))
    for job in jobs_of(plan):
        said = (job.folder / "log.txt").read_text()
        assert said.count("stopped by outer_steps") == 1, job.name
    assert list((tmp_path / "root" / ".jobs").iterdir()) == []


@pytest.mark.slow
def test_killed_at_random_and_started_again_gives_the_same(tmp_path):
    slow = {**with_class("Slow", outer_steps=30), "checkpoint": {"seconds": 0.2}}
    changes: dict[str, Any] = {"methods": [{"name": "slow", "config": slow}], "seeds": 4}
    alone = write_plan(tmp_path, root=str(tmp_path / "alone"), **changes)
    assert compare(alone, "--workers", "0") == 0
    plan = write_plan(tmp_path, **changes)
    moments = random.Random(0)
    finished: dict[str, int] = {}
    for _ in range(10):
        process = start(plan, "--workers", "2")
        time.sleep(moments.uniform(3, 9))
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = {job.name: (job.folder / SUMMARY).stat().st_mtime_ns for job in jobs_of(plan) if state(job) == "finished"}
        assert {name: now[name] for name in finished} == finished
        finished = now
    process = start(plan, "--workers", "2")
    assert process.wait(timeout=120) == 0
    assert_same(jobs_of(plan), jobs_of(alone))
    for job in jobs_of(plan):
        assert (job.folder / "log.txt").read_text().count("stopped by outer_steps") == 1


@pytest.mark.slow
def test_interrupt_ends_the_workers_and_the_next_start_goes_on(tmp_path):
    slow = {**with_class("Slow", outer_steps=60), "checkpoint": {"seconds": 0.1}}
    plan = write_plan(tmp_path, methods=[{"name": "slow", "config": slow}], seeds=2)
    process = start(plan, "--workers", "2")
    until = time.monotonic() + 120
    while not list((tmp_path / "root").rglob("last.ckpt")):
        assert time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=30)[0].decode()
    assert process.returncode == 130, output
    assert "goes on from the last checkpoints" in output
    assert not any(lock_of(job).held for job in jobs_of(plan))
    assert [state(job) for job in jobs_of(plan)].count("failed") == 0
    assert compare(plan, "--workers", "0") == 0
    assert not list((tmp_path / "root").rglob(FAILURE))
