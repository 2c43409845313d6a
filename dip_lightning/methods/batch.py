"""Fits of several measurements at once: one network for each, and who of them is still fitted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.gradients import clip_member_gradients
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.measurement import Measurement
from dip_lightning.members import select_members
from dip_lightning.methods.state import FitState
from dip_lightning.methods.tuning import lay_out
from dip_lightning.networks.initialise import reinitialise
from dip_lightning.networks.stacked import StackedNetwork

#: Optimisers whose step for one weight looks at others: they would mix members.
_NOT_ELEMENTWISE = ("LBFGS", "Adafactor", "Muon")


class BatchedFit(FitState):
    """The part of a method that knows that it may reconstruct several measurements together.

    All tensors that callbacks see have a row for every member, from the first step to the last: rows of members that
    have stopped stay as they were. Only inside an optimiser step are there fewer: members that have stopped are
    dropped from the stacked network, and input, measurement and generators are cut down to those that are left.
    """

    network: nn.Module
    measurement: Measurement
    reinitialise: bool

    def __init__(self) -> None:
        super().__init__()
        self._built_in: torch.dtype | None = None
        self._stack: tuple[Tensor, Measurement, MemberGenerators] | None = None

    # Start -----------------------------------------------------------------------------------------------------

    def stack_network(self, members: int) -> None:
        """Give every member a network of its own.

        Args:
            members: Number of members, ``B``; one needs no stack.

        Raises:
            ConfigurationError: If a stack of another size has weights that must be kept.
        """
        self._running_rows = self._stack = None
        if not isinstance(self.network, StackedNetwork):
            if getattr(self.network, "members", 1) != members:  # else it keeps its members apart by itself
                # The stack draws in its copy of the network: as an earlier fit laid it out, a seed gives other numbers.
                lay_out(self.network, torch.contiguous_format)
                self.network = StackedNetwork(self.network, members).to(next(self.network.parameters()).device)
        elif self.network.members != members:
            if not self.reinitialise:
                raise ConfigurationError(
                    f"The stacked network has weights for {self.network.members} members, not for {members}: "
                    "set data.batch and data.repeat accordingly, or reinitialise: true."
                )
            self.network.resize(members)

    def draw_weights(self, seeds: Sequence[int]) -> None:
        """Draw all weights again, in place: each member's from its seed.

        They are drawn in the precision and memory format that the network was built in, whatever an earlier fit made
        of it: in another, the same seed gives other numbers.
        """
        self._built_in = self._built_in or next(self.network.parameters()).dtype
        self.network.to(self._built_in)
        lay_out(self.network, torch.contiguous_format)
        warn = self.iteration == 0  # a fit that starts over has warned
        if isinstance(self.network, StackedNetwork):
            self.network.reinitialise(seeds, warn)
        else:
            reinitialise(self.network, seeds[0], warn)

    def check_elementwise(self, optimizer: Any, scheduler: Any) -> None:
        """Check that no member's steps depend on another.

        Raises:
            ConfigurationError: If the optimiser or the scheduler looks at all members together.
        """
        if self.roster.size == 1:
            return
        if type(optimizer).__name__ in _NOT_ELEMENTWISE or isinstance(scheduler, ReduceLROnPlateau):
            culprit = scheduler if isinstance(scheduler, ReduceLROnPlateau) else optimizer
            raise ConfigurationError(
                f"{type(culprit).__name__} would mix the {self.roster.size} members that are fitted together: take "
                "Adam or SGD with a schedule by steps, or set data.batch and data.repeat to 1."
            )

    # Step ------------------------------------------------------------------------------------------------------

    @contextmanager
    def stack_only(self) -> Iterator[None]:
        """Cut input, measurement and generators down to the members that the network holds."""
        if self._stack is None:
            yield
            return
        whole = self.stored_input, self.measurement, self.generators
        rows, self.measurement, self.generators = self._stack
        self.stored_input = self.stored_input[rows]
        try:
            yield
        finally:
            self.stored_input, self.measurement, self.generators = whole

    def of_stack(self, whole: Tensor) -> Tensor:
        """Rows of a tensor ``[B, ...]`` for the members that the network holds; all of them until some are dropped."""
        return whole if self._stack is None else whole[self._stack[0]]

    def recomputed_output(self) -> Tensor:
        """Image of the network as it is now from the stored input, ``[B, C, H, W]``, without gradient."""
        with torch.no_grad(), self.stack_only():
            rows = self.measurement.as_image(self.network(self.stored_input))
        return self._spread(rows, self.last_output) if self.roster.partial else rows

    def outputs(self) -> dict[str, Tensor]:
        """Output, loss and terms of the last step, by name."""
        if not hasattr(self, "last_output"):
            return {}
        losses = {"loss": self.loss} if hasattr(self, "loss") else {}
        return {"output": self.last_output, **losses, **getattr(self, "terms", {})}

    def set_outputs(self, outputs: dict[str, Tensor]) -> None:
        """Take output, loss and terms of a step from what :meth:`outputs` gave."""
        outputs = dict(outputs)
        self.last_output, self.loss = outputs.pop("output"), outputs.pop("loss")
        self.terms = outputs

    def keep_stopped(self, before: dict[str, Tensor]) -> None:
        """Give members that have stopped their rows back.

        Args:
            before: :meth:`outputs` before the step.
        """
        whole = {name: self._spread(rows, before.get(name)) for name, rows in self.outputs().items()}
        self.set_outputs(whole)

    def _spread(self, rows: Tensor, old: Tensor | None) -> Tensor:
        whole = rows.new_full((self.roster.size, *rows.shape[1:]), torch.nan) if old is None else old.clone()
        assert self._running_rows is not None
        whole[self._running_rows] = rows[self._positions]
        return whole

    def clip_weight_gradients(self, max_norm: float) -> None:
        """Clip the gradient of each member's weights to a norm."""
        if isinstance(self.network, StackedNetwork):
            clip_member_gradients(self.network.parameters(), max_norm)
        else:
            nn.utils.clip_grad_norm_(self.network.parameters(), max_norm)

    # Stop ------------------------------------------------------------------------------------------------------

    def leave_out_stopped(self) -> bool:
        """Go on without the members that stopped in the last outer step.

        Returns:
            Whether the network's members changed.
        """
        if len(self.roster.remaining) == len(self.roster.running):
            return False
        self.roster.running = self.roster.remaining
        stack = self._cut_down(self.roster.running)
        if stack is not None:  # else stopped members are computed along, and left as they were
            self._drop(self.roster.running)
            self._stack = stack
        self._find_rows()
        return stack is not None

    def restore_members(self) -> None:
        """Continue with the members that a checkpoint says."""
        roster = self.roster
        self._find_rows()
        if len(roster.stack) < roster.size:
            self._stack = self._cut_down(roster.stack)

    def on_train_end(self) -> None:
        """Put the members that were dropped back, with their last weights; see the base class."""
        super().on_train_end()
        roster = self.roster
        if isinstance(self.network, StackedNetwork) and self.network.members < roster.size:
            self.network.put_back(roster.stack, roster.dropped)
            roster.stack, roster.dropped, self._stack = list(range(roster.size)), {}, None

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make room for the weights of as many members as were saved; see the base class."""
        super().on_load_checkpoint(checkpoint)
        if isinstance(self.network, StackedNetwork) and len(self.roster.stack) < self.network.members:
            self.network.keep(range(len(self.roster.stack)))

    def _find_rows(self) -> None:
        """Keep on the device which rows are running, in the images and in the stack: steps must not wait for them."""
        roster = self.roster
        positions = [roster.stack.index(member) for member in roster.running]
        self._running_rows = torch.tensor(roster.running, device=self.device)
        self._positions = torch.tensor(positions, device=self.device)
        self._mask = torch.zeros(roster.size, dtype=torch.bool, device=self.device)
        self._mask[self._running_rows] = True

    def _cut_down(self, members: list[int]) -> tuple[Tensor, Measurement, MemberGenerators] | None:
        measurement = select_members(self.measurement, members)
        if measurement is None or not isinstance(self.network, StackedNetwork):
            return None
        return torch.tensor(members, device=self.device), measurement, self.generators.select(members)

    def _drop(self, running: list[int]) -> None:
        network, roster = self.network, self.roster
        assert isinstance(network, StackedNetwork)
        for row, member in enumerate(roster.stack):
            if member not in running:
                state = network.member_state(row)
                roster.dropped[member] = {name: tensor.cpu() for name, tensor in state.items()}
        rows = [roster.stack.index(member) for member in running]
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        for parameter in network.parameters():
            state = optimizer.state.get(parameter, {})
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    state[name] = value[rows]
        network.keep(rows)
        roster.stack = list(running)
