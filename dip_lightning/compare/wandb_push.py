"""``dip-lightning wandb``: push a finished comparison to Weights & Biases, also one computed without it."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dip_lightning.callbacks.wandb_run import server_unreachable
from dip_lightning.compare.jobs import COMPARISON, read_json, run_identity, write_json
from dip_lightning.compare.report.collect import Run, collect, read_curve
from dip_lightning.compare.report.images import displayed_levels
from dip_lightning.compare.report.statistics import tables
from dip_lightning.errors import ConfigurationError
from dip_lightning.records import summary_row
from dip_lightning.run_folder import RECONSTRUCTION

#: What has been pushed, by run id; beside the locks in the root.
LEDGER = ".jobs/wandb.json"
_ROWS_WITH_IMAGES = 200


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: What follows ``wandb`` on the command line.

    Returns:
        0.
    """
    options = _parser().parse_args(arguments)
    pushed, known = push(options.root, options.project, options.entity, options.mode, options.name)
    print(f"{pushed} runs pushed, {known} were there already.")
    if options.mode == "offline":
        print(f"Upload them with: wandb sync --include-offline {options.root / 'wandb' / 'offline-run-*'}")
    elif options.workspace:
        from dip_lightning.compare.wandb_workspace import save_workspace

        print(f"Workspace: {save_workspace(options.project, options.entity, _tasks(options.root))}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dip-lightning wandb", description="Push finished runs to Weights & Biases, each once."
    )
    parser.add_argument("root", type=Path, help="folder of run folders, at any depth")
    parser.add_argument("--project", default="dip-lightning")
    parser.add_argument("--entity")
    parser.add_argument("--name", help="name of the comparison, and group of all runs; default: each comparison's own")
    parser.add_argument("--mode", choices=("online", "offline"), default="online")
    parser.add_argument("--workspace", action="store_true", help="also save a workspace that compares the methods")
    return parser


_UNREACHABLE = "W&B cannot be reached ({}). Push with --mode offline and upload later."


def push(
    root: Path, project: str, entity: str | None = None, mode: str = "online", name: str | None = None
) -> tuple[int, int]:
    """Push every finished run and one table of them all.

    A run's id depends on nothing but what it is, so that pushing again changes nothing: what is in the ledger of the
    root, or on the server, with the same result is left alone.

    Args:
        root: Folder of run folders.
        project: W&B's project.
        entity: W&B's entity, or the user's own.
        mode: ``online`` or ``offline``.
        name: Name of the comparison and group of all runs; by default each job's run is in the group of its own.

    Returns:
        How many runs were pushed, and how many were there already.

    Raises:
        RunFolderError: If there are no runs.
        ConfigurationError: If W&B cannot be reached.
    """
    if mode == "online" and (reason := server_unreachable()) is not None:
        raise ConfigurationError(_UNREACHABLE.format(reason))
    runs, _ = collect(root)
    group = name or str((read_json(root / COMPARISON) or {}).get("name") or root.resolve().name)
    common = {"project": project, "entity": entity, "group": group, "mode": mode, "dir": str(root)}
    place = "/".join(filter(None, (mode, entity, project)))
    ledger = read_json(root / LEDGER) or {}
    pushed = 0
    for run in runs:
        key, digest = f"{place}/{run_id(group, run)}", _digest(run)
        if ledger.get(key) != digest:
            _push_run(run, run_id(group, run), digest, {**common, "group": name or run.comparison or group})
            pushed += 1
            write_json(root / LEDGER, ledger := {**ledger, key: digest})
    key, digest = f"{place}/{group}/comparison", _hash([_digest(run) for run in runs])
    if ledger.get(key) != digest:
        _push_table(runs, _hash([group, "comparison"]), common)
        write_json(root / LEDGER, {**ledger, key: digest})
    return pushed, len(runs) - pushed


def run_id(group: str, run: Run) -> str:
    """A run's id: the same whenever and from wherever it is pushed, and that of a job which logged to W&B itself.

    Args:
        group: Name of the whole, for single fits; a job has its own comparison's, whichever others share the root.
        run: The run.

    Returns:
        16 hexadecimal digits.
    """
    if run.comparison is not None:
        return run_identity(run.comparison, run.folder)
    return _hash([group, run.task, run.method, run.measurement, run.seed])


def _digest(run: Run) -> str:
    return _hash([run.summary, run.tree, run.data_tree])


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _open(settings: dict[str, Any]) -> Any:
    import wandb

    try:
        return wandb.init(reinit=True, resume="allow", **settings)
    except Exception as error:  # wandb raises its own errors, and those of whatever network lies below
        raise ConfigurationError(_UNREACHABLE.format(error) + " Have you logged in with `wandb login`?") from error


def _push_run(run: Run, identity: str, digest: str, common: dict[str, Any]) -> None:
    import wandb

    session = _open(
        {
            **common,
            "id": identity,
            "name": f"{run.method} {run.measurement} seed {run.seed}",
            "job_type": run.method[:64],
            "tags": [run.task[:64]],
            "config": {
                "method": run.method,
                "task": run.task,
                "measurement": run.measurement,
                "seed": run.seed,
                "settings": run.tree,
                "data": run.data_tree,
            },
        }
    )
    if session.summary.get("digest") != digest:  # on the server with the same result: nothing to add
        session.define_metric("iteration")
        session.define_metric("*", step_metric="iteration")
        if session.summary.get("iterations") is None:  # not logged during the fit
            for iteration, seconds, psnr in read_curve(run):
                session.log({"iteration": iteration, "seconds": seconds, "psnr": psnr})
        session.log({name: wandb.Image(levels) for name, levels in _pictures(run).items()})
        session.summary.update({**summary_row(run.summary), "digest": digest})
    session.finish()


def _pictures(run: Run) -> dict[str, np.ndarray]:
    try:
        with h5py.File(run.folder / RECONSTRUCTION) as file:
            attributes = dict(file.attrs)
            images = {name: np.asarray(file[name]) for name in ("initial", "estimate", "target") if name in file}
    except (OSError, KeyError):
        return {}
    return {name: displayed_levels(image, attributes) for name, image in images.items()}


def _push_table(runs: Sequence[Run], identity: str, common: dict[str, Any]) -> None:
    import wandb

    session = _open({**common, "id": identity, "name": f"{common['group']}: comparison", "job_type": "comparison"})
    scores = ["psnr_estimate", "psnr_oracle", "ssim_estimate", "iterations", "seconds"]
    names: list[str | int] = ["task", "method", "measurement", "seed", *scores, "estimate", "target"]
    rows = []
    for number, run in enumerate(runs):
        row = summary_row(run.summary)
        pictures = _pictures(run) if number < _ROWS_WITH_IMAGES else {}
        shown = [wandb.Image(pictures[name]) if name in pictures else None for name in ("estimate", "target")]
        rows.append([run.task, run.method, run.measurement, run.seed, *(row.get(name) for name in scores), *shown])
    means = [
        [table.task, row.method, row.runs, _number(row, "psnr_estimate"), _error(row), _number(row, "ssim_estimate")]
        for table in tables(runs)
        for row in table.rows
    ]
    mean_names: list[str | int] = ["task", "method", "runs", "psnr_estimate", "psnr_standard_error", "ssim_estimate"]
    session.log({"runs": wandb.Table(columns=names, data=rows), "methods": wandb.Table(columns=mean_names, data=means)})
    session.finish()


def _number(row: Any, name: str) -> float | None:
    value = row.scores[name]
    return None if value is None else value.mean


def _error(row: Any) -> float | None:
    value = row.scores["psnr_estimate"]
    return None if value is None else value.error


def _tasks(root: Path) -> list[str]:
    return sorted({run.task for run in collect(root)[0]})
