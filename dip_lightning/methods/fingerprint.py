"""What a checkpoint says of the fit that it is of, so that no other fit goes on from it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.functional import pad

from dip_lightning.errors import RunFolderError
from dip_lightning.hooks import (
    AddsParameters,
    AveragesIterates,
    PreparesMeasurement,
    StopsFit,
    UpdatesNetworkInput,
    callbacks_of,
)
from dip_lightning.measurement import Measurement

if TYPE_CHECKING:
    from dip_lightning.methods.start import FitStart

#: Settings of which a fit may be continued with others, and what Lightning keeps among them. Seeds are compared for
#: each member.
_LEFT_OUT = frozenset({"outer_steps", "engine", "seed", "_class_path", "_instantiator"})
#: Callbacks that change the fit or its image.
_OF_THE_FIT = (AddsParameters, AveragesIterates, PreparesMeasurement, StopsFit, UpdatesNetworkInput)
#: Relative difference above which data are others: on another machine, simulated data differ by rounding.
_TOLERANCE = 1e-4
_SKETCH_LENGTH = 64
_MOST_SHOWN = 6


def fingerprint(method: FitStart, measurement: Measurement, trainer: pl.Trainer) -> dict[str, Any]:
    """Describe a fit by what must stay the same where it is continued.

    Args:
        method: The method.
        measurement: What the DataModule gave, before a callback keeps a part of it from the fit.
        trainer: Gives the precision and the callbacks. Those that change the fit or its image count, by their kind: a
            stopping rule, for one, may be given more patience.

    Returns:
        ``fit``, plain values by name, and ``sketches``, a :func:`sketch` of each tensor: for a checkpoint.
    """
    tensors = {name: tensor for name, tensor in measurement.tensors.items() if name != "target"}  # no fit sees that
    return {
        "fit": {
            "method": type(method).__name__,
            "measurement": list(measurement.ids),
            "seed": method.member_seeds(measurement),
            "precision": str(trainer.precision),
            **{f"shape of {name}": list(tensor.shape) for name, tensor in tensors.items()},
            "callbacks": [type(c).__name__ for c in callbacks_of(trainer, pl.Callback) if isinstance(c, _OF_THE_FIT)],
            "model": {name: value for name, value in method.hparams.items() if name not in _LEFT_OUT},
        },
        "sketches": {name: sketch(tensor) for name, tensor in tensors.items()},
    }


def sketch(data: Tensor) -> Tensor:
    """Add each member's values up with random signs, in parts: sketches are about as far apart as the data are.

    A hash would also tell data apart that differ by rounding alone.

    Args:
        data: ``[B, ...]``, real or complex.

    Returns:
        ``[B, 64]``, float64, on the host. The signs are the same every time.
    """
    values = (torch.view_as_real(data) if data.is_complex() else data).detach().cpu().flatten(1)
    signs = torch.randint(2, values.shape[1:], generator=torch.Generator().manual_seed(0), dtype=values.dtype)
    whole = pad(values * (2 * signs - 1), (0, -values.shape[1] % _SKETCH_LENGTH))
    return whole.unflatten(1, (_SKETCH_LENGTH, -1)).sum(-1, dtype=torch.float64)


def check_of_a_fit(checkpoint: dict[str, Any]) -> None:
    """Check that a checkpoint is of a fit at all.

    Args:
        checkpoint: What Lightning read.

    Raises:
        RunFolderError: If it is of something else that Lightning trained, such as ``dip-lightning pretrain``.
    """
    if "dip_lightning" not in checkpoint:
        raise RunFolderError(
            "The checkpoint of --ckpt_path is not of a fit, so that none can go on from it: give the "
            "checkpoints/last.ckpt of a run folder, or leave --ckpt_path out. The weights of a pretraining go to "
            "--model.pretrained, with EDIP or SubspaceDIP."
        )


def check_same_fit(before: dict[str, Any] | None, now: dict[str, Any], path: str) -> None:
    """Check that a checkpoint is of the fit that is to go on from it.

    Another number of outer steps, engine, device, logger or setting of a callback makes no other fit.

    Args:
        before: The :func:`fingerprint` in the checkpoint; ``None``, as older ones have it, only warns.
        now: That of the fit.
        path: The checkpoint, for the message.

    Raises:
        RunFolderError: If it is of another fit; the message says what differs.
    """
    if before is None:
        warnings.warn(f"{path} does not say of which fit it is: make sure that it is of this one.", stacklevel=2)
        return
    found = list(_differences("", before["fit"], now["fit"])) or list(_other_data(before["sketches"], now["sketches"]))
    if found:
        more = [f"and {len(found) - _MOST_SHOWN} more"] if len(found) > _MOST_SHOWN else []
        raise RunFolderError(
            f"{path} is of another fit, which this one cannot continue: {'; '.join(found[:_MOST_SHOWN] + more)}. "
            "Set another --record.run_dir, or leave --ckpt_path out to start over (with --record.overwrite true if "
            "the other fit is finished); what its config.yaml says continues it."
        )


def _differences(name: str, before: Any, now: Any) -> Iterator[str]:
    """Compare trees; what only one of them has are options of another version, or of the class that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in now:
            if key in before:
                yield from _differences(
                    name if key == "init_args" else f"{name}.{key}".lstrip("."), before[key], now[key]
                )
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now) and _has_trees(now):
        for position, pair in enumerate(zip(before, now, strict=True)):
            yield from _differences(f"{name}.{position}", *pair)
    elif not isinstance(now, Tensor) and before != now:
        yield f"{name} was {_shown(before)}, is now {_shown(now)}"


def _other_data(before: dict[str, Tensor], now: dict[str, Tensor]) -> Iterator[str]:
    for name in before.keys() ^ now.keys():
        yield f"{name} was {'given' if name in before else 'not given'} before"
    for name in [name for name in now if name in before]:
        change, size = (now[name] - before[name]).norm(dim=1), now[name].norm(dim=1)
        if bool((change > _TOLERANCE * size).any()):
            yield f"{name} has other values"


def _has_trees(items: list[Any]) -> bool:
    return any(isinstance(item, dict) for item in items)


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "class_path" in value:
        return str(value["class_path"]).rpartition(".")[2]
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
