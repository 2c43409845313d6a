"""Names that the command line knows, for the near match of one that it does not."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

#: Commands beside Lightning's own: the module whose ``main(arguments) -> exit code`` runs each.
COMMANDS = {
    "compare": "dip_lightning.compare.command",
    "datasets": "dip_lightning.datasets_command",
    "pretrain": "dip_lightning.pretraining.command",
    "report": "dip_lightning.compare.report.command",
    "wandb": "dip_lightning.compare.wandb_push",
}
#: Where classes that can be named without their module come from.
_MODULES = (
    *(f"dip_lightning.{name}" for name in ("methods", "networks", "callbacks", "physics", "data", "inputs")),
    *("dip_lightning.penalties", "dip_lightning.weighting"),
    *("pytorch_lightning.callbacks", "pytorch_lightning.loggers", "torch.optim", "torch.optim.lr_scheduler"),
)
#: Options whose message does not say what they take, for they take one kind alone.
_BASES = {"acquisition": "dip_lightning.physics.Acquisition", "optimizer": "torch.optim.Optimizer"}
#: Classes behind the groups of options.
_GROUP_CLASSES = {
    "trainer": "pytorch_lightning.Trainer",
    "metrics": "dip_lightning.callbacks.ReconstructionMetrics",
    "progress": "dip_lightning.callbacks.DIPProgress",
    "record": "dip_lightning.callbacks.ResultWriter",
    "checkpoint": "dip_lightning.callbacks.ResumeCheckpoint",
}
_OTHERS = ("config", "seed_everything", "model", "data", "ckpt_path", "print_config", "help")
GROUPS = (*_GROUP_CLASSES, *_OTHERS)


def find(path: str) -> Any:
    """Import what a dotted path names; ``None`` where there is nothing."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):
        return None


def options_of(owner: str) -> list[str]:
    """Names of the options of a class, or of the whole configuration.

    Args:
        owner: Class path; empty for the configuration.
    """
    if not owner:
        return list(GROUPS)
    owner = _GROUP_CLASSES.get(owner, owner)
    names: list[str] = []
    for ancestor in getattr(find(owner), "__mro__", ()):
        if "__init__" not in vars(ancestor):
            continue
        parameters = inspect.signature(ancestor.__init__).parameters.values()
        names += [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            break  # nothing is handed on to the next
    return [name for name in names if name not in {"self", "args"}]


def wanted(subtypes: str, option: str) -> type | None:
    """Base of the classes that an option takes.

    Args:
        subtypes: The alternatives that the parser lists; empty where there is one alone.
        option: Its name.

    Returns:
        The base, or ``None`` if it is not known.
    """
    results = re.sub(r"Callable\[\[.*?\],", "", subtypes)  # of a factory, what it gives counts
    paths = re.findall(r"\w+(?:\.\w+)+", results) if subtypes else [_BASES.get(option, "")]
    return next((found for found in map(find, paths) if inspect.isclass(found)), None)


def class_names(base: type | None = None) -> list[str]:
    """Names of the suite's, Lightning's and torch's classes.

    Args:
        base: What they must be derived from.
    """
    return [name for name, found in _classes() if base is None or issubclass(found, base)]


def names_in(module: str, name: str) -> Iterable[str]:
    """What a module has that could have been meant: classes for a name that begins like one, else modules.

    Args:
        module: A module that can be imported.
        name: The name that it does not have.
    """
    kind = inspect.isclass if name[:1].isupper() else inspect.ismodule
    return [known for known, value in vars(importlib.import_module(module)).items() if known[0] != "_" and kind(value)]


def _classes() -> Iterator[tuple[str, type]]:
    for path in _MODULES:
        for name, value in vars(importlib.import_module(path)).items():
            own = inspect.isclass(value) and value.__module__.startswith(path)
            if own and name[0] != "_" and not inspect.isabstract(value):
                yield name, value
