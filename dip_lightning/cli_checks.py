"""What is checked of a command's options before anything is built from them."""

from __future__ import annotations

from pathlib import Path

from lightning_fabric.utilities.seed import max_seed_value

from dip_lightning.errors import ConfigurationError


def check_seed(seed: bool | int, name: str = "seed_everything") -> None:
    """Check that random numbers can be drawn from a seed.

    Args:
        seed: The number; ``True`` for one drawn at random, ``False`` for none.
        name: Where it was given, for the message.

    Raises:
        ConfigurationError: If it is out of range.
    """
    if not 0 <= seed <= max_seed_value:
        raise ConfigurationError(f"{name}={seed} must be from 0 to {max_seed_value}.")


def check_checkpoint(path: str | None) -> None:
    """Check that there is a checkpoint to continue from.

    Args:
        path: What was asked for: a file, ``last``, or a place that Lightning alone knows, such as ``s3://...``.

    Raises:
        ConfigurationError: If there is no such file.
    """
    if path is None or path in ("last", "hpc") or ":" in path or Path(path).exists():
        return
    raise ConfigurationError(
        f"ckpt_path: there is no checkpoint '{path}'; give 'last', or the path of a checkpoints/last.ckpt."
    )
