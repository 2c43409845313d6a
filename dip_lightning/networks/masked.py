"""One mask over all trained parameters of a network, as a flat vector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dip_lightning.errors import ConfigurationError
from dip_lightning.networks.weights import read_file


def trained(network: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of a network that are trained, by name."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def parts(flat: Tensor, network: nn.Module) -> dict[str, Tensor]:
    """Cut a flat vector into views of the shapes of a network's trained parameters.

    Args:
        flat: ``[P]``.
        network: The network, with ``P`` trained parameters.
    """
    own = trained(network)
    pieces = flat.split([parameter.numel() for parameter in own.values()])
    return {name: piece.view_as(own[name]) for name, piece in zip(own, pieces, strict=True)}


def apply_mask(mask: Tensor, network: nn.Module) -> None:
    """Set the weights that a mask leaves out to zero, in place.

    Args:
        mask: ``[P]``, boolean.
        network: The network.
    """
    own = trained(network)
    with torch.no_grad():
        for name, piece in parts(mask, network).items():
            own[name].mul_(piece)


def save_mask(path: Path, mask: Tensor, network: nn.Module, seed: int) -> None:
    """Write a mask file.

    Args:
        path: The file.
        mask: ``[P]``, boolean.
        network: The network.
        seed: Seed of the weights that the mask was learned on.
    """
    pieces = {name: piece.clone().cpu() for name, piece in parts(mask, network).items()}
    torch.save({"mask": pieces, "seed": seed}, path)


def load_mask(path: str | Path, network: nn.Module) -> tuple[Tensor, int]:
    """Read a mask file.

    Args:
        path: The file.
        network: The network that the mask is for.

    Returns:
        The mask ``[P]``, boolean, and the seed of the weights that it was learned on.

    Raises:
        ConfigurationError: If the file cannot be read or is for another network.
    """
    content = read_file(path, "mask")
    saved: Any = content.get("mask")
    if not isinstance(saved, dict):
        raise ConfigurationError(f"{path} is no mask: OESDIP writes mask.pt into its run folder.")
    own = trained(network)
    wrong = [
        name
        for name in {**own, **saved}
        if name not in own or name not in saved or saved[name].shape != own[name].shape
    ]
    if wrong:
        raise ConfigurationError(
            f"The mask {path} is for another network than this {type(network).__name__}: {len(wrong)} parameters "
            f"are missing, unknown or of another shape ({', '.join(wrong[:4])})."
        )
    return torch.cat([saved[name].flatten() for name in own]), int(content["seed"])
