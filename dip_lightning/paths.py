"""Paths as a configuration writes them: with environment variables and ``~``."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from dip_lightning.errors import ConfigurationError

#: Variable that names the folder of the data sets in the shipped configurations.
DATA_VARIABLE = "DIP_LIGHTNING_DATA"

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def expand_path(path: str | Path) -> Path:
    """Replace ``${NAME}``, ``$NAME`` and a leading ``~`` in a path.

    Args:
        path: For example ``${DIP_LIGHTNING_DATA}/ct_htc2022``.

    Returns:
        The expanded path; nothing is read, it need not exist.

    Raises:
        ConfigurationError: If the path is empty, or if a variable is not set or is empty.
    """
    text = str(path)
    if not text.strip():
        raise ConfigurationError("The path is empty; give a file or a folder.")
    # os.path, unlike pathlib, leaves ~name alone where no user has that name: it is a file's.
    return Path(os.path.expanduser(_VARIABLE.sub(lambda match: _value(match, text), text)))


def _value(match: re.Match[str], path: str) -> str:
    name = match.group(1) or match.group(2)
    value = os.environ.get(name, "")
    if value:
        return value
    close = difflib.get_close_matches(name, os.environ, n=1)
    hint = f"Did you mean '{close[0]}'?" if close else "Set it, or write the path out."
    if name == DATA_VARIABLE:
        hint = f"Set it to the folder that holds your data sets: export {DATA_VARIABLE}=/path/to/data"
    raise ConfigurationError(f"The path '{path}' uses the environment variable {name}, which is not set. {hint}")
