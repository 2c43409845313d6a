"""Copies of one network, each with weights of its own, that reconstruct several measurements at once."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.networks.initialise import reinitialise

Evaluation = Literal["vmap", "loop"]


class StackedNetwork(nn.Module):
    """A network with one set of weights for each member of the batch: member ``b`` of the input sees weights ``b``.

    Parameters keep the names that they have in the single network and get a leading dimension ``B``, so that one
    elementwise optimiser (SGD, Adam and their kin) moves every member as it would move alone. Batch norm takes the
    statistics of each member by itself. Methods wrap their network in it where a measurement has several members;
    nobody has to write it into a configuration.

    Args:
        network: The single network. It is copied; every member starts with its weights.
        members: Number of members, ``B``.
        evaluation: ``vmap`` runs all members in one pass, with grouped convolutions; ``loop`` one after another,
            for networks that ``vmap`` cannot take.

    Raises:
        ConfigurationError: If there is no member, the evaluation is unknown, or the network is stacked already.
    """

    def __init__(self, network: nn.Module, members: int, evaluation: Evaluation = "vmap") -> None:
        super().__init__()
        if members < 1:
            raise ConfigurationError(f"members={members} must be at least 1.")
        if isinstance(network, StackedNetwork):
            raise ConfigurationError("A StackedNetwork cannot be stacked again: give the single network.")
        self.evaluation: Evaluation = check_option("evaluation", evaluation, get_args(Evaluation))
        self.members = members
        self._single = [copy.deepcopy(network)]  # in a list: no submodule, or its weights would be trained
        self.network = _with_tensors(network, lambda tensor: torch.stack([tensor] * members))

    @property
    def single(self) -> nn.Module:
        """A network of the same architecture without members; its weights are those of no member."""
        return self._single[0]

    def forward(self, x: Tensor) -> Tensor:
        """Map every member of the input by its own weights.

        Args:
            x: ``[B, C_in, H, W]``.

        Returns:
            ``[B, C_out, H, W]``.

        Raises:
            ConfigurationError: If ``x`` has another number of members.
        """
        if len(x) != self.members:
            raise ConfigurationError(f"{len(x)} inputs for the {self.members} members of a StackedNetwork.")
        weights: dict[str, Tensor] = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        if self.evaluation == "loop":
            of_member = [{name: tensor[b] for name, tensor in weights.items()} for b in range(self.members)]
            return torch.cat([self._one(own, x[b : b + 1]) for b, own in enumerate(of_member)])
        return vmap(self._one, randomness="different")(weights, x.unsqueeze(1)).squeeze(1)

    def settle(self, x: Tensor) -> None:
        """Run the members one after another from now on, with a warning, if ``vmap`` cannot take the network.

        Args:
            x: An input, ``[B, C_in, H, W]``.
        """
        if self.evaluation == "loop":
            return
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                self(x.to(next(self.parameters())))
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            self.evaluation = "loop"
            warnings.warn(
                f"{type(self.single).__name__} cannot be run for all {self.members} members in one pass; they are run "
                f"one after another: {str(error).splitlines()[0]}",
                stacklevel=2,
            )

    def reinitialise(self, seeds: Sequence[int], warn: bool = True) -> None:
        """Draw all weights again, in place: member ``b`` gets what the single network gets from ``seeds[b]``.

        Args:
            seeds: A seed for each member.
            warn: Whether to warn of parameters that do not depend on the seed.

        Raises:
            ConfigurationError: If there are not as many seeds as members.
        """
        if len(seeds) != self.members:
            raise ConfigurationError(f"{len(seeds)} seeds for the {self.members} members of a StackedNetwork.")
        self.single.to(dtype=next(self.parameters()).dtype)
        for member, seed in enumerate(seeds):
            reinitialise(self.single, seed, warn and member == 0)
            self.set_member(member, self.single.state_dict())

    def member_state(self, member: int) -> dict[str, Tensor]:
        """Copy a member's weights, as a state dict of the single network."""
        return {name: tensor[member].detach().clone() for name, tensor in self.network.state_dict().items()}

    def set_member(self, member: int, state: dict[str, Tensor]) -> None:
        """Give a member weights, in place.

        Args:
            member: Which member.
            state: A state dict of the single network.
        """
        with torch.no_grad():
            for name, tensor in self.network.state_dict().items():
                tensor[member].copy_(state[name])

    def keep(self, members: Sequence[int]) -> None:
        """Leave members out. The parameters stay the same objects, with fewer rows and no gradient.

        Args:
            members: Those that stay, in order.
        """
        rows = torch.tensor(list(members), device=next(self.parameters()).device)
        for tensor in (*self.network.parameters(), *self.network.buffers()):
            tensor.data = tensor.data[rows]
            tensor.grad = None
        self.members = len(members)

    def put_back(self, members: Sequence[int], states: dict[int, dict[str, Tensor]]) -> None:
        """Undo :meth:`keep`: the rows that are left become the rows ``members``, and others come from their states.

        Args:
            members: Where each row goes.
            states: State dicts of the single network, by the rows that are missing.
        """
        total = len(members) + len(states)
        tensors = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        for name, tensor in tensors.items():
            whole = tensor.data.new_empty(total, *tensor.shape[1:])
            whole[list(members)] = tensor.data
            for member, state in states.items():
                whole[member] = state[name].to(whole)
            tensor.data = whole
            tensor.grad = None
        self.members = total

    def resize(self, members: int) -> None:
        """Change the number of members; new parameters, every member with the weights of :attr:`single`.

        Args:
            members: Number of members.
        """
        first = next(self.parameters())
        stacked = _with_tensors(self.single, lambda tensor: torch.stack([tensor] * members))
        self.network, self.members = stacked.to(first.device, first.dtype), members

    def set_image_size(self, size: tuple[int, int]) -> None:
        """Tell a decoder the size of the image; other networks need not know."""
        for network in (self.single, self.network):
            if hasattr(network, "set_image_size"):
                network.set_image_size(size)  # type: ignore[operator]

    def _one(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        output: Tensor = functional_call(self.network, weights, (x,))
        return output


def _with_tensors(network: nn.Module, change: Callable[[Tensor], Tensor]) -> nn.Module:
    """Copy a network with every parameter and buffer changed; what was shared stays shared."""
    network = copy.deepcopy(network)
    made: dict[int, Any] = {}
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in made:
                made[id(parameter)] = nn.Parameter(change(parameter.detach()), parameter.requires_grad)
            module.register_parameter(name, made[id(parameter)])
        for name, buffer in module.named_buffers(recurse=False):
            if id(buffer) not in made:
                made[id(buffer)] = change(buffer)
            setattr(module, name, made[id(buffer)])
    return network
