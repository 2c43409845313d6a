"""What a fit knows beside its weights: counters, iterates, the estimate, and how they survive a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from dip_lightning.functional.random import MemberGenerators
from dip_lightning.members import Ending, Roster


class FitState(pl.LightningModule):
    """Counters and iterates of a fit, saved in its checkpoints.

    Attributes:
        iteration: Optimiser steps made.
        outer_step: Outer steps made; the loop stops on this counter, also after a resume.
        last_output: Network output of the last step, ``[B, C, H, W]``, taken in train mode.
        reports: Images that callbacks offer: ``average``, ``consistent``, ``selected``, ``uncertainty``, each
            ``[B, C, H, W]``.
        record: Values of the current outer step, each ``[B]``: losses, and what callbacks add.
        stopped_by: Why the fit ended; empty while it runs.
        roster: Who of the batch is still fitted, and why others are not.
        stored_input: The network input, a buffer.
        passes: How often the outer steps may be made: twice where a callback starts the fit over.
    """

    stored_input: Tensor
    generators: MemberGenerators
    last_output: Tensor
    loss: Tensor
    terms: dict[str, Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("stored_input", torch.empty(0))
        self.passes = 1
        self._started: float | None = None
        self.begin(1)

    def begin(self, members: int) -> None:
        """Forget an earlier fit: the next one starts from nothing, or from a checkpoint that is read after this.

        Args:
            members: Number of members, ``B``.
        """
        self.iteration = 0
        self.outer_step = 0
        self.stopped_by = ""
        self.roster = Roster(members)
        self.reports: dict[str, Tensor] = {}
        self.record: dict[str, Tensor] = {}
        self._last_finite: dict[str, Tensor] = {}
        self._mask: Tensor | None = None  # of the members that are fitted, where some are not
        self._running_rows: Tensor | None = None  # their rows, on the device
        self._seconds_before = 0.0
        self._restored: dict[str, Any] = {}
        for name in ("last_output", "loss", "terms"):
            self.__dict__.pop(name, None)

    @property
    def current_estimate(self) -> Tensor:
        """The image that would be reported if the fit ended now and no stopping rule had chosen: ``[B, C, H, W]``."""
        for name in ("consistent", "average"):
            if name in self.reports:
                return self.reports[name]
        return self.last_output

    @property
    def estimate(self) -> Tensor:
        """The image that is reported: the iterate chosen by a stopping rule, else :attr:`current_estimate`."""
        selected = self.reports.get("selected")
        if selected is None:
            return self.current_estimate
        if not hasattr(self, "last_output"):  # a stored reconstruction is scored
            return selected
        # One that was stored is on the host, also after a fit on a GPU in the same process.
        return torch.where(selected.isnan(), self.current_estimate.to(selected.device), selected)

    @property
    def seconds(self) -> float:
        """Time spent fitting, in seconds, over all resumes."""
        running = 0.0 if self._started is None else time.perf_counter() - self._started
        return self._seconds_before + running

    def report(self, name: str, image: Tensor) -> None:
        """Offer an image to the run folder, and as the estimate where it is one.

        Args:
            name: ``average``, ``consistent``, ``selected`` or ``uncertainty``.
            image: ``[B, C, H, W]``; rows of members that have stopped are left as they were. In ``selected``, NaN
                stands for members without a selection.
        """
        self.reports[name] = self.unless_stopped(image.detach(), self.reports.get(name))

    def record_value(self, name: str, value: Tensor) -> None:
        """Add a value to the current outer step's row and to the loggers.

        Args:
            name: Column of ``metrics.csv``.
            value: One value for each member, ``[B]``.
        """
        self.record[name] = value
        self.log(name, self.mean_of_running(value.float()))

    def stop(self, reason: str) -> None:
        """End the fit after the current outer step.

        Args:
            reason: What goes into ``summary.json`` as ``stopped_by``; the first reason given counts.
        """
        self.stopped_by = self.stopped_by or reason
        self.trainer.should_stop = True

    def stop_members(self, members: Sequence[int], reason: str) -> None:
        """Fit some members no longer after the current outer step; the fit ends with the last of them.

        Args:
            members: Which; those that have stopped already are left alone.
            reason: What goes into their ``summary.json`` as ``stopped_by``.
        """
        stopping = [member for member in self.roster.remaining if member in members]
        if stopping and len(stopping) == len(self.roster.remaining):
            self.stop(reason)
            return
        for member in stopping:
            self.roster.endings[member] = Ending(reason, self.iteration, self.seconds)

    def ending(self, member: int) -> Ending:
        """Why and when a member stopped, as things stand now."""
        return self.roster.endings.get(member) or Ending(self.stopped_by, self.iteration, self.seconds)

    def unless_stopped(self, new: Tensor, old: Tensor | None) -> Tensor:
        """Take new values for the members that are fitted, and old ones for those that have stopped or broken down.

        Args:
            new: ``[B, ...]``.
            old: The same shape; ``None`` takes the new values for all.
        """
        if old is None or not self.roster.endings:
            return new
        assert self._mask is not None
        mask = self._mask.view(-1, *[1] * (new.ndim - 1))
        return torch.where(mask.to(new.device), new, old.to(new.device))

    def mean_of_running(self, value: Tensor) -> Tensor:
        """Mean of ``[B]`` values over the members that are fitted."""
        if not self.roster.partial:
            return value.mean()
        assert self._running_rows is not None
        return value[self._running_rows.to(value.device)].mean()

    def fall_back_to(self, image: Tensor) -> None:
        """Say what is kept if not even the first outer step is finite.

        Args:
            image: ``[B, C, H, W]``.
        """
        self._last_finite = {"output": image}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Remember the images as they are before an outer step, for members that break down in it."""
        if hasattr(self, "last_output"):
            self._last_finite = {"output": self.last_output, **self.reports}
            if "average" in self.reports:  # the only one that is changed in place
                self._last_finite["average"] = self.reports["average"].clone()

    def keep_if_finite(self) -> bool:
        """Give a member whose loss or output is not finite all images back that it had before this outer step.

        Returns:
            Whether all that are fitted were finite; those that were not are stopped, by ``nan``.
        """
        finite = torch.isfinite(self.loss) & torch.isfinite(self.last_output).flatten(1).all(1)
        bad = [member for member, fine in enumerate(finite.tolist()) if not fine and member in self.roster.running]
        if bad and self._last_finite:
            rows, before = finite[:, None, None, None], self._last_finite
            self.last_output = torch.where(rows, self.last_output, before["output"])
            # An average that began in this outer step was the output until then.
            first = {"average": before["output"]}
            for name, image in self.reports.items():
                self.reports[name] = torch.where(rows, image, before.get(name, first.get(name, torch.nan)))
        self.stop_members(bad, "nan")
        if bad and self._mask is not None:
            self._mask = self._mask & finite  # callbacks leave them alone from now on, not from the next outer step
        return not bad

    # Checkpoints -----------------------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        """Start the clock; continue an interrupted fit where it was: images on the device, random numbers."""
        self._started = time.perf_counter()
        if not self._restored:
            return
        self.last_output = self.last_output.to(self.device)
        self.reports = {name: image.to(self.device) for name, image in self.reports.items()}
        random = self._restored["random"]
        torch.set_rng_state(random["cpu"].cpu())
        if self.device.type == "cuda" and random["cuda"]:
            torch.cuda.set_rng_state(random["cuda"][0].cpu(), self.device)

    def on_train_end(self) -> None:
        """Stop the clock."""
        self._seconds_before, self._started = self.seconds, None

    def restore_generators(self) -> None:
        """Give the fit's own generators the state that they had when the checkpoint was written."""
        if self._restored:
            self.generators.load_state_dict(self._restored["generators"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add counters, iterates and random states."""
        checkpoint["dip_lightning"] = {
            "iteration": self.iteration,
            "outer_step": self.outer_step,
            "seconds": self.seconds,
            "last_output": self.last_output,
            "reports": dict(self.reports),
            "generators": self.generators.state_dict(),
            "roster": self.roster.state_dict(),
            "random": {
                "cpu": torch.get_rng_state(),
                # Of the fit's own device: it may be continued where there are more or fewer, or none.
                "cuda": [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else [],
            },
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Bring counters, iterates and random states back."""
        checkpoint.pop("loops", None)  # outer_step counts; Lightning's count would end a fit that is given more steps
        state = checkpoint["dip_lightning"]
        self._restored = state
        self.iteration, self.outer_step = state["iteration"], state["outer_step"]
        self._seconds_before = state["seconds"]
        self.last_output = state["last_output"]
        self.reports = dict(state["reports"])
        self.roster = Roster.from_state(state["roster"])
        self.stored_input = torch.empty_like(checkpoint["state_dict"]["stored_input"])
        self.to(self.stored_input.dtype)  # Lightning fills the weights before it converts them to its precision
