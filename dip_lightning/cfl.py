"""Arrays in the files of the BART toolbox: a ``.cfl`` of numbers and a ``.hdr`` of its dimensions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dip_lightning.errors import MeasurementError


def read_cfl(path: Path) -> NDArray[Any]:
    """Read a ``.cfl`` file and its header: single-precision complex numbers, first axis fastest.

    Args:
        path: The ``.cfl``; the ``.hdr`` lies beside it.

    Returns:
        complex64, axes in BART's order (read, phase 1, phase 2, coil, ...), those of length 1 too.

    Raises:
        MeasurementError: If the header is missing or unreadable, or states another number of values.
    """
    header = path.with_suffix(".hdr")
    if not header.is_file():
        raise MeasurementError(f"{path} needs its header {header.name} beside it.")
    match = re.search(r"#\s*Dimensions\s*\n\s*([\d ]+)", header.read_text(encoding="utf-8", errors="replace"))
    if match is None:
        raise MeasurementError(f"{header} has no line of dimensions below '# Dimensions'.")
    shape = [int(number) for number in match.group(1).split()]
    values = np.fromfile(path, dtype="<c8")
    if values.size != int(np.prod(shape)):
        raise MeasurementError(f"{path} holds {values.size} numbers, but its header states {shape}.")
    return values.reshape(shape, order="F")
