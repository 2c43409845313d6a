"""Settings of a run, less what tells its measurement and its seed apart: runs that share them may be averaged."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

import yaml

from dip_lightning.compare.config_tree import Tree, without
from dip_lightning.run_folder import CONFIG

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a root may hold thousands of single fits
_METHOD = ("model", "baseline", "trainer")


def job_settings(tree: Tree, seed: int) -> tuple[Tree, Tree]:
    """Settings of a comparison's job.

    Args:
        tree: The job's configuration.
        seed: The run's seed; a ``model.seed`` that says the same is left out.

    Returns:
        Those of the method and those of the data.
    """
    method = {key: value for key, value in tree.items() if key not in {"data", "seed_everything"}}
    if _arguments(method.get("model")).get("seed") == seed:
        method = without(method, ("model", "init_args", "seed"))
    return method, _data(tree.get("data") or {}, ("index",))


def fit_settings(folder: Path) -> tuple[Tree, Tree]:
    """Settings of a single fit: model, trainer and data of the run folder's ``config.yaml``.

    Seeds and devices are left out, and of the data which and how many were reconstructed at once. Of a file its
    folder counts: the measurement's id tells files apart.

    Args:
        folder: The run folder.

    Returns:
        Those of the method and those of the data; empty where there is no configuration that can be read.
    """
    try:
        tree = yaml.load((folder / CONFIG).read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}, {}
    if not isinstance(tree, dict):
        return {}, {}
    method = {key: tree[key] for key in _METHOD if key in tree}
    for names in (("model", "init_args", "seed"), ("trainer", "devices")):
        method = without(method, names)
    data = _data(tree.get("data") or {}, ("index", "batch", "repeat"))
    path = data["init_args"].get("path")
    if isinstance(path, str) and PurePath(path).suffix:
        data = {**data, "init_args": {**data["init_args"], "path": str(PurePath(path).parent)}}
    return method, data


def _data(data: Any, left_out: tuple[str, ...]) -> Tree:
    if not isinstance(data, dict):
        return {"class_path": data, "init_args": {}}
    return {**data, "init_args": {key: value for key, value in _arguments(data).items() if key not in left_out}}


def _arguments(node: Any) -> Tree:
    found = node.get("init_args") if isinstance(node, dict) else None
    return found if isinstance(found, dict) else {}
