"""Errors that a user can act on: each says what is wrong, where, and what to do.

The command line prints their message alone and exits with code 2; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Option = TypeVar("Option", bound=str)

#: A message names this many options at most.
LONGEST_LIST = 10


class DIPError(ValueError):
    """Base of every error that tells its user what to change."""


class ConfigurationError(DIPError):
    """An option, a class or a combination of them is wrong."""


class MeasurementError(DIPError):
    """A measurement, or the file that it comes from, cannot be used."""


class MissingCallbackError(ConfigurationError):
    """A method was started without a callback that it needs."""


class RunFolderError(DIPError):
    """A run folder cannot be written, read, or is already finished."""


def near_match(name: str, options: Iterable[str]) -> str:
    """Say which of ``options`` was probably meant by ``name``.

    Args:
        name: What the user wrote.
        options: What would have been understood.

    Returns:
        ``" Did you mean 'x'?"``, or the list of options where none is near: of many, the nearest.
    """
    known = sorted(set(options))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f" Did you mean '{close[0]}'?"
    if len(known) > LONGEST_LIST:
        return f" Known, among others: {', '.join(difflib.get_close_matches(name, known, n=LONGEST_LIST, cutoff=0.0))}."
    return f" Known: {', '.join(known)}." if known else ""


def check_option(name: str, value: Option, options: Iterable[str]) -> Option:
    """Return ``value`` if it is one of ``options``.

    Args:
        name: The option's name, for the message.
        value: What the user asked for.
        options: The values that exist.

    Returns:
        ``value`` unchanged.

    Raises:
        ConfigurationError: If ``value`` is not among ``options``.
    """
    known = list(options)
    if value not in known:
        raise ConfigurationError(f"{name}={value!r} is unknown.{near_match(str(value), known)}")
    return value


def demand_attribute(owner: object, name: str, use: str) -> None:
    """Check that a class says what its base class leaves open.

    Args:
        owner: An object of the class.
        name: The attribute, a word.
        use: What the word is for, for the message.

    Raises:
        ConfigurationError: If the class does not have it.
    """
    if not hasattr(owner, name):
        kind = type(owner).__name__
        raise ConfigurationError(f'{kind} has no {name}: write {name} = "..." into the class, {use}.')


@contextmanager
def naming(option: str) -> Iterator[None]:
    """Say of a value that another library refuses which option it comes from.

    Args:
        option: Where the value was given, such as ``model.optimizer``.

    Raises:
        ConfigurationError: If a ``TypeError`` or a ``ValueError`` comes out of the block.
    """
    try:
        yield
    except DIPError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{option}: {error}") from error


def check_positive(name: str, value: float) -> float:
    """Return ``value`` if it is positive and finite.

    Raises:
        ConfigurationError: If it is not.
    """
    if not (value > 0 and math.isfinite(value)):
        raise ConfigurationError(f"{name}={value} must be positive.")
    return value


def check_positive_count(name: str, value: int) -> int:
    """Return a number that must be at least 1.

    Raises:
        ConfigurationError: If it is not.
    """
    if value < 1:
        raise ConfigurationError(f"{name}={value} must be at least 1.")
    return value
