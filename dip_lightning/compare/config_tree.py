"""Configurations as plain trees: reading with references resolved, setting dotted keys, hashing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dip_lightning.errors import ConfigurationError

Tree = dict[str, Any]
_CLASS_KEYS = frozenset({"class_path", "init_args", "dict_kwargs"})
#: Parts of a configuration that change what is shown or kept, not what comes out.
_WITHOUT_EFFECT = (
    ("progress",),
    ("record",),
    ("checkpoint",),
    ("ckpt_path",),
    ("config",),
    ("trainer", "logger"),
    ("trainer", "default_root_dir"),
    ("trainer", "enable_progress_bar"),
    ("trainer", "log_every_n_steps"),
)


def load_tree(path: Path) -> Any:
    """Read a YAML file with every file that it refers to.

    Args:
        path: The file. A value in it that names an existing YAML file, relative to it, is replaced by its content.

    Raises:
        ConfigurationError: If a file is missing or is no YAML.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"The configuration {path} does not exist.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"The configuration {path} cannot be read: {error}") from error
    return resolve(content, path.parent)


def resolve(value: Any, folder: Path) -> Any:
    """Replace what names an existing YAML file by its content, at any depth.

    Args:
        value: A part of a configuration.
        folder: What the names are relative to.

    Raises:
        ConfigurationError: If a file is no YAML.
    """
    if isinstance(value, dict):
        return {str(key): resolve(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, folder) for item in value]
    if isinstance(value, str) and value.endswith((".yaml", ".yml")) and (folder / value).is_file():
        return load_tree(folder / value)
    return value


def set_key(tree: Any, key: str, value: Any) -> Tree:
    """Set a dotted key, sharing with the old tree everything that does not change.

    Below a ``class_path`` the names are those of its arguments, as on the command line: ``data.acquisition.views``.
    A number picks an item of a list (``trainer.callbacks.1.patience``), and a ``+`` at the end appends to one.

    Args:
        tree: The tree; it is left as it is.
        key: Where, with dots.
        value: What to put there.

    Returns:
        The new tree.

    Raises:
        ConfigurationError: If the key leads into something that has no keys.
    """
    return _set(tree, key.split("."), value, key)


def _set(node: Any, names: list[str], value: Any, key: str) -> Any:
    if not names:
        return value
    name, rest = names[0], names[1:]
    if isinstance(node, list):
        return _set_item(node, name, rest, value, key)
    if isinstance(node, str):
        node = {"class_path": node}
    if node is None:
        node = {}
    if not isinstance(node, dict):
        raise ConfigurationError(f"{key}: {name} would be a part of {node!r}, which has none.")
    if "class_path" in node and name not in _CLASS_KEYS:
        return {**node, "init_args": _set(node.get("init_args"), names, value, key)}
    if name.endswith("+") and not rest:
        return {**node, name[:-1]: _append(node.get(name[:-1]), value, key)}
    return {**node, name: _set(node.get(name), rest, value, key)}


def _append(items: Any, value: Any, key: str) -> list[Any]:
    if not isinstance(items or [], list):
        raise ConfigurationError(f"{key}: there is no list to append to.")
    return [*(items or []), *(value if isinstance(value, list) else [value])]


def _set_item(items: list[Any], name: str, rest: list[str], value: Any, key: str) -> list[Any]:
    if not name.isdigit() or int(name) >= len(items):
        raise ConfigurationError(f"{key}: '{name}' is no number below {len(items)}, the length of the list.")
    position = int(name)
    return [*items[:position], _set(items[position], rest, value, key), *items[position + 1 :]]


def get_key(tree: Any, key: str, default: Any = None) -> Any:
    """Look a dotted key up, by the rules of :func:`set_key`.

    Args:
        tree: The tree.
        key: Where, with dots.
        default: What to return where there is nothing.
    """
    for name in key.split("."):
        if isinstance(tree, dict) and "class_path" in tree and name not in _CLASS_KEYS:
            tree = tree.get("init_args")
        if isinstance(tree, list):
            tree = tree[int(name)] if name.isdigit() and int(name) < len(tree) else None
        elif isinstance(tree, dict):
            tree = tree.get(name)
        else:
            return default
    return default if tree is None else tree


def content_hash(tree: Tree) -> str:
    """Hash a configuration, whatever the order of its keys.

    Numbers are compared by value (``1`` and ``1.0`` are the same), and what cannot change the result is left out:
    loggers, progress, checkpoints, folders.

    Args:
        tree: The configuration; JSON types only.

    Returns:
        12 hexadecimal digits.
    """
    for names in _WITHOUT_EFFECT:
        tree = without(tree, names)
    text = json.dumps(_canonical(tree), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def without(tree: Any, names: Sequence[str]) -> Any:
    """Leave a key out, sharing with the old tree everything that does not change.

    Args:
        tree: The tree; it is left as it is.
        names: The way to the key, ``class_path`` and ``init_args`` spelled out.

    Returns:
        The new tree; the old one where there is no such key.
    """
    name, rest = names[0], names[1:]
    if not isinstance(tree, dict) or name not in tree:
        return tree
    if rest:
        return {**tree, name: without(tree[name], rest)}
    return {key: value for key, value in tree.items() if key != name}


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
