"""One readable line from the page of type alternatives that a parser prints for a misspelt key."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jsonargparse import ArgumentError
from lightning_fabric.utilities.exceptions import MisconfigurationException

from dip_lightning.cli_names import COMMANDS, GROUPS, class_names, names_in, options_of, wanted
from dip_lightning.errors import DIPError, near_match

_KEY = re.compile(r'Parser key "([^"]+)"')
_CLASS = re.compile(r"(?:Problem with given class_path |Got value: Namespace\(class_path=)'([^']+)'")
_SUBTYPES = re.compile(r"Subtypes: \[(.*)\]")
_NO_PACKAGE = re.compile(r"Requirement '([^']+)' not met|Neither `(\w+)` nor `\w+` is available")
_NUMBERS = re.compile(r"<class '(?:int|float)'>")


@dataclass
class Place:
    """Where in a parser's message a line stands.

    Attributes:
        owner: Class path of the class whose options are read.
        option: The innermost option.
        subtypes: The alternatives that this option takes; empty where there is one alone.
    """

    owner: str = ""
    option: str = ""
    subtypes: str = ""


#: What a line looks like, and what is said of it: a template for :meth:`re.Match.expand`, or a function.
Leaf = tuple[re.Pattern[str], str | Callable[[re.Match[str], Place], str]]


def one_line(message: str) -> str:
    """Find the line that matters in a parser's message, and add the near match.

    Args:
        message: What jsonargparse says.

    Returns:
        One line: where, what, and what was probably meant.
    """
    return _explain(message, _LEAVES) or _explain(message, _LAST) or " ".join(message.split())


def _explain(message: str, leaves: Sequence[Leaf]) -> str:
    where: list[str] = []
    place = Place()
    for line in message.splitlines():
        for key in _KEY.findall(line):
            where = where if where[-1:] == [key] else [*where, key]
            place.option, place.subtypes = key, ""
        place.owner = (_CLASS.findall(line) or [place.owner])[-1]
        place.subtypes = (_SUBTYPES.findall(line) or [place.subtypes])[-1]
        for pattern, explain in leaves:
            found = pattern.search(line)
            if found:
                what = found.expand(explain) if isinstance(explain, str) else explain(found, place)
                return ": ".join([*filter(None, [".".join(where)]), what])
    return ""


def _option(found: re.Match[str], place: Place) -> str:
    name = found.group(1)
    what = place.owner.rpartition(".")[2] or "the configuration"
    known = options_of(place.owner)
    if place.owner and name in known:  # of an ancestor, to which the class hands its own value
        return f"{what} has no option '{name}': {what} sets it itself."
    return f"{what} has no option '{name}'.{near_match(name, known)}"


def _unrecognised(found: re.Match[str], place: Place) -> str:
    flag = found.group(1).lstrip("-").partition("=")[0]
    group, _, name = flag.partition(".")
    if not place.owner and name and group in GROUPS:
        return f"there is no option '{flag}'.{near_match(name, options_of(group))}"
    return f"there is no option '{flag}'.{near_match(group, options_of(place.owner))}"


def _class(found: re.Match[str], place: Place) -> str:
    name = found.group(1)
    if _NUMBERS.search(place.subtypes) and re.fullmatch("[^A-Z.]*", name):
        return _expected(name, place.subtypes)
    base = wanted(place.subtypes, place.option)
    hint = near_match(name.rpartition(".")[2], class_names(base))
    if base is not None and name in class_names():
        return f"{name} is no {base.__name__}.{hint}"
    return f"there is no class '{name}'.{hint}"


def _attribute(found: re.Match[str], place: Place) -> str:
    module, name = found.groups()
    return f"{module} has no '{name}'.{near_match(name, names_in(module, name))}"


def _import(found: re.Match[str], place: Place) -> str:
    name = found.group(1)
    hint = (
        ""
        if name.startswith("dip_lightning.")
        else " A module of your own must be in the working directory or in PYTHONPATH."
    )
    return f"there is no module '{name}'.{hint}"


def _package(found: re.Match[str], place: Place) -> str:
    what = place.owner.rpartition(".")[2] or "an option"
    return f"{what} needs a package that is not installed: pip install '{found.group(1) or found.group(2)}'."


def _command(found: re.Match[str], place: Place) -> str:
    return f"there is no command '{found.group(1)}'.{near_match(found.group(1), _commands(found.group(2)))}"


def _no_command(found: re.Match[str], place: Place) -> str:
    return f"a command must be given: {', '.join(_commands(found.group(1)))}."


def _commands(listed: str) -> list[str]:
    """All commands: those that the parser lists, and those beside Lightning's own."""
    return sorted([*re.findall(r"\w+", listed), *COMMANDS])


def _literal(found: re.Match[str], place: Place) -> str:
    options = re.findall(r"'([^']+)'", found.group(1))
    return f"'{found.group(2)}' is unknown.{near_match(found.group(2), options)}"


def _other_kind(found: re.Match[str], place: Place) -> str:
    name = (found.group(1) or "").strip() or "the class that was given"
    base = wanted(place.subtypes, place.option)
    named = base is not None and base.__name__ == found.group(2)
    advice = f" It must be a subclass of {base.__module__}.{base.__name__}." if base and named else ""
    return f"{name} is no {found.group(2)}.{advice}"


def _union(found: re.Match[str], place: Place) -> str:
    value = re.sub(r"NestedArg\(key='[^']*', val='?(.*?)'?\)$", r"\1", found.group(1))
    return _expected(value, place.subtypes) if place.subtypes else f"'{value}' does not fit."


def _expected(value: str, subtypes: str) -> str:
    literals = re.findall(r"'?([\w.-]+)'?(?:, |$)", ", ".join(re.findall(r"Literal\[([^\]]*)\]", subtypes)))
    if literals:
        return f"'{value}' is unknown.{near_match(value, literals)}"
    short = re.sub(r"(?:\w+\.)+(\w+)", r"\1", subtypes)
    plain = re.findall(r"<class '(int|float|bool|str)'>", short)
    names = plain or re.findall(r"\w+(?:\[[^\]]*\])?", re.sub(r"<class '(\w+)'>", r"\1", short))
    return f"expected {' or '.join(name for name in names if name != 'NoneType')}, got '{value}'."


def explanation(error: BaseException) -> str | None:
    """Say in one line what a user can mend.

    Args:
        error: What was raised.

    Returns:
        The line; ``None`` for what is not the user's to mend.
    """
    known = cause(error)
    if known is not None:
        return str(known)
    readable = isinstance(error, ArgumentError | MisconfigurationException) or _NO_PACKAGE.search(str(error))
    return one_line(str(error)) if readable else None


def cause(error: BaseException | None) -> DIPError | None:
    """Find the error that a user can act on behind one that a library raised from it.

    Args:
        error: What was caught.
    """
    while error is not None and not isinstance(error, DIPError):
        error = error.__cause__ or error.__context__
    return error


_VALUE = r"(.*?)(?:\. Got value: .*)?$"  # a class around the option repeats itself behind the value
_NO_FILE = r"there is no file '\1'; give the path of a configuration, such as configs/aseqdip_ct.yaml."
_SEVERAL = r"several classes are called '\1': give the path of one, such as \2 or \3."
_NO_GPU = "trainer.accelerator: a GPU was asked for, but there is none here; use cpu or auto."
_CLIPPING = "trainer.gradient_clip_val: a method clips its gradients itself; set model.gradient_clip instead."
_LEAVES: tuple[Leaf, ...] = (
    (re.compile(r"Option '([^']+)' is not accepted"), _option),
    (re.compile(r"[Kk]ey '([^']+)' is not (?:expected|accepted)"), _option),
    (re.compile(r"[Uu]nrecognized arguments: (\S+)"), _unrecognised),
    (re.compile(r"the following arguments are required: " + _VALUE), r"\1 must be given: there is no default."),
    (re.compile(r'expected "subcommand" to be one of \{(.*)\}'), _no_command),
    (re.compile(r"invalid choice: '([^']+)' \(choose from (.*)\)"), _command),
    (re.compile(r"File does not exist: '?([^']+)'?"), _NO_FILE),
    (re.compile(r"Multiple subclasses with name (\w+)\. .*ambiguity: (\S+), (\S+)\."), _SEVERAL),
    (re.compile(r"Expected a dot import path string: (\S+)"), _class),
    (re.compile(r"Expected a typing\.Literal\[(.*)\]\. Got value: " + _VALUE), _literal),
    (re.compile(r"Expected a <class '(?:builtins\.)?([\w.]+)'>\. Got value: " + _VALUE), r"expected \1, got '\2'."),
    (re.compile(r"Expected a tuple with (\d+) elements\. Got value: " + _VALUE), r"expected \1 values, got \2."),
    (re.compile(r"No supported gpu backend"), _NO_GPU),
    (re.compile(r"Automatic gradient clipping is not supported"), _CLIPPING),
    (_NO_PACKAGE, _package),
    (re.compile(r"No module named '([^']+)'"), _import),
    (re.compile(r"module '([^']+)' has no attribute '([^']+)'"), _attribute),
    (re.compile(r"Import path (\S+ )?does not correspond to a subclass of (\w+)"), _other_kind),
)
#: What is looked for where no alternative says more than that it is not the one.
_LAST: tuple[Leaf, ...] = ((re.compile(r"Given value: " + _VALUE), _union),)
