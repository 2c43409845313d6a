"""Jobs as data: which fits a comparison consists of, where each is kept, and how far it is."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dip_lightning.compare.baselines.base import draws
from dip_lightning.compare.config_tree import Tree, content_hash, get_key, set_key
from dip_lightning.compare.plan import Entry, Plan
from dip_lightning.compare.variants import baseline_trees, data_variants, is_on, method_variants, of_data
from dip_lightning.errors import ConfigurationError
from dip_lightning.run_folder import CHECKPOINT, SUMMARY, written_whole

Kind = Literal["fit", "baseline"]
Variant = tuple[Kind, Entry, str, Tree]
State = Literal["finished", "failed", "interrupted", "new"]
#: What is known of a comparison as a whole, in its root.
COMPARISON = "comparison.json"
JOB, FAILURE, LOG = "job.json", "failure.json", "log.txt"


@dataclass(frozen=True, slots=True)
class Job:
    """One reconstruction: a configuration, a measurement and a seed.

    Attributes:
        kind: ``fit`` runs ``dip-lightning fit``; ``baseline`` runs a baseline.
        method: Name in tables, with the grid's values.
        data: Name of the source of the measurement, with the grid's values.
        index: Which measurement of the source; ``None`` leaves the configuration's.
        seed: Seed of the fit.
        tree: Configuration with nothing left to look up.
        key: Hash of the configuration, which holds measurement and seed.
        root: Folder of the comparison.
        comparison: Its name.
    """

    kind: Kind
    method: str
    data: str
    index: int | None
    seed: int
    tree: Tree
    key: str
    root: str
    comparison: str

    @property
    def name(self) -> str:
        """Folder below the root: ``<method>/<data>_<index>_seed<k>_<hash>``."""
        parts = [self.data, "" if self.index is None else str(self.index), f"seed{self.seed}", self.key]
        return f"{safe(self.method)}/{'_'.join(safe(part) for part in parts if part)}"

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.root) / self.name

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Job:
        """Bring back what :meth:`as_dict` gave."""
        return cls(**{name: values[name] for name in cls.__slots__})


def safe(text: str) -> str:
    """Replace what a folder's name should not hold; long names are cut, and of nothing but signs ``_`` is left."""
    return re.sub(r"[^\w.+=,-]+|\.\.+", "_", text).strip("._")[:80] or "_"


def expand(plan: Plan) -> Iterator[Job]:
    """List the jobs of a comparison: measurement by measurement, so that early results can be compared.

    Args:
        plan: The comparison.

    Raises:
        ConfigurationError: If an override does not fit its configuration.
    """
    methods: list[Variant] = [
        ("fit", entry, label, tree) for entry in plan.methods for label, tree in method_variants(plan, entry)
    ]
    for data, source in data_variants(plan):
        variants = _variants_on(source, methods, plan)
        for index in source.indices or (None,):
            for kind, entry, label, tree in variants:
                placed = _place(tree, source, index, plan)
                drawn = kind == "fit" or draws(tree["baseline"])
                for seed in entry.seeds or (plan.seeds if drawn else plan.seeds[:1]):
                    yield _job(kind, label, data, index, seed, placed, plan)


def _variants_on(source: Entry, methods: Sequence[Variant], plan: Plan) -> list[Variant]:
    """List the methods and the baselines that are run on a source of measurements."""
    variants = [method for method in methods if is_on(method[1], source)]
    trees = [tree for *_, tree in variants]
    for entry in plan.baselines:
        if is_on(entry, source):
            own = baseline_trees(plan, entry, source, trees)
            variants += [("baseline", entry, entry.name, tree) for tree in own]
    return variants


def _place(tree: Tree, source: Entry, index: int | None, plan: Plan) -> Tree:
    """Put the measurement into a method's or a baseline's configuration."""
    placed = tree if source.tree is None else {**tree, "data": source.tree}
    overrides = {key: value for key, value in plan.overrides.items() if of_data(key)} if source.tree else {}
    if not placed.get("data"):
        raise ConfigurationError("There are no data: add `data:` to the comparison or to the method's configuration.")
    for key, value in {**overrides, **source.overrides}.items():
        placed = set_key(placed, key, value)
    if index is not None:
        placed = set_key(placed, "data.index", index)
    for key, what in (("data.batch", "measurement"), ("data.repeat", "seed")):
        if get_key(placed, key, 1) != 1:
            raise ConfigurationError(f"{key} must be 1 in a comparison: every {what} is a job of its own.")
    devices = get_key(placed, "trainer.devices", 1)
    if str(devices) not in ("1", "auto") and not (isinstance(devices, list) and len(devices) == 1):
        raise ConfigurationError("trainer.devices must be 1 in a comparison: --workers and --devices spread its jobs.")
    return placed


def _job(kind: Kind, label: str, data: str, index: int | None, seed: int, tree: Tree, plan: Plan) -> Job:
    tree = {**tree, "seed_everything": seed}
    if kind == "fit" and get_key(tree, "model.seed") is not None:
        tree = set_key(tree, "model.seed", seed)
    return Job(kind, label, data, index, seed, tree, content_hash(tree), str(plan.root), plan.name)


def run_identity(comparison: str, folder: Path) -> str:
    """Identify a job's run at a server that collects runs: the same whenever and from wherever it is asked.

    Args:
        comparison: Name of the comparison.
        folder: The run folder; its last two names count.

    Returns:
        16 hexadecimal digits.
    """
    text = json.dumps([comparison, folder.parent.name, folder.name])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shard(jobs: list[Job], part: str | None) -> list[Job]:
    """Take the ``i``-th of ``n`` parts of the list, ``i`` from 1: every ``n``-th job, so that parts cost alike.

    Args:
        jobs: All jobs.
        part: ``i/n``, or ``None`` for all.

    Raises:
        ConfigurationError: If the part does not exist.
    """
    if part is None:
        return jobs
    found = re.fullmatch(r"(\d+)/(\d+)", part)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigurationError(f"--shard {part} must be i/n with i from 1 to n, e.g. 2/8.")
    return jobs[int(found[1]) - 1 :: int(found[2])]


def state(job: Job) -> State:
    """Say how far a job is; cheap enough to ask of a hundred thousand."""
    summary = read_json(job.folder / SUMMARY)
    if summary is not None:
        return "finished"
    if (job.folder / FAILURE).exists() or failure_beside(job).exists():
        return "failed"
    return "interrupted" if (job.folder / CHECKPOINT).exists() else "new"


def control(job: Job) -> Path:
    """Folder of locks, and of failures that cannot be written to the run folder."""
    return Path(job.root) / ".jobs"


def failure_beside(job: Job) -> Path:
    """Where a failure is recorded if the run folder cannot be written."""
    return control(job) / f"{safe(job.method)}_{job.key}.{FAILURE}"


def read_json(path: Path) -> dict[str, Any] | None:
    """Read an object; ``None`` where the file is missing, broken or something else."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content else None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object whole."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
