"""Weights from a file, into a network that must be the same one."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dip_lightning.errors import ConfigurationError

_PREFIX = "network."
_SHOWN = 4


def read_file(path: str | Path, what: str) -> dict[str, Any]:
    """Read a file that torch wrote, without running code from it.

    Args:
        path: The file.
        what: What it should be, for the message.

    Returns:
        The dictionary in it.

    Raises:
        ConfigurationError: If there is no such file, or if it is no dictionary of tensors and numbers.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ConfigurationError(f"There is no {what} {path}: `dip-lightning pretrain` writes one.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise ConfigurationError(f"{path} cannot be read as a {what}: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} is no {what}: it holds a {type(content).__name__}.")
    return content


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Copy weights from a checkpoint into a network, all of them or none.

    Args:
        network: The network, changed in place.
        path: See :func:`read_weights`.

    Raises:
        ConfigurationError: See :func:`read_weights`.
    """
    network.load_state_dict(read_weights(network, path))


def read_weights(network: nn.Module, path: str | Path) -> dict[str, Tensor]:
    """Read the weights of a network from a checkpoint.

    Args:
        network: The network that they are for; not changed.
        path: A Lightning checkpoint whose module keeps its network as ``network``, such as those of
            ``dip-lightning pretrain`` and of any fit, or the saved ``state_dict`` of the network itself.

    Returns:
        A state dict of the network.

    Raises:
        ConfigurationError: If the file cannot be read, or its weights are not those of this network; the message
            lists what is missing, what is too much, and which shapes differ.
    """
    content = read_file(path, "checkpoint")
    saved: dict[str, Tensor] = content.get("state_dict", content)
    if any(name.startswith(_PREFIX) for name in saved):
        saved = {name.removeprefix(_PREFIX): value for name, value in saved.items() if name.startswith(_PREFIX)}
    own = network.state_dict()
    differences = _differences(own, saved)
    if differences:
        raise ConfigurationError(
            f"The weights in {path} are not those of this {type(network).__name__}: {'; '.join(differences)}. "
            "Give the network the arguments that it was pretrained with."
        )
    return saved


def _differences(own: dict[str, Tensor], saved: dict[str, Any]) -> list[str]:
    found = {
        "missing": [name for name in own if name not in saved],
        "unexpected": [name for name in saved if name not in own],
        "of another shape": [
            f"{name} {list(getattr(saved[name], 'shape', []))} instead of {list(value.shape)}"
            for name, value in own.items()
            if name in saved and getattr(saved[name], "shape", None) != value.shape
        ],
    }
    return [f"{len(names)} {kind} ({_some(names)})" for kind, names in found.items() if names]


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:_SHOWN]) + (", ..." if len(shown) > _SHOWN else "")
