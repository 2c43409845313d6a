"""The local runner: one process for each slot, threads divided, progress over all jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from dip_lightning.compare.execute import Outcome, execute, lock_of, record_failure
from dip_lightning.compare.jobs import Job, state
from dip_lightning.compare.progress import Display
from dip_lightning.compare.worker import READY
from dip_lightning.errors import DIPError

_POLL_SECONDS = 0.5


class LocalRunner:
    """Do jobs on this machine.

    Args:
        workers: Processes at once; 0 does the jobs in this process, one after the other, for debugging.
        threads: Threads of each worker; by default the cores that this process may use, divided among the workers.
        devices: CUDA devices to deal out to the workers, by number; by default each sees all.
        retry_failed: Whether to try again what failed before.
        wait: Whether to wait for jobs that another process is at, and to take them over if it dies.
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
        self.devices = list(devices)
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
        worker: _Worker | None = None
        while not self._stop.is_set() and (job := queue.take()) is not None:
            if worker is None:
                worker = _Worker(self._environment(slot))
                if not worker.ready(self._stop):
                    self._broken.append(worker.last_words())
                    queue.give_back(job)
                    return
            display.started(slot, job)
            answer = worker.do(job, self.retry_failed, self._stop)
            if answer is None and not self._stop.is_set():
                answer = {"outcome": "failed", "seconds": worker.seconds}
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
        if self.devices:
            variables["CUDA_VISIBLE_DEVICES"] = str(self.devices[slot % len(self.devices)])
        return {**os.environ, **variables}


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


class _Worker:
    """A worker process, seen from the runner."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-m", "dip_lightning.compare.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.seconds = 0.0
        self._answers: list[dict[str, Any] | None] = []
        self._arrived = threading.Condition()
        self._complaints: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._listen_to_complaints, daemon=True).start()

    def ready(self, stop: threading.Event) -> bool:
        """Wait for its libraries to be loaded."""
        answer = self._next(stop)
        return answer is not None and answer["outcome"] == READY

    def do(self, job: Job, retry_failed: bool, stop: threading.Event) -> dict[str, Any] | None:
        """Have a job done; ``None`` if the process died of it, or was stopped."""
        started = time.monotonic()
        request = json.dumps({"job": job.as_dict(), "retry_failed": retry_failed}, default=str)
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
        except OSError:
            return None
        answer = self._next(stop)
        self.seconds = time.monotonic() - started
        return answer

    def fate(self) -> str:
        """Say how the process ended."""
        code = self.process.wait()
        if code == -signal.SIGKILL:
            return "killed (SIGKILL): out of memory, unless somebody ended it."
        if code < 0:
            return f"ended by {signal.Signals(-code).name}. {self.last_words()}"
        return f"ended with exit code {code}. {self.last_words()}"

    def last_words(self) -> str:
        """The end of what it wrote to the standard error."""
        return "".join(self._complaints[-5:]).strip()

    def close(self) -> None:
        """Let it end; in the middle of a job, at once."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
            self.process.wait(timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()

    def _next(self, stop: threading.Event) -> dict[str, Any] | None:
        with self._arrived:
            while not self._answers and not stop.is_set():
                self._arrived.wait(0.2)
            return self._answers.pop(0) if self._answers else None

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._put(json.loads(line))
        self._put(None)

    def _put(self, answer: dict[str, Any] | None) -> None:
        with self._arrived:
            self._answers.append(answer)
            self._arrived.notify()

    def _listen_to_complaints(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._complaints = [*self._complaints[-50:], line]


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
