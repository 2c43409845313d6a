"""One job, done in this process: lock, reconstruct, record."""

from __future__ import annotations

import os
import shutil
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml
from pytorch_lightning.utilities.exceptions import SIGTERMException

from dip_lightning.cli_errors import explanation
from dip_lightning.compare.config_tree import Tree, get_key, set_key
from dip_lightning.compare.jobs import (
    FAILURE,
    JOB,
    Job,
    control,
    failure_beside,
    read_json,
    run_identity,
    safe,
    state,
    write_json,
)
from dip_lightning.locks import JobLock
from dip_lightning.run_folder import CHECKPOINT, RunFolder

Outcome = Literal["finished", "failed", "busy", "skipped"]
#: Exit code of a process that SIGTERM ended, as a shell has it.
TERMINATED = 128 + signal.SIGTERM
FIT_CONFIG = "job.yaml"


def lock_of(job: Job) -> JobLock:
    """The lock of a job."""
    return JobLock(control(job) / f"{safe(job.method)}_{job.key}.lock")


def execute(job: Job, retry_failed: bool = False) -> Outcome:
    """Do a job, unless it is done or another process is at it.

    Whatever goes wrong is recorded in the run folder; only what asks this process to end is raised.

    Args:
        job: The job.
        retry_failed: Whether to try again, from the beginning, what failed before.

    Returns:
        ``finished``, ``failed``, ``busy`` (another process has it) or ``skipped`` (it was done, or failed, before).

    Raises:
        KeyboardInterrupt: On Ctrl-C. The job stays as it is, and goes on from its checkpoint when it is done again.
        SIGTERMException: On SIGTERM (a time limit, a cancelled job) during a fit; likewise.
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
        with _seed_kept(), _interrupt_kept():
            _run_fit(job) if job.kind == "fit" else _run_baseline(job)
    except SIGTERMException:  # a SystemExit, but the job is not at fault
        raise
    except (Exception, SystemExit) as error:
        record_failure(job, reason(error), traceback.format_exc())
        return "failed"
    if state(job) != "finished":
        record_failure(job, "The fit ended without a summary.json.", "")
        return "failed"
    return "finished"


def _run_fit(job: Job) -> None:
    from dip_lightning.cli import run

    folder = RunFolder(job.folder)
    folder.write_text(FIT_CONFIG, yaml.safe_dump(with_wandb_labels(job), sort_keys=False, allow_unicode=True))
    arguments = ["fit", "--config", str(job.folder / FIT_CONFIG), "--record.run_dir", str(job.folder)]
    arguments += ["--trainer.default_root_dir", str(job.folder), "--record.overwrite", "true"]
    if get_key(job.tree, "trainer.devices") == "auto":  # which would deal measurements out to all that there are
        arguments += ["--trainer.devices", "1"]
    run([*arguments, "--ckpt_path", "last"] if folder.checkpoint.exists() else arguments)


def _run_baseline(job: Job) -> None:
    from dip_lightning.compare.baselines import run_baseline

    run_baseline(job.tree, job.folder, name=job.method, seed=job.seed)


def reason(error: BaseException) -> str:
    """Say why a job failed, as the command line would say it of a single fit.

    Args:
        error: What was raised.
    """
    return explanation(error) or str(error).strip() or type(error).__name__


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
def _seed_kept() -> Iterator[None]:
    """Put back the seed that Lightning leaves in the environment."""
    before = os.environ.get("PL_GLOBAL_SEED")
    try:
        yield
    finally:
        os.environ.pop("PL_GLOBAL_SEED", None)
        if before is not None:
            os.environ["PL_GLOBAL_SEED"] = before


@contextmanager
def _interrupt_kept() -> Iterator[None]:
    """Make Ctrl-C again of the ``SystemExit`` that Lightning makes of it, ignoring Ctrl-C from then on."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt from error


def with_wandb_labels(job: Job) -> Tree:
    """Tell each ``WandbLogger`` of a job's configuration where its run belongs.

    In the configuration, not by environment variables: wandb reads those once in a process, which does many jobs.

    Args:
        job: The job.

    Returns:
        The configuration; as it was where no such logger is named. What it says itself stays.
    """
    trainer = job.tree.get("trainer")
    logger = trainer.get("logger") if isinstance(trainer, dict) else None
    if not logger or isinstance(logger, bool):
        return job.tree
    loggers = [_labelled(item, job) for item in (logger if isinstance(logger, list) else [logger])]
    return set_key(job.tree, "trainer.logger", loggers if isinstance(logger, list) else loggers[0])


def _labelled(logger: Any, job: Job) -> Any:
    logger = {"class_path": logger} if isinstance(logger, str) else logger
    if not isinstance(logger, dict) or not str(logger.get("class_path", "")).endswith("WandbLogger"):
        return logger
    # With its own id a job that goes on after an interruption goes on with its W&B run.
    identity = {"id": run_identity(job.comparison, job.folder)}
    labels = {"group": job.comparison, "job_type": job.method[:64], "tags": [(job.data or "data")[:64]]}
    return {
        **logger,
        "init_args": {**identity, **(logger.get("init_args") or {})},
        "dict_kwargs": {**labels, **(logger.get("dict_kwargs") or {})},
    }
