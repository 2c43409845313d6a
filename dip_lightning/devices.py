"""Which CUDA devices a process that is started here may see."""

from __future__ import annotations

import os

from dip_lightning.errors import ConfigurationError

#: The variable in which CUDA is told what to show to a process.
VARIABLE = "CUDA_VISIBLE_DEVICES"


def cuda_environment(number: int) -> dict[str, str]:
    """Environment of a process that is to see one device, and take memory on no other.

    Args:
        number: Which, counted among those that this process may see, which need not be all of the machine's.

    Returns:
        The variable, to be added to the environment before the process starts.

    Raises:
        ConfigurationError: If this process may see fewer.
    """
    given = os.environ.get(VARIABLE)
    if not given:
        return {VARIABLE: str(number)}
    visible = [name.strip() for name in given.split(",")]
    if not 0 <= number < len(visible):
        raise ConfigurationError(
            f"CUDA device {number} is asked for, but {VARIABLE}={given} shows {len(visible)}, counted from 0."
        )
    return {VARIABLE: visible[number]}
