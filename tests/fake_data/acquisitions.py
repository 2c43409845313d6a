"""The simplest acquisition there is, for tests of what comes before it."""

from __future__ import annotations

from typing import Any

import deepinv
from deepinv.physics import Physics
from torch import Tensor

from dip_lightning.functional.random import MemberGenerators
from dip_lightning.physics.acquisition import Acquisition


class Noisy(Acquisition):
    """The image itself plus normal noise."""

    task = "denoising"

    def __init__(self, sigma: float = 0.0) -> None:
        self.sigma = sigma

    def physics(self, image_shape: tuple[int, int, int]) -> Physics:
        return deepinv.physics.Denoising()

    def initial(self, y: Tensor, physics: Physics) -> Tensor:
        return y.clone()

    def add_noise(self, clean: Tensor, generators: MemberGenerators) -> tuple[Tensor, float | None]:
        return clean + self.sigma * generators.normal(clean.shape[1:]), self.sigma

    def describe(self) -> dict[str, Any]:
        return {"metadata": {"sigma": self.sigma}}
