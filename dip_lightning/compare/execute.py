"""One job, done in this process: lock, reconstruct, record."""

from __future__ import annotations

import os
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml

from dip_lightning.compare.jobs import FAILURE, JOB, Job, control, failure_beside, read_json, safe, state, write_json
from dip_lightning.compare.locks import JobLock
from dip_lightning.run_folder import CHECKPOINT, RunFolder

Outcome = Literal["finished", "failed", "busy", "skipped"]
FIT_CONFIG = "job.yaml"


def lock_of(job: Job) -> JobLock:
    """The lock of a job."""
    return JobLock(control(job) / f"{safe(job.method)}_{job.key}.lock")


def execute(job: Job, retry_failed: bool = False) -> Outcome:
    """Do a job, unless it is done or another process is at it.

    Whatever goes wrong is recorded in the run folder; nothing is raised but ``KeyboardInterrupt``.

    Args:
        job: The job.
        retry_failed: Whether to try again, from the beginning, what failed before.

    Returns:
        ``finished``, ``failed``, ``busy`` (another process has it) or ``skipped`` (it was done, or failed, before).
    """
    lock = lock_of(job)
    try:
        if not lock.acquire():
            return "busy"
    except OSError as error:
        record_failure(job, f"The root {job.root} cannot be written: {error.strerror}.", traceback.format_exc())
        return "failed"
    try:
        before = state(job)  # only now: another process may have finished it a moment ago
        if before == "finished" or (before == "failed" and not retry_failed):
            return "skipped"
        return _attempt(job, again=before == "failed")
    finally:
        lock.release()


def _attempt(job: Job, again: bool) -> Outcome:
    try:
        if again:
            _forget(job)
        write_json(job.folder / JOB, job.as_dict())
        with _environment(job):
            _run_fit(job) if job.kind == "fit" else _run_baseline(job)
    except (Exception, SystemExit) as error:
        message = str(error).strip() or type(error).__name__
        record_failure(job, message, traceback.format_exc())
        return "failed"
    if state(job) != "finished":
        record_failure(job, "The fit ended without a summary.json.", "")
        return "failed"
    return "finished"


def _run_fit(job: Job) -> None:
    from dip_lightning.cli import run

    folder = RunFolder(job.folder)
    folder.write_text(FIT_CONFIG, yaml.safe_dump(job.tree, sort_keys=False, allow_unicode=True))
    arguments = ["fit", "--config", str(job.folder / FIT_CONFIG), "--record.run_dir", str(job.folder)]
    arguments += ["--trainer.default_root_dir", str(job.folder), "--record.overwrite", "true"]
    run([*arguments, "--ckpt_path", "last"] if folder.checkpoint.exists() else arguments)


def _run_baseline(job: Job) -> None:
    from dip_lightning.compare.baselines import run_baseline

    run_baseline(job.tree, job.folder, name=job.method, seed=job.seed)


def record_failure(job: Job, message: str, trace: str) -> None:
    """Record why a job failed: in its run folder, or beside it, or, on a disk that takes nothing, not at all.

    Args:
        job: The job.
        message: What to say in one line.
        trace: The traceback.
    """
    content = {**job.as_dict(), "error": message, "traceback": trace, "host": os.uname().nodename}
    for path in (job.folder / FAILURE, failure_beside(job)):
        try:
            write_json(path, content)
        except OSError:
            continue
        return


def failure_of(job: Job) -> dict[str, Any] | None:
    """What :func:`record_failure` recorded, if anything."""
    return read_json(job.folder / FAILURE) or read_json(failure_beside(job))


def _forget(job: Job) -> None:
    """Begin anew: what failed may have failed because of its checkpoint."""
    for path in (job.folder / FAILURE, failure_beside(job), job.folder / CHECKPOINT):
        path.unlink(missing_ok=True)
    shutil.rmtree(job.folder / Path(CHECKPOINT).parent, ignore_errors=True)


@contextmanager
def _environment(job: Job) -> Iterator[None]:
    """Tell a ``WandbLogger`` where the run belongs; put the environment back afterwards."""
    task = job.data or "task"
    wanted = {"WANDB_RUN_GROUP": job.comparison, "WANDB_JOB_TYPE": job.method, "WANDB_TAGS": task}
    before = {name: os.environ.get(name) for name in [*wanted, "PL_GLOBAL_SEED"]}
    os.environ.update({name: value for name, value in wanted.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
