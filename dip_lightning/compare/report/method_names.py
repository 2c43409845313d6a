"""Names of methods in tables: ``DIP``, ``DIP[lr=0.01]`` of a grid, ``DIP #1f3a`` where settings were changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dip_lightning.compare.report.collect import Run


def methods_in_order(runs: Iterable[Run], order: Sequence[str] = ()) -> list[str]:
    """Names of the methods: as planned first, with the variants of a grid, then by name."""
    places = {name: place for place, name in enumerate(order)}

    def place(method: str) -> tuple[int, str]:
        return places.get(method, places.get(_plain(method), len(places))), method

    return sorted({run.method for run in runs}, key=place)


def named(methods: Sequence[str], name: str | None) -> str | None:
    """Find a method by the name that a comparison gives it.

    Args:
        methods: Names in tables.
        name: The name, with or without a grid's values and the hash of settings.

    Returns:
        The method of that name, else the first of its variants; ``None`` where there is neither.
    """
    for known in (str, _without_hash, _plain):
        for method in methods:
            if known(method) == name:
                return method
    return None


def _without_hash(method: str) -> str:
    return method.split(" #")[0]


def _plain(method: str) -> str:
    return _without_hash(method.split("[")[0])
