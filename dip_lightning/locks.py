"""Locks that let several processes, on one machine or many, share the jobs under one root."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 120.0


class JobLock:
    """A file that exists while a process works on a job.

    It is created exclusively, which is atomic on local and on network file systems, and its modification time is
    renewed while its owner lives. A lock whose process is gone from this machine, or that another machine has not
    renewed for ``stale_seconds``, is taken over.

    Args:
        path: The lock's file.
        stale_seconds: Age after which another machine's lock counts as left behind.
    """

    def __init__(self, path: Path, stale_seconds: float = STALE_SECONDS) -> None:
        self.path = path
        self.stale_seconds = stale_seconds
        self.token = uuid.uuid4().hex
        self._released = threading.Event()

    def acquire(self) -> bool:
        """Take the lock if nobody has it.

        Returns:
            Whether it was taken.

        Raises:
            OSError: If the folder cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self._create() and not (self._left_behind() and self._take_over()):
            return False
        self._released.clear()
        threading.Thread(target=self._beat, daemon=True, name="job-lock").start()
        return True

    def release(self) -> None:
        """Give the lock back."""
        self._released.set()
        if (_content(self.path) or {}).get("token") == self.token:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    @property
    def held(self) -> bool:
        """Whether a living process has the lock."""
        return self.path.exists() and not self._left_behind()

    def _create(self) -> bool:
        # Written beside and linked into place: whoever sees the lock sees its owner.
        draft = self.path.with_name(f".{self.path.name}.{self.token}")
        owner = {
            "token": self.token,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _process(os.getpid()).get("started"),
        }
        try:
            draft.write_text(json.dumps(owner), encoding="utf-8")
            try:
                os.link(draft, self.path)
            except FileExistsError:
                raise
            except OSError:  # a file system without hard links: for a moment others see a lock without an owner
                with self.path.open("x", encoding="utf-8") as file:
                    file.write(json.dumps(owner))
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        return True

    def _left_behind(self) -> bool:
        owner = _content(self.path)
        if owner is None:  # broken: nothing that this class writes
            return _age(self.path) > self.stale_seconds
        if owner.get("host") == socket.gethostname():
            return not _alive(int(owner["pid"]), owner.get("started"))
        return _age(self.path) > self.stale_seconds

    def _take_over(self) -> bool:
        """Remove a lock left behind and take it; a second file makes sure that one process does so at a time."""
        guard = self.path.with_name(self.path.name + ".takeover")
        if _age(guard) > self.stale_seconds:
            guard.unlink(missing_ok=True)
        try:
            os.close(os.open(guard, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        try:
            if self.path.exists() and not self._left_behind():
                return False
            self.path.unlink(missing_ok=True)
            return self._create()
        finally:
            guard.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self.path)


def _content(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and isinstance(content.get("pid"), int) else None


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _alive(pid: int, started: str | None) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    now = _process(pid)
    if not now or started is None:
        return True
    return now["state"] not in "ZX" and now["started"] == started  # the number may belong to a younger process


def _process(pid: int) -> dict[str, str]:
    """State of a process and when it started, in ticks since boot; empty where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return {}
    return {"state": fields[0], "started": fields[19]}


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Let one process at a time do something.

    Args:
        lock: A file that they all know.
    """
    held = JobLock(lock)
    while not held.acquire():
        time.sleep(0.05)
    try:
        yield
    finally:
        held.release()
