"""A process that does jobs, seen from the one that deals them out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from dip_lightning.compare.execute import TERMINATED
from dip_lightning.compare.jobs import Job
from dip_lightning.compare.worker import READY


class WorkerProcess:
    """A worker process, seen from the runner: lines of JSON go in and come out.

    Args:
        environment: Its environment variables.
    """

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
        """Wait for its libraries to be loaded.

        Args:
            stop: Ends the waiting.

        Returns:
            Whether it can be given jobs.
        """
        answer = self._next(stop)
        return answer is not None and answer["outcome"] == READY

    def do(self, job: Job, retry_failed: bool, stop: threading.Event) -> dict[str, Any] | None:
        """Have a job done.

        Args:
            job: The job.
            retry_failed: Whether to try again what failed before.
            stop: Ends the waiting.

        Returns:
            ``outcome`` and ``seconds``; ``None`` if the process died of it, or was stopped.
        """
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

    @property
    def terminated(self) -> bool:
        """Whether SIGTERM ended it: somebody wants the work to stop, and the job is not at fault."""
        return self.process.wait() in {-signal.SIGTERM, TERMINATED}

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
