"""A comparison as its YAML file states it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dip_lightning.compare.config_tree import Tree, load_tree, resolve
from dip_lightning.compare.plan_values import (
    as_list,
    check_keys,
    grid_of,
    indices_of,
    only,
    overrides_of,
    own_seeds,
    seeds_of,
    text_of,
)
from dip_lightning.errors import ConfigurationError, near_match

_TOP = ("name", "root", "methods", "baselines", "data", "seeds", "grid", "overrides", "reference")
_METHOD = ("name", "config", "overrides", "grid", "seeds", "data")
_BASELINE = ("name", "class_path", "init_args", "seeds", "data")
_DATA = ("name", "config", "indices", "overrides")
_SETTINGS = ("config", "overrides", "grid", "init_args")


@dataclass(frozen=True)
class Entry:
    """A method, a baseline, or a source of measurements in a comparison.

    Attributes:
        name: How tables call it.
        tree: Its configuration; of a data entry without a file ``None``: the methods' own data.
        overrides: Values by dotted key.
        grid: Lists of values by dotted key, of which every combination is run.
        seeds: Its own seeds, or ``None``.
        indices: Which measurements; ``None`` leaves the configuration's.
        only: Names of the data that it is run on; ``None`` for all.
    """

    name: str
    tree: Tree | None = None
    overrides: Tree = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None
    indices: tuple[int, ...] | None = None
    only: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Plan:
    """What is compared: every method and baseline, on every measurement, with every seed.

    Attributes:
        name: Name of the comparison.
        root: Folder of all run folders.
        methods: Configurations of fits.
        baselines: Reconstructions that need no network fit.
        data: Sources of measurements.
        seeds: Seeds of methods that do not say otherwise.
        grid: Lists of values by dotted key, for all methods; ``data.`` keys for baselines as well.
        overrides: Values by dotted key, likewise.
        reference: Method that others are compared with in tables; ``None`` for the first.
    """

    name: str
    root: Path
    methods: tuple[Entry, ...]
    baselines: tuple[Entry, ...]
    data: tuple[Entry, ...]
    seeds: tuple[int, ...] = (0,)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    overrides: Tree = field(default_factory=dict)
    reference: str | None = None


def load_plan(path: Path, root: Path | None = None) -> Plan:
    """Read a comparison.

    Args:
        path: Its YAML file; the files that it names are relative to it, ``root`` to the working folder.
        root: Used instead of the file's ``root``.

    Raises:
        ConfigurationError: If a key is unknown, a name is given twice, or a file is missing.
    """
    content = _read(path)
    check_keys(content, _TOP, str(path))
    folder = path.parent
    content = _with_files(content, folder)
    plan = Plan(
        name=str(content.get("name", path.stem)),
        root=Path(root or text_of(content.get("root"), "root") or Path("runs") / "compare" / path.stem),
        methods=tuple(_method(item, folder) for item in as_list(content.get("methods"))),
        baselines=tuple(_baseline(item, folder) for item in as_list(content.get("baselines"))),
        data=tuple(_data(item, folder) for item in as_list(content.get("data"))) or (Entry(""),),
        seeds=seeds_of(content.get("seeds", [0])),
        grid=grid_of(content.get("grid")),
        overrides=overrides_of(content.get("overrides")),
        reference=text_of(content.get("reference"), "reference"),
    )
    _check(plan, path)
    return plan


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"--config {path} does not exist.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"--config {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} must hold keys such as methods, data and seeds.")
    return content


def _check(plan: Plan, path: Path) -> None:
    entries = plan.methods + plan.baselines
    if not entries:
        raise ConfigurationError(f"{path} names neither methods nor baselines.")
    labels = [entry.name for entry in plan.data]
    if len(set(labels)) < len(labels):
        raise ConfigurationError(f"{path}: every item of data needs a `name:` of its own, not {labels}.")
    _check_names(entries, labels, path)
    names = [entry.name for entry in entries]
    if plan.baselines and any(entry.tree is None for entry in plan.data) and not plan.methods:
        raise ConfigurationError(f"{path}: baselines need `data:` with a config.")
    for where, keys in (("grid", plan.grid), ("overrides", plan.overrides)):
        if "data" in keys and any(entry.tree is not None for entry in plan.data):
            raise ConfigurationError(
                f"{path}: {where} must not set all of `data`: `data:` says what it is; name its keys."
            )
    chosen = plan.reference
    if chosen is not None and re.sub(r"\[.*", "", chosen) not in names:
        raise ConfigurationError(f"{path}: reference={chosen!r} is no method.{near_match(chosen, names)}")


def _check_names(entries: tuple[Entry, ...], labels: list[str], path: Path) -> None:
    """Check that a name means one thing on each of the data."""
    placed = [(entry.name, label) for entry in entries for label in entry.only or labels]
    for name, label in placed:
        if label not in labels:
            raise ConfigurationError(f"{path}: {name} is for data {label!r}.{near_match(label, labels)}")
        if placed.count((name, label)) > 1:
            raise ConfigurationError(f"{path}: the name {name} is given twice; add `name:` to one, or `data:` to both.")


def _with_files(item: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Read the files in that settings name; the name of a configuration that is all in one file is kept."""
    return {
        key: resolve(value, folder) if key in _SETTINGS and not isinstance(value, str) else value
        for key, value in item.items()
    }


def _method(item: Any, folder: Path) -> Entry:
    item = {"config": item} if isinstance(item, str) else item
    check_keys(item, _METHOD, "methods")
    item = _with_files(item, folder)
    if "config" not in item:
        raise ConfigurationError(f"methods: {item} names no `config:`.")
    tree = item["config"] if isinstance(item["config"], dict) else load_tree(folder / str(item["config"]))
    if not isinstance(tree, dict) or "model" not in tree:
        raise ConfigurationError(f"methods: {item['config']} has no `model:`.")
    name = item.get("name") or (Path(item["config"]).stem if isinstance(item["config"], str) else "method")
    overrides = overrides_of(item.get("overrides"))
    return Entry(str(name), tree, overrides, grid_of(item.get("grid")), own_seeds(item), only=only(item))


def _baseline(item: Any, folder: Path) -> Entry:
    item = {"class_path": item} if isinstance(item, str) else item
    check_keys(item, _BASELINE, "baselines")
    item = _with_files(item, folder)
    if "class_path" not in item:
        raise ConfigurationError(f"baselines: {item} names no `class_path:`.")
    name = item.get("name") or str(item["class_path"]).rpartition(".")[2]
    tree = {key: item[key] for key in ("class_path", "init_args") if key in item}
    return Entry(str(name), tree, seeds=own_seeds(item), only=only(item))


def _data(item: Any, folder: Path) -> Entry:
    item = {"config": item} if isinstance(item, str) else item
    check_keys(item, _DATA, "data")
    item = _with_files(item, folder)
    config = item.get("config")
    tree = load_tree(folder / config) if isinstance(config, str) else config
    if isinstance(tree, dict) and "data" in tree and "class_path" not in tree:
        tree = tree["data"]
    name = item.get("name", Path(config).stem if isinstance(config, str) else "")
    overrides = overrides_of(item.get("overrides"))
    wrong = [key for key in overrides if not key.startswith("data.")]
    if wrong:
        raise ConfigurationError(f"data: the override {wrong[0]} must begin with `data.`.")
    return Entry(str(name), tree, overrides, indices=indices_of(item.get("indices")))
