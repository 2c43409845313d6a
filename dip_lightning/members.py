"""Members of a batch: several measurements, or several seeds of one, that are reconstructed together."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from deepinv.physics import Physics
from torch import Tensor

from dip_lightning.errors import ConfigurationError
from dip_lightning.measurement import Measurement


def repeat_measurement(measurement: Measurement, times: int) -> Measurement:
    """Put every member ``times`` times into the batch, to be fitted from as many seeds.

    Args:
        measurement: ``B`` members.
        times: How often each stands in the result, one after the other.

    Returns:
        ``B * times`` members; the physics is the same object.

    Raises:
        ConfigurationError: If the physics cannot take more images than before.
    """
    if times == 1:
        return measurement
    rows = [member for member in range(measurement.batch_size) for _ in range(times)]
    repeated = take_rows(measurement, rows, measurement.physics)
    repeated = replace(repeated, repetitions=tuple(range(times)) * measurement.batch_size)
    physics = _physics_for(measurement, rows)
    if physics is None:
        raise ConfigurationError(
            f"The physics {type(measurement.physics).__name__} does not take {len(rows)} images at once; "
            "set data.repeat to 1 and run one fit for each seed."
        )
    return replace(repeated, physics=physics)


def select_members(measurement: Measurement, members: Sequence[int]) -> Measurement | None:
    """Take some of the members of a measurement.

    Args:
        measurement: ``B`` members.
        members: Which of them.

    Returns:
        A measurement of those, or ``None`` where the physics cannot be cut down to them.
    """
    physics = _physics_for(measurement, members)
    return None if physics is None else take_rows(measurement, members, physics)


def take_rows(measurement: Measurement, members: Sequence[int], physics: Physics) -> Measurement:
    """Take some of the members of a measurement, in any order and number, with a physics that does for them.

    Args:
        measurement: ``B`` members.
        members: Which of them.
        physics: Forward operator of what is taken.
    """
    rows = list(members)
    tensors: dict[str, Any] = {name: tensor[rows] for name, tensor in measurement.tensors.items()}
    ids = tuple(measurement.ids[row] for row in rows)
    repetitions = measurement.repetitions and tuple(measurement.repetitions[row] for row in rows)
    return replace(measurement, physics=physics, ids=ids, repetitions=repetitions, **tensors)


def _physics_for(measurement: Measurement, members: Sequence[int]) -> Physics | None:
    """Find a physics that does for these members what it does for all: itself, or one with its buffers cut down."""
    rows, images = list(members), measurement.initial
    with torch.no_grad():
        expected = measurement.physics.A(images)[rows]
        for physics in _candidates(measurement.physics, rows, len(images)):
            try:
                got = physics.A(images[rows])
            except (RuntimeError, ValueError):
                continue
            if got.shape == expected.shape and torch.allclose(got, expected, rtol=1e-3, atol=1e-5 * _scale(expected)):
                return physics
    return None


def _candidates(physics: Physics, rows: list[int], members: int) -> Iterator[Physics]:
    yield physics
    yield _with_rows(physics, rows, members)  # a copy, which is not made unless it is asked for


def _with_rows(physics: Physics, rows: list[int], members: int) -> Physics:
    physics = copy.deepcopy(physics)
    for module in physics.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.ndim > 1 and len(buffer) == members:
                setattr(module, name, buffer[rows])
    return physics


def _scale(tensor: Tensor) -> float:
    return float(tensor.abs().amax()) or 1.0


@dataclass
class Ending:
    """Why, and when, a member stopped being fitted."""

    reason: str
    iteration: int
    seconds: float


@dataclass
class Roster:
    """Who of a batch is still fitted.

    Attributes:
        size: Number of members, ``B``.
        running: Members that are fitted.
        stack: Members that the stacked network still holds: all, or those that were running when it was cut down.
        endings: Of members that stopped before the others.
        dropped: Last weights of the members that the network no longer holds.
    """

    size: int
    running: list[int] = field(init=False)
    stack: list[int] = field(init=False)
    endings: dict[int, Ending] = field(default_factory=dict)
    dropped: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start with everyone."""
        self.running = list(range(self.size))
        self.stack = list(range(self.size))

    @property
    def remaining(self) -> list[int]:
        """Members that are fitted in the next outer step."""
        return [member for member in self.running if member not in self.endings]

    @property
    def partial(self) -> bool:
        """Whether some members are not fitted any more."""
        return len(self.running) < self.size

    def state_dict(self) -> dict[str, Any]:
        """All of it as plain values and tensors, for a checkpoint."""
        endings = {member: (e.reason, e.iteration, e.seconds) for member, e in self.endings.items()}
        return {
            "size": self.size,
            "running": list(self.running),
            "stack": list(self.stack),
            "endings": endings,
            "dropped": {m: {name: tensor.clone() for name, tensor in s.items()} for m, s in self.dropped.items()},
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Roster:
        """Bring back what :meth:`state_dict` gave."""
        roster = cls(state["size"])
        roster.running, roster.stack = list(state["running"]), list(state["stack"])
        roster.endings = {member: Ending(*ending) for member, ending in state["endings"].items()}
        roster.dropped = dict(state["dropped"])
        return roster
