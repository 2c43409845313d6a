"""The settings of a run that tell methods and tasks apart, from its resolved configuration."""

from __future__ import annotations

from typing import Any

import yaml

from dip_lightning.compare.config_tree import Tree, get_key
from dip_lightning.compare.report.collect import Run
from dip_lightning.run_folder import CONFIG

#: Arguments of an optimiser that are told; the others are torch's defaults.
_OPTIMISER = ("lr", "weight_decay", "momentum")


def settings(run: Run) -> dict[str, Any]:
    """Tell network, optimiser, steps and callbacks of a fit, or the arguments of a baseline.

    Args:
        run: The run.

    Returns:
        JSON types: of a fit ``method``, ``network``, ``optimizer``, ``lr``, ``steps``, ``input``, ``reduction``,
        ``penalties``, ``callbacks`` and whatever else its method's class takes; of a baseline what it recorded.
    """
    if run.summary.get("settings"):
        return dict(run.summary["settings"])
    tree = _resolved(run)
    if not get_key(tree, "model"):
        return {}
    optimiser = get_key(tree, "model.optimizer") or {}
    arguments = _arguments(optimiser)
    return {
        "method": class_name(tree["model"]),
        "network": described(get_key(tree, "model.network")),
        "optimizer": class_name(optimiser),
        **{key: arguments[key] for key in _OPTIMISER if arguments.get(key)},
        "steps": _steps(tree),
        "input": described(get_key(tree, "model.initial_input")),
        **_others(tree["model"]),
        "penalties": [described(item) for item in get_key(tree, "model.penalties") or []],
        "callbacks": [described(item) for item in get_key(tree, "trainer.callbacks") or []],
    }


def described(tree: Any) -> str | None:
    """Write a class and its arguments as one writes them in Python: ``SmallUNet(in_channels=32)``.

    Args:
        tree: ``class_path`` and ``init_args``, the name of a class, or any value.
    """
    if isinstance(tree, str):
        return class_name(tree)
    if not isinstance(tree, dict):
        return None if tree is None else str(tree)
    inside = [f"{key}={described(value)}" for key, value in _arguments(tree).items()]
    name = class_name(tree)
    return f"{name}({', '.join(inside)})" if inside else name


def class_name(tree: Any) -> str:
    """Name of a class without the modules that it is in."""
    path = tree.get("class_path", "") if isinstance(tree, dict) else tree
    return str(path or "").rpartition(".")[2]


def _resolved(run: Run) -> Tree:
    """The configuration as it was run, with all defaults; without that file what the comparison asked for."""
    try:
        found = yaml.safe_load((run.folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        found = None
    return found if isinstance(found, dict) else run.tree


def _steps(tree: Tree) -> int | None:
    outer, inner = get_key(tree, "model.outer_steps"), get_key(tree, "model.inner_steps", 1)
    return outer * inner if isinstance(outer, int) and isinstance(inner, int) else None


def _others(model: Tree) -> dict[str, Any]:
    told = {"network", "optimizer", "initial_input", "outer_steps", "penalties", "reinitialise", "engine"}
    known = {key: value for key, value in _arguments(model).items() if key not in told and value is not None}
    return {key: described(value) if isinstance(value, dict) else value for key, value in known.items()}


def _arguments(tree: Any) -> dict[str, Any]:
    return dict(tree.get("init_args") or {}) if isinstance(tree, dict) else {}
