"""``dip-lightning compare``: work off the jobs of a comparison."""

from __future__ import annotations

import argparse
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from pytorch_lightning.utilities.exceptions import SIGTERMException

from dip_lightning.callbacks.progress import duration
from dip_lightning.compare.check import check_jobs
from dip_lightning.compare.execute import TERMINATED, failure_of
from dip_lightning.compare.jobs import COMPARISON, Job, State, expand, read_json, shard, state, write_json
from dip_lightning.compare.local import LocalRunner
from dip_lightning.compare.options import parser
from dip_lightning.compare.plan import Plan, load_plan
from dip_lightning.compare.progress import Display
from dip_lightning.devices import check_cuda_devices
from dip_lightning.errors import RunFolderError
from dip_lightning.run_folder import SUMMARY

_MOST_FAILURES_IN_EXIT_CODE = 100
INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: What follows ``compare`` on the command line.

    Returns:
        The number of jobs that failed, at most 100; 130 after Ctrl-C, 143 after SIGTERM.
    """
    options = parser().parse_args(arguments)
    plan = load_plan(options.config, options.root)
    jobs = shard(unique(expand(plan)), options.shard)
    states = {job.name: state(job) for job in jobs}
    again: set[State] = {"failed"} if options.retry_failed else set()
    open_jobs = [job for job in jobs if states[job.name] in {"new", "interrupted"} | again]
    check_jobs(open_jobs)
    if options.dry_run:
        print_plan(jobs, states, max(options.workers, 1))
        return 0
    check_cuda_devices(options.devices)
    _describe(plan)
    counts = Counter(states.values())
    print(f"{plan.name}: {len(jobs)} jobs, {_count(counts)}; {len(open_jobs)} to do. Root: {plan.root}", flush=True)
    try:
        _run(options, open_jobs)
    except (KeyboardInterrupt, SIGTERMException) as error:
        print("\nInterrupted. The same command goes on from the last checkpoints.", flush=True)
        return TERMINATED if isinstance(error, SIGTERMException) else INTERRUPTED
    return _report_failures(jobs)


def _run(options: argparse.Namespace, jobs: list[Job]) -> None:
    display = Display(len(jobs), options.quiet)
    try:
        if options.runner == "ray":
            from dip_lightning.compare.ray_runner import RayRunner

            RayRunner(
                options.address, options.cpus_per_job, options.gpus_per_job, options.retries, options.retry_failed
            ).run(jobs, display)
        else:
            LocalRunner(
                options.workers, options.threads, options.devices, options.retry_failed, not options.no_wait
            ).run(jobs, display)
    finally:
        display.close()


def unique(jobs: Iterable[Job]) -> list[Job]:
    """Leave out jobs that a grid names twice."""
    return list({job.name: job for job in jobs}.values())


def print_plan(jobs: Sequence[Job], states: dict[str, State], workers: int) -> None:
    """List jobs with what finished ones say about their time.

    Args:
        jobs: The jobs.
        states: How far each is, by name.
        workers: Jobs at once.
    """
    times = expected_seconds(jobs, states)
    known, unknown = 0.0, 0
    for job in jobs:
        done, seconds = states[job.name] == "finished", times.get(job.name)
        note = "" if done else "time unknown" if seconds is None else f"about {duration(seconds)}"
        print(f"{states[job.name]:<12} {job.name}  {note}".rstrip())
        known += 0.0 if done else seconds or 0.0
        unknown += not done and seconds is None
    more = f", and {unknown} whose time is unknown" if unknown else ""
    print(f"{len(jobs)} jobs: {_count(Counter(states.values()))}. About {duration(known / workers)} to go{more}.")


def expected_seconds(jobs: Sequence[Job], states: dict[str, State]) -> dict[str, float]:
    """Estimate the time of unfinished jobs: the median of the same method on the same data, or on any.

    Args:
        jobs: The jobs.
        states: How far each is, by name.

    Returns:
        Seconds by name; jobs of which nothing is known are left out.
    """
    same: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    for job in jobs:
        if states[job.name] == "finished":
            seconds = (read_json(job.folder / SUMMARY) or {}).get("seconds")
            if isinstance(seconds, int | float):
                same[job.method, job.data].append(seconds)
                same[(job.method,)].append(seconds)
    medians = {key: statistics.median(values) for key, values in same.items()}
    found = {job.name: medians.get((job.method, job.data), medians.get((job.method,))) for job in jobs}
    return {name: seconds for name, seconds in found.items() if seconds is not None and states[name] != "finished"}


def _describe(plan: Plan) -> None:
    """Say in the root what it holds; the report reads it."""
    before = read_json(plan.root / COMPARISON) or {}  # several comparisons may share a root, one for each task
    names = [entry.name for entry in plan.methods + plan.baselines] + list(before.get("methods") or [])
    reference = plan.reference or before.get("reference")
    content = {"name": plan.name, "methods": list(dict.fromkeys(names)), "reference": reference}
    try:
        write_json(plan.root / COMPARISON, content)
    except OSError as error:
        raise RunFolderError(
            f"Cannot write to the root {plan.root} ({error.strerror}): set `root:` or --root to another folder."
        ) from error


def _report_failures(jobs: Sequence[Job]) -> int:
    states = {job.name: state(job) for job in jobs}
    failed = [job for job in jobs if states[job.name] == "failed"]
    print(f"{len(jobs)} jobs: {_count(Counter(states.values()))}.")
    for job in failed[:20]:
        print(f"  failed: {job.name}: {_first_line((failure_of(job) or {}).get('error', 'unknown'))}")
    if failed:
        print("  --retry-failed tries them again; failure.json in each run folder has the traceback.")
    return min(len(failed), _MOST_FAILURES_IN_EXIT_CODE)


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0][:300]


def _count(counts: Counter[State]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
