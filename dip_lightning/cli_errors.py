"""One readable line from the page of type alternatives that a parser prints for a misspelt key."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable

from pytorch_lightning import Trainer

from dip_lightning.errors import DIPError, near_match

_KEY = re.compile(r'Parser key "([^"]+)"')
_CLASS = re.compile(r"Problem with given class_path '([^']+)'")
_MODULES = ("methods", "networks", "callbacks", "physics", "data", "inputs", "penalties")


def one_line(message: str) -> str:
    """Find the line that matters in a parser's message, and add the near match.

    Args:
        message: What jsonargparse says.

    Returns:
        One line: where, what, and what was probably meant.
    """
    where: list[str] = []
    owner = ""
    for line in message.splitlines():
        for key in _KEY.findall(line):
            where = where if where[-1:] == [key] else [*where, key]
        owner = (_CLASS.findall(line) or [owner])[-1]
        for pattern, explain in _LEAVES:
            found = pattern.search(line)
            if found:
                text = explain(found, owner)
                place = ".".join(where)
                return f"{place}: {text}" if place else text
    return " ".join(message.split())


def _option(found: re.Match[str], owner: str) -> str:
    name = found.group(1)
    what = owner.rpartition(".")[2] or "the configuration"
    return f"{what} has no option '{name}'.{near_match(name, _options(owner))}"


def _unrecognised(found: re.Match[str], owner: str) -> str:
    flag = found.group(1).lstrip("-").partition("=")[0]
    group, _, name = flag.partition(".")
    if group == "trainer":
        return f"there is no option '{flag}'.{near_match(name, inspect.signature(Trainer.__init__).parameters)}"
    return f"there is no option '{flag}'.{near_match(group, _GROUPS)}"


def _class(found: re.Match[str], owner: str) -> str:
    name = found.group(1)
    return f"there is no class '{name}'.{near_match(name.rpartition('.')[2], _class_names())}"


def _choice(found: re.Match[str], owner: str) -> str:
    options = re.findall(r"'([^']+)'", found.group(2))
    return f"'{found.group(1)}' is unknown.{near_match(found.group(1), options)}"


def _literal(found: re.Match[str], owner: str) -> str:
    options = re.findall(r"'([^']+)'", found.group(1))
    return f"'{found.group(2)}' is unknown.{near_match(found.group(2), options)}"


def _type(found: re.Match[str], owner: str) -> str:
    return f"expected {found.group(1)}, got '{found.group(2)}'."


def _file(found: re.Match[str], owner: str) -> str:
    return f"there is no file '{found.group(1)}'; give the path of a configuration, such as configs/aseqdip_ct.yaml."


def _import(found: re.Match[str], owner: str) -> str:
    return f"cannot import '{found.group(1)}'.{near_match(found.group(1).rpartition('.')[2], _class_names())}"


def _no_gpu(found: re.Match[str], owner: str) -> str:
    return "trainer.accelerator: a GPU was asked for, but there is none here; use cpu or auto."


def cause(error: BaseException | None) -> DIPError | None:
    """Find the error that a user can act on behind one that a library raised from it.

    Args:
        error: What was caught.
    """
    while error is not None and not isinstance(error, DIPError):
        error = error.__cause__ or error.__context__
    return error


_GROUPS = (
    *("config", "seed_everything", "trainer", "model", "data", "ckpt_path"),
    *("progress", "metrics", "checkpoint", "record", "print_config", "help"),
)
_LEAVES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], str], str]], ...] = (
    (re.compile(r"Option '([^']+)' is not accepted"), _option),
    (re.compile(r"[Kk]ey '([^']+)' is not (?:expected|accepted)"), _option),
    (re.compile(r"[Uu]nrecognized arguments: (\S+)"), _unrecognised),
    (re.compile(r"invalid choice: '([^']+)' \(choose from (.*)\)"), _choice),
    (re.compile(r"File does not exist: '?([^']+)'?"), _file),
    (re.compile(r"Expected a dot import path string: (\S+)"), _class),
    (re.compile(r"Expected a typing\.Literal\[(.*)\]\. Got value: (.*)"), _literal),
    (re.compile(r"Expected a <class '(?:builtins\.)?([\w.]+)'>\. Got value: (.*)"), _type),
    (re.compile(r"No supported gpu backend"), _no_gpu),
    (re.compile(r"No module named '([^']+)'"), _import),
    (re.compile(r"Import path (\S+) does not correspond"), _class),
)


def _options(owner: str) -> Iterable[str]:
    module, _, name = owner.rpartition(".")
    if not module:
        return _GROUPS
    found = getattr(importlib.import_module(module), name, None)
    classes = found.__mro__ if inspect.isclass(found) else ()
    names = [name for c in classes for name in inspect.signature(vars(c).get("__init__", object.__init__)).parameters]
    return [name for name in names if name not in {"self", "args", "kwargs"}]


def _class_names() -> list[str]:
    modules = [importlib.import_module(f"dip_lightning.{name}") for name in _MODULES]
    callbacks = importlib.import_module("pytorch_lightning.callbacks")
    return [name for module in (*modules, callbacks) for name in dir(module) if name[:1].isupper()]
