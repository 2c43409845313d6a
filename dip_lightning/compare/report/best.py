"""Which mean of a table is the best: only means over the same units can be compared."""

from __future__ import annotations

from dip_lightning.compare.report.statistics import Row, TaskTable


def is_full(row: Row, table: TaskTable) -> bool:
    """Whether a method's means are over all units of the task, so that they compete for the best.

    Args:
        row: The method; a baseline that draws nothing stands for every seed.
        table: Its table.
    """
    return row.units == table.units


def best(table: TaskTable, name: str) -> float | None:
    """Find the highest mean of the methods that have all units.

    Args:
        table: The table.
        name: The score, such as ``psnr_estimate``.

    Returns:
        The mean; ``None`` where no method has it on all units.
    """
    rows = [row for row in table.rows if is_full(row, table)]
    return max((value.mean for row in rows if (value := row.scores[name]) is not None), default=None)
