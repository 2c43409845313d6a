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
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.accelerators import CPUAccelerator, CUDAAccelerator

from dip_lightning.companion import GO, GRACE_SECONDS, STOP, work
from dip_lightning.compare.locks import JobLock
from dip_lightning.cores import usable_cores
from dip_lightning.devices import cuda_environment
from dip_lightning.errors import ConfigurationError, naming


@dataclass(frozen=True)
class Share:
    """What one of the processes reconstructs, and where.

    Attributes:
        index: First measurement of its group.
        arguments: What it is told beside the user's arguments.
        environment: What it finds in its environment beside what is there: the one CUDA device that it sees.
    """

    index: int
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def shares(config: Any) -> list[Share]:
    """Deal the measurements from ``data.index`` on to the devices, ``data.batch`` to each.

    Args:
        config: The resolved configuration of a command: ``trainer``, ``data``, ``record``, ``ckpt_path``.

    Returns:
        One share a device; none where there is one device, and everything happens in this process.

    Raises:
        ConfigurationError: If the configuration cannot be dealt out.
    """
    if config.trainer.num_nodes != 1:  # with one device as well Lightning would wait for the other machines
        raise ConfigurationError(
            f"trainer.num_nodes={config.trainer.num_nodes}: a fit runs on one machine; for several, see "
            "docs/cluster.md."
        )
    places = _places(config.trainer)
    if len(places) < 2:
        return []
    _check(config, len(places))
    data = config.data.init_args
    indices = [data.index + number * data.get("batch", 1) for number in range(len(places))]
    run_dir = config.record.run_dir
    return [
        Share(
            index,
            (
                f"--trainer.devices={devices}",
                f"--data.index={index}",
                *([] if run_dir is None else [f"--record.run_dir={os.path.join(run_dir, f'index{index}')}"]),
            ),
            environment,
        )
        for index, (devices, environment) in zip(indices, places, strict=True)
    ]


def _places(trainer: Any) -> list[tuple[str, dict[str, str]]]:
    """What each process says for ``trainer.devices``, and what is added to its environment."""
    if str(trainer.devices) == "1":
        return [("1", {})]
    silent: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    with naming("trainer"):
        probe = pl.Trainer(
            accelerator=trainer.accelerator, devices=trainer.devices, enable_model_summary=False, **silent
        )
    if isinstance(probe.accelerator, CPUAccelerator):
        return [("1", {})] * probe.num_devices
    if isinstance(probe.accelerator, CUDAAccelerator):
        # One that sees all devices takes memory on all of them as soon as deepinv is imported.
        return [("1", cuda_environment(device)) for device in probe.device_ids]
    return [(f"[{device}]", {}) for device in probe.device_ids]


def _check(config: Any, devices: int) -> None:
    where = f"trainer.devices={config.trainer.devices} reconstructs {devices} measurements in {devices} processes"
    if config.trainer.strategy != "auto":
        raise ConfigurationError(f"{where}, which exchange nothing: leave trainer.strategy at auto.")
    if "index" not in config.data.init_args:
        raise ConfigurationError(f"{where}, but {config.data.class_path} has no option 'index' to tell them apart.")
    if config.get("ckpt_path") not in (None, "last"):
        raise ConfigurationError(f"{where}: only --ckpt_path last gives each its own checkpoint.")
    for logger in _listed(config.trainer.logger):
        given = logger.get("init_args") if hasattr(logger, "get") else None
        for name in ("id", "version"):
            if given is not None and given.get(name) is not None:
                raise ConfigurationError(f"{where}, each with a logger of its own: leave out the logger's {name}.")


def _listed(logger: Any) -> list[Any]:
    return logger if isinstance(logger, list) else [logger]


class Member:
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
        members = [Member(main, arguments, share, first=share is dealt[0]) for share in dealt]
    try:
        refused = _all_ready(members)
        for member in members:
            member.tell(STOP if refused else GO)
        failed = refused or [member for member in members if member.exit_code]
        for member in members:
            member.process.join()
    except KeyboardInterrupt:
        for member in members:  # one from the terminal has reached them already; the closed pipe ends the others
            member.connection.close()
        for member in members:
            member.process.join(GRACE_SECONDS + 5)
        return 128 + signal.SIGINT
    if failed:
        _say(failed, members, started=not refused)
    return failed[0].exit_code if failed else 0


def _all_ready(members: Sequence[Member]) -> list[Member]:
    """Wait until each is about to take its first step or has ended; give those that failed before."""
    waiting: dict[Any, Member] = {member.connection: member for member in members}
    refused: list[Member] = []
    while waiting and not refused:
        for connection in wait(list(waiting)):
            member = waiting.pop(connection)
            try:
                member.connection.recv()
            except (EOFError, OSError):
                refused += [member] if member.exit_code else []
    return refused


def _say(failed: Sequence[Member], members: Sequence[Member], started: bool) -> None:
    indices = ", ".join(str(member.share.index) for member in failed)
    asked = ", ".join(str(member.share.index) for member in members)
    rest = f"the others of {asked} have ended" if started else f"nothing of {asked} was started"
    print(f"dip-lightning: error: what was asked for at data.index {indices} failed; {rest}.", file=sys.stderr)


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
