"""Small problems that the tests share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from deepinv.physics import LinearPhysics
from torch import Tensor, nn

from dip_lightning.data import InMemory
from dip_lightning.measurement import Measurement
from dip_lightning.methods import BaseDIP


class MatrixPhysics(LinearPhysics):
    """An explicit matrix on flattened images."""

    def __init__(self, matrix: Tensor, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.image_shape = image_shape

    def A(self, x: Tensor, **_: Any) -> Tensor:
        x = x.flatten(1)
        return (x.to(self.matrix) if self.matrix.is_complex() else x) @ self.matrix.T

    def A_adjoint(self, y: Tensor, **_: Any) -> Tensor:
        image = (y @ self.matrix.conj()).reshape(-1, *self.image_shape)
        return image.real if image.is_complex() else image


class Shrink(nn.Module):
    """A denoiser that shrinks towards the mean by its strength, and notes the strengths."""

    def __init__(self) -> None:
        super().__init__()
        self.strengths: list[float] = []

    def forward(self, x: Tensor, sigma: float) -> Tensor:
        self.strengths.append(sigma)
        return (x + sigma * x.mean()) / (1 + sigma)


class TinyNetwork(nn.Module):
    """Two convolutions; no norm layers, so that a member's output depends on its own input alone."""

    def __init__(self, in_channels: int = 1, out_channels: int = 1, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.last = nn.Conv2d(width, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)))


def matrix_measurement(size: int = 6, rows: int = 20, seed: int = 0, **fields: Any) -> Measurement:
    """A random full-rank matrix applied to a random image, in float64."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 1, size, size, generator=generator, dtype=torch.float64)
    matrix = torch.randn(rows, size * size, generator=generator, dtype=torch.float64) / size
    physics = MatrixPhysics(matrix, (1, size, size))
    y = physics.A(image)
    initial = physics.A_adjoint(y)
    fields = {"target": image, "task": "matrix", "ids": ("matrix",), **fields}
    return Measurement(y=y, physics=physics, initial=initial, **fields)


def complex_measurement(**fields: Any) -> Measurement:
    """The same with complex data: the matrix and its square make the two parts."""
    real = matrix_measurement(**fields)
    physics = MatrixPhysics(torch.complex(real.physics.matrix, real.physics.matrix.square()), (1, 6, 6))
    y = physics.A(real.target.to(physics.matrix))
    return replace(real, physics=physics, y=y)


def fit(method: BaseDIP, measurement: Measurement, callbacks: list[Any] | None = None, **trainer: Any) -> pl.Trainer:
    """Fit a method to a measurement with nothing else switched on."""
    options: dict[str, Any] = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "precision": "64-true" if measurement.y.dtype == torch.float64 else "32-true",
    }
    ckpt_path = trainer.pop("ckpt_path", None)
    runner = pl.Trainer(callbacks=callbacks or [], **{**options, **trainer})
    runner.fit(method, datamodule=InMemory(measurement), ckpt_path=ckpt_path)
    return runner
