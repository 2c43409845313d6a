"""What is checked of a command's options before anything is built from them."""

from __future__ import annotations

from pathlib import Path

from dip_lightning.errors import ConfigurationError


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
