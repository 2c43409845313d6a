"""Which CUDA devices a process that is started here may see."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch

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
    if given is None:
        return {VARIABLE: str(number)}
    visible = [name.strip() for name in given.split(",") if name.strip()]  # where it is empty, CUDA shows none
    if not 0 <= number < len(visible):
        raise ConfigurationError(
            f"CUDA device {number} is asked for, but {VARIABLE}={given} shows {len(visible)}, counted from 0."
        )
    return {VARIABLE: visible[number]}


def check_cuda_devices(numbers: Iterable[int]) -> None:
    """Check that devices are there: a process that is shown none would take the CPU without a word.

    Args:
        numbers: Which, counted among those that this process may see.

    Raises:
        ConfigurationError: If this process sees fewer.
    """
    missing = [number for number in numbers if number >= torch.cuda.device_count()]
    if missing:
        raise ConfigurationError(
            f"CUDA device {missing[0]} is asked for, but {torch.cuda.device_count()} can be used here, counted from 0."
        )
