"""What the methods and the data of a comparison become by its overrides and grids."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from dip_lightning.compare.config_tree import Tree, content_hash, set_key
from dip_lightning.compare.plan import Entry, Plan
from dip_lightning.errors import ConfigurationError


def method_variants(plan: Plan, entry: Entry) -> Iterator[tuple[str, Tree]]:
    """List what a method becomes by the overrides and the grids that are not about data.

    Args:
        plan: The comparison; its overrides come first, so that ``+`` of both appends twice.
        entry: One of its methods.

    Yields:
        Name with the grid's values, and configuration.

    Raises:
        ConfigurationError: If an override does not fit the configuration, or the comparison's data would replace it.
    """
    _check_data_keys(plan, entry)
    grid = {**{key: values for key, values in plan.grid.items() if not of_data(key)}, **entry.grid}
    tree: Tree = entry.tree or {}
    for key, value in [*plan.overrides.items(), *entry.overrides.items()]:
        tree = set_key(tree, key, value)
    for values, label in _combinations(grid):
        variant = tree
        for key, value in values.items():
            variant = set_key(variant, key, value)
        yield entry.name + label, variant


def _check_data_keys(plan: Plan, entry: Entry) -> None:
    """Refuse a method's own data where the comparison's take their place."""
    own = [key for key in (*entry.overrides, *entry.grid) if of_data(key)]
    replaced = [source.name for source in plan.data if source.tree is not None and is_on(entry, source)]
    if own and replaced:
        raise ConfigurationError(
            f"methods: {entry.name} sets {own[0]}, but `data: {replaced[0]}` replaces the data of all methods: move it "
            "to the `overrides:` of that item of `data:`, or to the comparison's own `grid:`."
        )


def baseline_trees(plan: Plan, entry: Entry, source: Entry, methods: Sequence[Tree]) -> list[Tree]:
    """List what a baseline is run with: the comparison's data, or once each of the methods' own.

    Args:
        plan: The comparison.
        entry: One of its baselines.
        source: Where the measurements come from.
        methods: Configurations of the methods that are run on them.

    Returns:
        Configurations, without data where the source has its own.
    """
    tree: Tree = {"baseline": entry.tree or {}}
    if "trainer.accelerator" in plan.overrides:
        tree["accelerator"] = plan.overrides["trainer.accelerator"]
    if source.tree is not None:
        return [tree]
    own = {content_hash({"data": method.get("data")}): method.get("data") for method in methods}
    return [{**tree, "data": data} for data in own.values()] or [tree]


def data_variants(plan: Plan) -> Iterator[tuple[str, Entry]]:
    """List what the sources of measurements become by the comparison's grid.

    Args:
        plan: The comparison.

    Yields:
        Name with the grid's values, and the source with the values among its overrides.
    """
    grid = {key: values for key, values in plan.grid.items() if of_data(key)}
    for source in plan.data:
        for values, label in _combinations(grid):
            overrides = {**source.overrides, **values}
            yield source.name + label, Entry(source.name, source.tree, overrides, indices=source.indices)


def _combinations(grid: dict[str, list[Any]]) -> Iterator[tuple[Tree, str]]:
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        label = ",".join(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in chosen.items())
        yield chosen, f"[{label}]" if label else ""


def _short(value: Any) -> str:
    if isinstance(value, dict) and "class_path" in value:
        arguments = ",".join(f"{key}={_short(item)}" for key, item in (value.get("init_args") or {}).items())
        return str(value["class_path"]).rpartition(".")[2] + (f"({arguments})" if arguments else "")
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def is_on(entry: Entry, source: Entry) -> bool:
    """Whether a method or a baseline is run on a source of measurements."""
    return entry.only is None or source.name in entry.only


def of_data(key: str) -> bool:
    """Whether a dotted key is about the measurement."""
    return key == "data" or key.startswith("data.")
