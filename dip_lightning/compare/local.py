"""The local runner: one process for each slot, threads divided, progress over all jobs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence

from dip_lightning.compare.execute import Outcome, execute, lock_of, record_failure
from dip_lightning.compare.jobs import Job, state
from dip_lightning.compare.progress import Display
from dip_lightning.compare.worker_process import WorkerProcess
from dip_lightning.cores import usable_cores
from dip_lightning.devices import cuda_environment
from dip_lightning.errors import DIPError

_POLL_SECONDS = 0.5


class LocalRunner:
    """Do jobs on this machine.

    Args:
        workers: Processes at once; 0 does the jobs in this process, one after the other, for debugging.
        threads: Threads of each worker; by default the cores that this process may use, divided among the workers.
        devices: CUDA devices to deal out to the workers, by number among those that this process sees; by default each
            sees all.
        retry_failed: Whether to try again what failed before.
        wait: Whether to wait for jobs that another process is at, and to take them over if it dies.

    Raises:
        ConfigurationError: If this process does not see one of the devices.
    """

    def __init__(
        self,
        workers: int = 1,
        threads: int | None = None,
        devices: Sequence[int] = (),
        retry_failed: bool = False,
        wait: bool = True,
    ) -> None:
        self.workers = workers
        self.threads = threads or max(1, usable_cores() // max(workers, 1))
        self._devices = [cuda_environment(device) for device in devices]
        self.retry_failed = retry_failed
        self.wait = wait
        self._broken: list[str] = []
        self._stop = threading.Event()

    def run(self, jobs: Iterable[Job], display: Display) -> None:
        """Do what is not done yet.

        Args:
            jobs: The jobs; each at most once.
            display: Is told what happens.

        Raises:
            DIPError: If no worker can be started.
            KeyboardInterrupt: On Ctrl-C.
            SIGTERMException: On SIGTERM during a fit in this process.
        """
        waiting = list(jobs)
        while waiting and not self._stop.is_set():
            busy: list[Job] = []
            queue = _Queue(waiting)
            if self.workers == 0:
                self._work_here(queue, busy, display)
            else:
                self._work(queue, busy, display)
            waiting = self._still_busy(busy, display) if self.wait else []

    def _work_here(self, queue: _Queue, busy: list[Job], display: Display) -> None:
        while (job := queue.take()) is not None:
            started = time.monotonic()
            display.started(0, job)
            outcome = execute(job, self.retry_failed)
            self._note(job, outcome, time.monotonic() - started, busy, display, 0)

    def _work(self, queue: _Queue, busy: list[Job], display: Display) -> None:
        slots = range(min(self.workers, len(queue)))
        threads = [
            threading.Thread(target=self._serve, args=(slot, queue, busy, display), name=f"slot {slot}")
            for slot in slots
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
                    display.refresh()
        except KeyboardInterrupt:
            self._stop.set()
            raise
        if self._broken and len(queue):
            raise DIPError(f"A worker could not be started: {self._broken[0]}")

    def _serve(self, slot: int, queue: _Queue, busy: list[Job], display: Display) -> None:
        worker: WorkerProcess | None = None
        while not self._stop.is_set() and (job := queue.take()) is not None:
            if worker is None:
                worker = WorkerProcess(self._environment(slot))
                if not worker.ready(self._stop):
                    self._broken.append(worker.last_words())
                    queue.give_back(job)
                    return
            display.started(slot, job)
            answer = worker.do(job, self.retry_failed, self._stop)
            if answer is None and not self._stop.is_set():
                answer = {"outcome": "interrupted" if worker.terminated else "failed", "seconds": worker.seconds}
                if not worker.terminated:
                    record_failure(job, f"The process was {worker.fate()}", "")
                worker = None
            if answer is not None:
                self._note(job, answer["outcome"], answer["seconds"], busy, display, slot)
        if worker is not None:
            worker.close()

    def _note(self, job: Job, outcome: Outcome, seconds: float, busy: list[Job], display: Display, slot: int) -> None:
        if outcome == "busy":
            busy.append(job)
        display.ended(slot, job, outcome, seconds)

    def _still_busy(self, busy: list[Job], display: Display) -> list[Job]:
        """Wait until a job of another process is done or left behind."""
        while busy and not self._stop.is_set():
            free = [job for job in busy if not lock_of(job).held]
            if free:
                done = [job for job in free if state(job) == "finished"]
                for job in done:
                    display.ended(-1, job, "skipped", 0.0)
                busy = [job for job in busy if job not in done]
                return busy
            time.sleep(_POLL_SECONDS)
            display.refresh()
        return []

    def _environment(self, slot: int) -> dict[str, str]:
        count = str(self.threads)
        variables = {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count}
        device = self._devices[slot % len(self._devices)] if self._devices else {}
        return {**os.environ, **variables, **device}


class _Queue:
    """Jobs that several threads take from."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = list(jobs)[::-1]
        self._lock = threading.Lock()

    def take(self) -> Job | None:
        with self._lock:
            return self._jobs.pop() if self._jobs else None

    def give_back(self, job: Job) -> None:
        with self._lock:
            self._jobs.append(job)

    def __len__(self) -> int:
        return len(self._jobs)
