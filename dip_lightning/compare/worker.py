"""The process that does jobs for the local runner: one line of JSON in, one line of JSON out.

It ends, in the middle of a job if need be, as soon as its standard input is closed: when the runner is killed, no
worker goes on writing to a run folder that the next runner will take over.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities.exceptions import SIGTERMException

from dip_lightning.compare.execute import TERMINATED, execute
from dip_lightning.compare.jobs import LOG, Job

READY = "ready"
_busy = threading.Event()


def main() -> None:
    """Do jobs until the standard input is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the runner decides
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")  # what a fit prints goes to its log
    os.dup2(2, 1)
    requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_listen, args=(requests,), daemon=True, name="requests").start()
    _prepare()
    _answer(answers, {"outcome": READY})
    while (request := requests.get()) is not None:
        started = time.monotonic()
        job = Job.from_dict(request["job"])
        try:
            with output_to(job.folder / LOG):
                outcome = execute(job, request["retry_failed"])
        except SIGTERMException:
            sys.exit(TERMINATED)
        _busy.clear()
        _free_memory()
        _answer(answers, {"outcome": outcome, "seconds": time.monotonic() - started})


def _listen(requests: queue.Queue[dict[str, Any] | None]) -> None:
    for line in sys.stdin:
        _busy.set()
        requests.put(json.loads(line))
    if _busy.is_set():
        os._exit(1)
    requests.put(None)


def _prepare() -> None:
    """Load the libraries once, with as many threads as this worker was given."""
    import torch

    import dip_lightning.cli  # noqa: F401

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def _free_memory() -> None:
    """Let a job that ran out of memory leave none of it to the next."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _answer(answers: Any, content: dict[str, Any]) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Send what is printed, also by libraries below Python, to a file; nowhere if it cannot be written.

    Args:
        path: The file, which is appended to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY)
    before = os.dup(1), os.dup(2)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, old in enumerate(before, start=1):
            os.dup2(old, number)
            os.close(old)
        os.close(log)


if __name__ == "__main__":
    main()
