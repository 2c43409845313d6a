"""``--trainer.devices N``: different measurements reconstructed side by side, one process a device.

Each process is the fit that would run alone, given its device and its index; nothing is exchanged but the word to
start. Gradients of different measurements have nothing in common, so neither DDP nor its collectives are involved.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import wait
from typing import Any

from dip_lightning.companion import GO, GRACE_SECONDS, STOP, work
from dip_lightning.cores import usable_cores
from dip_lightning.shares import Share


class FitProcess:
    """A process with its share.

    Args:
        main: The command line, ``main(arguments, companion) -> exit code``.
        arguments: The user's arguments.
        share: What is this process's own.
        first: Whether it is the one that shows a progress bar.
    """

    def __init__(self, main: Callable[..., int], arguments: Sequence[str], share: Share, first: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.share = share
        self.connection, other = context.Pipe()
        told = [*arguments, *share.arguments]
        self.process = context.Process(target=work, args=(main, told, other, first), name=f"index{share.index}")
        with _variables(share.environment):
            self.process.start()
        other.close()  # so that the end of either process closes the pipe

    @property
    def exit_code(self) -> int:
        """How the process ended; as a shell has it, 128 and more for a signal."""
        self.process.join()
        code = self.process.exitcode or 0
        return code if code >= 0 else 128 - code

    def tell(self, word: str) -> None:
        """Say ``go`` or ``stop``, if there is still somebody to hear it."""
        with contextlib.suppress(OSError):
            self.connection.send(word)


def run_side_by_side(main: Callable[..., int], arguments: Sequence[str], dealt: Sequence[Share]) -> int:
    """Run a command line once for each share. Fits start together, when all have passed their checks, or not at all.

    What fails later does not end the others: they have nothing to do with it.

    Args:
        main: The command line, ``main(arguments, companion) -> exit code``; importable by name.
        arguments: The user's arguments.
        dealt: The shares.

    Returns:
        0, or the exit code of the first that failed; 130 after an interrupt, which ends all.
    """
    with _variables(_threads_for(len(dealt))):
        fits = [FitProcess(main, arguments, share, first=share is dealt[0]) for share in dealt]
    try:
        refused = _all_ready(fits)
        for fit in fits:
            fit.tell(STOP if refused else GO)
        failed = refused or [fit for fit in fits if fit.exit_code]
        for fit in fits:
            fit.process.join()
    except KeyboardInterrupt:
        for fit in fits:  # one from the terminal has reached them already; the closed pipe ends the others
            fit.connection.close()
        for fit in fits:
            fit.process.join(GRACE_SECONDS + 5)
        return 128 + signal.SIGINT
    if failed:
        _say(failed, fits, started=not refused)
    return failed[0].exit_code if failed else 0


def _all_ready(fits: Sequence[FitProcess]) -> list[FitProcess]:
    """Wait until each is about to take its first step or has ended; give those that failed before."""
    waiting: dict[Any, FitProcess] = {fit.connection: fit for fit in fits}
    refused: list[FitProcess] = []
    while waiting and not refused:
        for connection in wait(list(waiting)):
            fit = waiting.pop(connection)
            try:
                fit.connection.recv()
            except (EOFError, OSError):
                refused += [fit] if fit.exit_code else []
    return refused


def _say(failed: Sequence[FitProcess], fits: Sequence[FitProcess], started: bool) -> None:
    indices = ", ".join(str(fit.share.index) for fit in failed)
    asked = ", ".join(str(fit.share.index) for fit in fits)
    rest = f"the others of {asked} have ended" if started else f"nothing of {asked} was started"
    print(f"dip-lightning: error: what was asked for at data.index {indices} failed; {rest}.", file=sys.stderr)


def _threads_for(processes: int) -> dict[str, str]:
    """Share the cores out, unless the user has said how many threads there are."""
    threads = max(usable_cores() // processes, 1)
    return {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(threads)}


@contextlib.contextmanager
def _variables(added: Mapping[str, str]) -> Iterator[None]:
    """Add variables to the environment that processes are started with."""
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
