"""Values in a comparison's file: what may be written, and what it means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from dip_lightning.errors import ConfigurationError, near_match
from dip_lightning.functional.random import check_seed


def indices_of(value: Any) -> tuple[int, ...] | None:
    """Read ``3``, ``[0, 4]`` or ``"0-9,12"`` (ends included).

    Raises:
        ConfigurationError: If it is none of these, or names nothing.
    """
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"\s*\d+(-\d+)?(\s*,\s*\d+(-\d+)?)*\s*", value):
        ends = [[int(end) for end in part.split("-")] for part in value.split(",")]
        parts: list[Sequence[Any]] = [range(end[0], end[-1] + 1) for end in ends]
    else:
        parts = [as_list(value)]
    if not all(parts) or any(isinstance(index, bool) or not isinstance(index, int) for part in parts for index in part):
        raise ConfigurationError(f"data: indices={value!r} is neither a list of numbers nor a range such as 0-9.")
    return tuple(index for part in parts for index in part)


def seeds_of(value: Any) -> tuple[int, ...]:
    """Read a list of seeds, or how many from 0 on.

    Raises:
        ConfigurationError: If it is neither, or no random numbers can be drawn from one of them.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return tuple(range(value))
    if not isinstance(value, list) or not value or any(type(seed) is not int for seed in value):
        raise ConfigurationError(f"seeds={value!r} is neither a list of seeds nor how many there are.")
    for seed in value:
        check_seed(seed, "seeds")
    return tuple(dict.fromkeys(value))


def own_seeds(item: dict[str, Any]) -> tuple[int, ...] | None:
    """Read the seeds of one method or baseline; ``None`` where it has none of its own."""
    return None if item.get("seeds") is None else seeds_of(item["seeds"])


def only(item: dict[str, Any]) -> tuple[str, ...] | None:
    """Read on which data a method or a baseline is run; ``None`` for all."""
    return None if item.get("data") is None else tuple(str(name) for name in as_list(item["data"]))


def grid_of(value: Any) -> dict[str, list[Any]]:
    """Read lists of values by dotted key.

    Raises:
        ConfigurationError: If a key has no list, or an empty one, or sets seeds.
    """
    if not isinstance(value or {}, dict) or not all(isinstance(item, list) and item for item in (value or {}).values()):
        raise ConfigurationError(f"grid={value!r} must give a list of values for each key.")
    _check_settings(value or {}, "grid")
    return dict(value or {})


def overrides_of(value: Any) -> dict[str, Any]:
    """Read values by dotted key.

    Raises:
        ConfigurationError: If there are no keys, or one sets seeds.
    """
    if not isinstance(value or {}, dict):
        raise ConfigurationError(
            f"overrides={value!r} must give a value for each key, as in {{model.outer_steps: 100}}."
        )
    _check_settings(value or {}, "overrides")
    return dict(value or {})


def _check_settings(keys: Iterable[str], where: str) -> None:
    """Refuse what the comparison sets itself in every job."""
    for key in keys:
        if ".".join(name for name in key.split(".") if name != "init_args") in ("seed_everything", "model.seed"):
            raise ConfigurationError(
                f"{where}: {key} is set from `seeds:`, those of the comparison or of a method; give them there."
            )


def text_of(value: Any, where: str) -> str | None:
    """Read one text; ``None`` where there is none.

    Raises:
        ConfigurationError: If it is a number, a list or something else.
    """
    if value is None or isinstance(value, str):
        return value
    raise ConfigurationError(f"{where}={value!r} must be one text; put quotes around a number.")


def as_list(value: Any) -> list[Any]:
    """Make a list of one item, and an empty one of nothing."""
    return value if isinstance(value, list) else [] if value is None else [value]


def check_keys(item: Any, known: Iterable[str], where: str) -> None:
    """Check that an item has no keys but known ones.

    Args:
        item: What the file says.
        known: The keys.
        where: The part of the file, for the message.

    Raises:
        ConfigurationError: If it has, or has no keys at all.
    """
    if not isinstance(item, dict):
        raise ConfigurationError(f"{where}: {item!r} must be a name or keys with values.")
    for key in item:
        if key not in known:
            raise ConfigurationError(f"{where}: the key '{key}' is unknown.{near_match(str(key), known)}")
