"""What each of several fits side by side has beside an ordinary fit: a tie to the process that started it."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytorch_lightning as pl

#: What a process is told; it tells nothing but that it is ready.
GO, STOP, READY = "go", "stop", "ready"
GRACE_SECONDS = 20.0


def work(main: Callable[..., int], arguments: list[str], connection: Connection, first: bool) -> None:
    """Run a command line as one of several processes, and end with its exit code.

    Args:
        main: The command line, ``main(arguments, companion) -> exit code``.
        arguments: What it is given.
        connection: Pipe to the process that started this one.
        first: Whether this is the one that shows a progress bar.
    """
    sys.exit(main(arguments, companion=Companion(connection, first)))


class Companion(pl.Callback):
    """Keeps a fit in step with the process that started it: it waits for the others, and does not outlive that one.

    Args:
        connection: Pipe to that process.
        first: Whether this is the one that shows a progress bar.
    """

    def __init__(self, connection: Connection, first: bool) -> None:
        self.connection = connection
        self.first = first
        self._heard: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True, name="companion").start()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wait until all have passed their checks; end if one has not."""
        self.connection.send(READY)
        if self._heard.get() != GO:
            raise SystemExit(1)

    def _listen(self) -> None:
        try:
            while True:
                self._heard.put(self.connection.recv())
        except (EOFError, OSError):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GRACE_SECONDS)
            os._exit(128 + signal.SIGTERM)  # whatever it is that did not end
