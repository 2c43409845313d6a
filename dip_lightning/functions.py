"""A user's own functions, by name."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from dip_lightning.errors import ConfigurationError, near_match
from dip_lightning.paths import expand_path


def load_function(path: str) -> Any:
    """Find a function by name.

    Args:
        path: ``module:function``, or ``path/to/file.py:function``.

    Returns:
        The function.

    Raises:
        ConfigurationError: If there is no such module or file, or no such function in it.
    """
    place, _, name = path.rpartition(":")
    try:
        module = _from_file(expand_path(place)) if place.endswith(".py") else importlib.import_module(place)
    except (ImportError, FileNotFoundError) as error:
        raise ConfigurationError(
            f"'{place}' of {path} cannot be imported ({error}); give an installed module, or a path that ends in .py."
        ) from error
    if not callable(getattr(module, name, None)):
        functions = [other for other, value in vars(module).items() if callable(value) and not other.startswith("_")]
        raise ConfigurationError(f"{place} has no function '{name}'.{near_match(name, functions)}")
    return getattr(module, name)


def _from_file(path: Path) -> Any:
    # The digest keeps the module apart from installed ones, and from other files, of that name.
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    spec = importlib.util.spec_from_file_location(f"{path.stem}_{digest}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses, pickle and the like look for a class's module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module
