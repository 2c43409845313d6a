"""Read what a ``.wandb`` file holds: a log of protobuf records in blocks, as LevelDB writes them."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK = 32768
_FILE_HEADER, _HEADER = 7, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass
class Stored:
    """A run as its file tells it."""

    id: str = ""
    group: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, str] = field(default_factory=dict)
    exited: bool = False
    exit_code: int | None = None


def read_runs(folder: Path) -> list[Stored]:
    """Read every run below a folder, in the order of their files' names; first wandb has to let go of them."""
    import wandb

    wandb.teardown()
    return [read_run(path) for path in sorted(folder.rglob("*.wandb"))]


def read_run(path: Path) -> Stored:
    """Read one run."""
    from wandb.proto import wandb_internal_pb2

    stored = Stored()
    for content in _records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        _add(stored, record)
    return stored


def _records(data: bytes) -> list[bytes]:
    found, parts, position = [], b"", _FILE_HEADER
    while position + _HEADER <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:
            position += left
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        if kind == 0:
            position += left
            continue
        chunk = data[position + _HEADER : position + _HEADER + length]
        position += _HEADER + length
        parts = chunk if kind in (_FULL, _FIRST) else parts + chunk
        if kind in (_FULL, _LAST):
            found.append(parts)
    return found


def _add(stored: Stored, record: Any) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        stored.id, stored.group, stored.job_type = record.run.run_id, record.run.run_group, record.run.job_type
        stored.tags = list(record.run.tags)
        stored.config.update(_values(record.run.config.update))
    elif kind == "config":
        stored.config.update(_values(record.config.update))
    elif kind == "history":
        stored.history.append(_values(record.history.item))
    elif kind == "summary":
        stored.summary.update(_values(record.summary.update))
    elif kind == "metric":
        stored.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
    elif kind == "exit":
        stored.exited, stored.exit_code = True, record.exit.exit_code


def _values(items: Any) -> dict[str, Any]:
    """Values by name; what W&B stores in parts (pictures, tables) as a dictionary of them."""
    found: dict[str, Any] = {}
    for item in items:
        name, *rest = item.nested_key or [item.key]
        value = json.loads(item.value_json)
        if rest:
            found.setdefault(name, {})["/".join(rest)] = value
        else:
            found[name] = value
    return found
