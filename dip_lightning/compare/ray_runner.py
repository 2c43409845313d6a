"""The Ray runner: each job a task, on this machine or on a cluster."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dip_lightning.compare.execute import execute, record_failure
from dip_lightning.compare.jobs import LOG, Job, control
from dip_lightning.compare.progress import Display
from dip_lightning.compare.worker import output_to
from dip_lightning.errors import ConfigurationError
from dip_lightning.run_folder import SUMMARY, written_whole

_BUSY_SECONDS = 2.0
_MOST_TASKS = 10_000
_AHEAD = 4  # tasks handed over for each one that can run: enough to keep nodes busy, few enough to stay small


class RayRunner:
    """Do jobs as Ray tasks.

    A task whose worker or node dies is started again by Ray and goes on from the job's checkpoint. Where the nodes
    see the root (a shared folder), they write there and nothing is copied; where they do not, the files of the run
    folder come back through Ray.

    Args:
        address: Address of a cluster, ``auto`` for one that runs here; ``None`` starts one on this machine.
        cpus_per_job: Cores, and threads, of a job.
        gpus_per_job: GPUs of a job; a fraction shares one.
        retries: How often a job is started again after its worker is lost.
        retry_failed: Whether to try again what failed before.
    """

    def __init__(
        self,
        address: str | None = None,
        cpus_per_job: float = 1.0,
        gpus_per_job: float = 0.0,
        retries: int = 3,
        retry_failed: bool = False,
    ) -> None:
        if cpus_per_job <= 0 or gpus_per_job < 0 or retries < 0:
            raise ConfigurationError("--cpus-per-job must be positive, --gpus-per-job and --retries not negative.")
        self.address = address
        self.cpus_per_job = cpus_per_job
        self.gpus_per_job = gpus_per_job
        self.retries = retries
        self.retry_failed = retry_failed

    def run(self, jobs: Iterable[Job], display: Display) -> None:
        """Do what is not done yet.

        Args:
            jobs: The jobs; each at most once.
            display: Is told what happens.

        Raises:
            ConfigurationError: If Ray is not installed, or its cluster cannot be reached.
        """
        ray = _ray()
        started_here = not ray.is_initialized()
        if started_here:
            self._connect(ray)
        try:
            waiting = deque(replace(job, root=str(Path(job.root).resolve())) for job in jobs)
            if waiting:
                self._work(ray, waiting, display)
        finally:
            if started_here:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        try:
            ray.init(address=self.address, log_to_driver=False, logging_level="error", include_dashboard=False)
        except ValueError:  # an existing cluster decides about its dashboard itself
            ray.init(address=self.address, log_to_driver=False, logging_level="error")
        except ConnectionError as error:
            raise ConfigurationError(f"--address {self.address}: no Ray cluster answers there ({error}).") from error

    def _work(self, ray: Any, waiting: deque[Job], display: Display) -> None:
        task = ray.remote(_do).options(
            num_cpus=self.cpus_per_job,
            num_gpus=self.gpus_per_job,
            max_retries=self.retries,
            retry_exceptions=False,
            runtime_env={"env_vars": _environment(self.cpus_per_job)},
        )
        probe = _leave_probe(waiting[0])
        running: dict[Any, tuple[int, Job]] = {}
        slots = deque(range(_MOST_TASKS))
        later: deque[tuple[float, Job]] = deque()
        try:
            while waiting or running or later:
                while later and later[0][0] <= time.monotonic():
                    waiting.append(later.popleft()[1])
                while waiting and len(running) < self._most_tasks(ray):
                    slot, job = slots.popleft(), waiting.popleft()
                    running[task.remote(job.as_dict(), self.retry_failed, str(probe))] = slot, job
                    display.started(slot, job)
                for reference in _ended(ray, running):
                    slot, job = running.pop(reference)
                    slots.appendleft(slot)
                    outcome, seconds = _take(ray, reference, job)
                    display.ended(slot, job, outcome, seconds)
                    if outcome == "busy":
                        later.append((time.monotonic() + _BUSY_SECONDS, job))
                display.refresh()
        finally:
            probe.unlink(missing_ok=True)

    def _most_tasks(self, ray: Any) -> int:
        resources = ray.cluster_resources()
        fitting = resources.get("CPU", 1.0) / self.cpus_per_job
        if self.gpus_per_job:
            fitting = min(fitting, resources.get("GPU", 0.0) / self.gpus_per_job)
        return min(max(1, int(fitting)) * _AHEAD, _MOST_TASKS)


def _ended(ray: Any, running: dict[Any, Any]) -> list[Any]:
    if running:
        ready, _ = ray.wait(list(running), timeout=0.2)
        return list(ready)
    time.sleep(0.2)
    return []


def _do(values: dict[str, Any], retry_failed: bool, probe: str) -> dict[str, Any]:
    """Do a job on a node.

    Args:
        values: The job.
        retry_failed: Whether to try again what failed before.
        probe: A file that the driver has put into the root.

    Returns:
        ``outcome`` and ``seconds``; ``files`` by name, where the root is not shared.
    """
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    started = time.monotonic()
    job = Job.from_dict(values)
    if Path(probe).exists():
        with output_to(job.folder / LOG):
            outcome = execute(job, retry_failed)
        return {"outcome": outcome, "seconds": time.monotonic() - started}
    root = tempfile.mkdtemp(prefix="dip_lightning_")
    try:
        here = replace(job, root=root)
        with output_to(here.folder / LOG):
            outcome = execute(here, retry_failed)
        return {"outcome": outcome, "seconds": time.monotonic() - started, "files": _files(here.folder)}
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _files(folder: Path) -> dict[str, bytes]:
    """What a run folder holds, less its checkpoints: the job is over."""
    paths = [path for path in folder.rglob("*") if path.is_file() and "checkpoints" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _take(ray: Any, reference: Any, job: Job) -> tuple[str, float]:
    """Take a task's result; write the files that came with it, the summary last."""
    try:
        result = ray.get(reference)
    except Exception as error:  # the worker or its node was lost once too often, or the task could not be started
        record_failure(job, f"Ray gave up: {str(error).strip().splitlines()[0]}", str(error))
        return "failed", 0.0
    files: dict[str, bytes] = result.get("files") or {}
    try:
        for name in sorted(files, key=lambda name: name == SUMMARY):
            with written_whole(job.folder / name) as temporary:
                temporary.write_bytes(files[name])
    except OSError as error:
        record_failure(job, f"The root cannot be written: {error}", "")
        return "failed", float(result["seconds"])
    return str(result["outcome"]), float(result["seconds"])


def _leave_probe(job: Job) -> Path:
    """Leave a file by which a node sees whether it shares the root."""
    probe = control(job) / f"probe_{uuid.uuid4().hex}"
    probe.parent.mkdir(parents=True, exist_ok=True)
    probe.write_bytes(b"")
    return probe


def _environment(cpus: float) -> dict[str, str]:
    threads = str(max(1, int(cpus)))
    kept = {name: os.environ[name] for name in ("DIP_LIGHTNING_DATA", "DIP_LIGHTNING_CACHE") if name in os.environ}
    return {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, **kept}


def _ray() -> Any:
    with contextlib.suppress(ImportError):
        import ray

        return ray
    raise ConfigurationError("--runner ray needs Ray: pip install 'dip_lightning[ray]'.")
