"""Mistakes in the configurations of a comparison, found before its first job starts."""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache

from jsonargparse import Namespace
from pytorch_lightning.cli import ArgsType, LightningArgumentParser

from dip_lightning.cli import DIPCLI
from dip_lightning.compare.baselines.run import parse_baseline
from dip_lightning.compare.config_tree import Tree, without
from dip_lightning.compare.execute import reason
from dip_lightning.compare.jobs import Job
from dip_lightning.errors import ConfigurationError


class _FitParser(DIPCLI):
    """The parser of ``dip-lightning fit``, for configurations that are at hand; nothing is built from them."""

    def __init__(self) -> None:
        super().__init__(save_config_callback=None, parser_kwargs={"exit_on_error": False}, args=[])

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Leave the command line alone: there is none."""
        self.config = Namespace({"subcommand": "fit", "fit.seed_everything": False})  # type: ignore[no-untyped-call]

    def before_instantiate_classes(self) -> None:
        """Do nothing."""

    def instantiate_classes(self) -> None:
        """Build nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing."""

    def parse(self, tree: Tree) -> None:
        """Parse a configuration, and leave it as it is: the parser puts its own objects into lists that it is given."""
        self.parser.parse_object({"subcommand": "fit", "fit": copy.deepcopy(tree)})


def check_jobs(jobs: Iterable[Job]) -> None:
    """Parse the configurations of jobs, of each method and of each source of data once; build nothing from them.

    Args:
        jobs: What is to be done.

    Raises:
        ConfigurationError: If one cannot be parsed; the message has a line for each mistake.
    """
    fit_parser = cache(_FitParser)
    seen: set[str] = set()
    mistakes: defaultdict[str, list[Job]] = defaultdict(list)
    for job in {(job.kind, job.method, job.data): job for job in jobs}.values():
        parts = _parts(job)
        if parts <= seen:
            continue
        mistake = _mistake(job, fit_parser)
        if mistake is None:
            seen |= parts
        else:
            mistakes[mistake].append(job)
    if mistakes:
        lines = [_line(mistake, wrong) for mistake, wrong in mistakes.items()]
        raise ConfigurationError("\n".join(["Nothing was started, for there are wrong configurations:", *lines]))


def _parts(job: Job) -> set[str]:
    """What can be wrong by itself; most jobs share their method with some jobs and their data with others."""
    method = without(without(job.tree, ("data",)), ("seed_everything",))
    return {json.dumps([job.kind, part], default=str) for part in (method, job.tree["data"])}


def _line(mistake: str, jobs: list[Job]) -> str:
    name = jobs[0].method + (f" on {jobs[0].data}" if jobs[0].data else "")
    return f"  {name}{f' and {len(jobs) - 1} more' if len(jobs) > 1 else ''}: {mistake}"


def _mistake(job: Job, fit_parser: Callable[[], _FitParser]) -> str | None:
    try:
        if job.kind == "fit":
            fit_parser().parse(job.tree)
        else:
            parse_baseline(job.tree)
    except Exception as error:  # whatever the modules raise that a class path names
        return reason(error)
    return None
