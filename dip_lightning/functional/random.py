"""Random draws that belong to each member of a batch, so that results do not depend on who shares the batch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from dip_lightning.errors import ConfigurationError

#: The largest seed that numpy takes, which Lightning seeds together with torch.
MAX_SEED = 2**32 - 1


class MemberGenerators:
    """One random generator per member: member ``b`` draws what it would draw alone.

    Args:
        seeds: A seed for each member.
        device: Where the numbers are drawn.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.device = torch.device(device)

    def normal(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw standard normal numbers.

        Args:
            shape: Shape of one member.
            dtype: Floating-point type.

        Returns:
            ``[B, *shape]``.
        """
        draws = [torch.randn(*shape, generator=g, device=self.device, dtype=dtype) for g in self.generators]
        return torch.stack(draws)

    def uniform(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw numbers uniform on [0, 1).

        Args:
            shape: Shape of one member.
            dtype: Floating-point type.

        Returns:
            ``[B, *shape]``.
        """
        draws = [torch.rand(*shape, generator=g, device=self.device, dtype=dtype) for g in self.generators]
        return torch.stack(draws)

    def select(self, members: Sequence[int]) -> MemberGenerators:
        """Take the generators of some members; drawing from them advances these very generators.

        Args:
            members: Which of them.
        """
        chosen = MemberGenerators([], self.device)
        chosen.generators = [self.generators[member] for member in members]
        return chosen

    def state_dict(self) -> list[Tensor]:
        """States of all generators, for a checkpoint."""
        return [generator.get_state() for generator in self.generators]

    def load_state_dict(self, states: Sequence[Tensor]) -> None:
        """Continue from saved states.

        Generators of a CPU and of a GPU draw other numbers, and neither takes the other's state: where a device of
        another kind saved the states, nothing is changed but for a warning.

        Args:
            states: What :meth:`state_dict` gave.

        Raises:
            ValueError: If there are not as many states as members.
        """
        if len(states) != len(self.generators):
            raise ValueError(f"{len(states)} generator states for {len(self.generators)} members.")
        pairs = list(zip(self.generators, states, strict=True))
        if any(state.shape != generator.get_state().shape for generator, state in pairs):
            warnings.warn(
                f"The random numbers were saved on a device of another kind than {self.device}: they are drawn anew "
                "from the seed, so that the fit goes on otherwise than it would have there.",
                stacklevel=2,
            )
            return
        for generator, state in pairs:
            generator.set_state(state.cpu())


def check_seed(seed: bool | int, name: str = "seed_everything") -> None:
    """Check that random numbers can be drawn from a seed.

    Args:
        seed: The number; ``True`` for one drawn at random, ``False`` for none.
        name: Where it was given, for the message.

    Raises:
        ConfigurationError: If it is out of range.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ConfigurationError(f"{name}={seed} must be from 0 to {MAX_SEED}.")
