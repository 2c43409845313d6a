"""Input updates: what they put in, and when they refuse."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from deepinv.physics import MRI, Inpainting, Physics
from torch import Tensor, nn

from dip_lightning.callbacks import DataConsistentInputUpdate, InputUpdate, OutputAveraging, ProximalInputUpdate
from dip_lightning.errors import ConfigurationError
from dip_lightning.inputs import InitialEstimate, UniformNoise
from dip_lightning.measurement import Measurement
from dip_lightning.methods import DIP, ASeqDIP
from tests.support import TinyNetwork, fit, matrix_measurement


class Inputs(pl.Callback):
    """Keep input, output and the network's answer to its input, as each outer step leaves them."""

    def __init__(self) -> None:
        self.rows: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self.rows.append((pl_module.stored_input.clone(), pl_module.last_output.clone()))


def method(kind: type = ASeqDIP, channels: int = 1, **options: Any) -> Any:
    options = {"outer_steps": 5, "inner_steps": 2, "initial_input": InitialEstimate(), **options}
    network = TinyNetwork(channels, channels)
    return kind(network=network, optimizer=partial(torch.optim.Adam, lr=1e-2), seed=0, **options)


def test_input_is_the_output_that_the_last_loss_saw() -> None:
    inputs = Inputs()
    fit(method(), matrix_measurement(), [InputUpdate(), inputs])
    for stored, output in inputs.rows:
        assert torch.equal(stored, output)


def test_recomputed_input_comes_from_the_new_weights_in_train_mode() -> None:
    class Check(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            self.before = pl_module.stored_input.clone()

        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            assert pl_module.network.training
            with torch.no_grad():
                assert torch.equal(pl_module.stored_input, pl_module.network(self.before))
            assert not torch.equal(pl_module.stored_input, pl_module.last_output)

    dip = method()
    dip.network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))
    fit(dip, matrix_measurement(), [InputUpdate(output="recomputed"), Check()])


def test_updates_every_so_many_outer_steps() -> None:
    inputs = Inputs()
    fit(method(), matrix_measurement(), [InputUpdate(every=2), inputs])
    same = [torch.equal(stored, output) for stored, output in inputs.rows]
    assert same == [False, True, False, True, False]
    assert torch.equal(inputs.rows[1][0], inputs.rows[2][0])


def image(channels: int) -> Tensor:
    return torch.rand(1, channels, 8, 8, generator=torch.Generator().manual_seed(1))


def inpainting() -> tuple[Measurement, int]:
    mask = (torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(2)) < 0.5).float()
    physics = Inpainting(img_size=(1, 8, 8), mask=mask)
    y = physics.A(image(1))
    return Measurement(y=y, physics=physics, initial=y, ids=("a",), task="inpainting"), 1


def mri() -> tuple[Measurement, int]:
    mask = (torch.rand(1, 1, 1, 8, generator=torch.Generator().manual_seed(2)) < 0.5).float().expand(1, 2, 8, 8)
    physics = MRI(mask=mask.contiguous(), img_size=(1, 2, 8, 8))
    y = physics.A(image(2))
    return Measurement(y=y, physics=physics, initial=physics.A_adjoint(y), ids=("a",), task="mri"), 2


@pytest.mark.parametrize("problem", [inpainting, mri])
@pytest.mark.parametrize("correction", ["adjoint", "pseudo_inverse"])
def test_the_measured_part_is_put_back_and_the_rest_is_left(problem: Any, correction: Any) -> None:
    measurement, channels = problem()
    physics, inputs = measurement.physics, Inputs()
    fit(method(channels=channels), measurement, [DataConsistentInputUpdate(correction), inputs])
    for stored, output in inputs.rows:
        torch.testing.assert_close(physics.A(stored), measurement.y, rtol=0, atol=1e-5)
        unmeasured = (stored - output) - physics.A_adjoint(physics.A(stored - output))
        torch.testing.assert_close(unmeasured, torch.zeros_like(unmeasured), rtol=0, atol=1e-5)


def test_physics_without_an_adjoint_is_refused_before_the_first_step() -> None:
    measurement, inputs = inpainting()[0], Inputs()
    nonlinear = Measurement(
        y=measurement.y, physics=Physics(A=lambda x, **_: x**2), initial=measurement.y, ids=("a",), task="square"
    )
    with pytest.raises(ConfigurationError, match="A_adjoint"):
        fit(method(), nonlinear, [DataConsistentInputUpdate(), inputs])
    assert not inputs.rows


def test_an_output_that_cannot_be_an_input_is_refused_before_the_first_step() -> None:
    dip = DIP(network=TinyNetwork(3, 1), initial_input=UniformNoise(3), outer_steps=3)
    inputs = Inputs()
    with pytest.raises(ConfigurationError, match="in_channels"):
        fit(dip, matrix_measurement(), [InputUpdate(), inputs])
    assert not inputs.rows


def test_a_broken_output_does_not_become_the_input() -> None:
    class Breaks(DIP):
        def objective(self, estimate: Tensor, measurement: Any) -> dict[str, Tensor]:
            terms = super().objective(estimate, measurement)
            return {name: term * (torch.nan if self.outer_step == 2 else 1) for name, term in terms.items()}

    dip = method(Breaks)
    fit(dip, matrix_measurement(), [InputUpdate(output="recomputed")])
    assert dip.stopped_by == "nan"
    assert dip.stored_input.isfinite().all()


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"output": "next"}, {"every": 0}, {"correction": "inverse"}):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            DataConsistentInputUpdate(**wrong)  # type: ignore[arg-type]


def test_proximal_input_is_the_ridge_solution_of_the_data_and_the_output() -> None:
    measurement = matrix_measurement()
    inputs = Inputs()
    fit(method(), measurement, [ProximalInputUpdate(weight=0.2, iterations=300), inputs])
    physics: Any = measurement.physics
    size = measurement.initial[0].numel()
    shape = measurement.initial.shape
    matrix = torch.stack([physics.A(row.reshape(shape)).flatten() for row in torch.eye(size, dtype=torch.float64)], 1)
    scale = 0.2 * torch.linalg.matrix_norm(matrix, 2) ** 2
    system = matrix.T @ matrix + scale * torch.eye(size, dtype=torch.float64)
    for stored, output in inputs.rows:
        expected = torch.linalg.solve(system, matrix.T @ measurement.y.flatten() + scale * output.flatten())
        # The power method's norm is a few per cent off at most.
        assert torch.linalg.norm(stored.flatten() - expected) < 0.05 * torch.linalg.norm(expected - output.flatten())


def test_proximal_update_of_an_identity_is_a_weighted_mean() -> None:
    measurement, channels = inpainting()
    physics = Inpainting(img_size=(1, 8, 8), mask=torch.ones(1, 1, 8, 8))
    measurement = replace(measurement, physics=physics)
    inputs = Inputs()
    fit(method(channels=channels), measurement, [ProximalInputUpdate(weight=3.0), inputs])
    for stored, output in inputs.rows:
        torch.testing.assert_close(stored, (measurement.y + 3 * output) / 4)


def test_proximal_solution_scales_with_the_data() -> None:
    measurement, image = matrix_measurement(), torch.rand(1, 1, 6, 6, dtype=torch.float64)
    small = replace(measurement, y=1e-9 * measurement.y)
    solved = ProximalInputUpdate().solve(image, measurement)
    torch.testing.assert_close(1e9 * ProximalInputUpdate().solve(1e-9 * image, small), solved)


def test_proximal_update_reports_the_solution_for_the_average() -> None:
    measurement, channels = inpainting()
    update = ProximalInputUpdate(weight=0.5)
    fitted = method(channels=channels)
    fit(fitted, measurement, [OutputAveraging(0.5), update])
    expected = update.solve(fitted.reports["average"], fitted.measurement)
    torch.testing.assert_close(fitted.estimate, expected)
    silent = method(channels=channels)
    fit(silent, measurement, [OutputAveraging(0.5), ProximalInputUpdate(weight=0.5, report=False)])
    torch.testing.assert_close(silent.estimate, silent.reports["average"])


def test_proximal_update_refuses_nonlinear_physics_and_impossible_weights() -> None:
    measurement, _ = inpainting()
    nonlinear = replace(measurement, physics=Physics(), make_initial=None)
    with pytest.raises(ConfigurationError, match="linear"):
        ProximalInputUpdate().on_train_start(None, SimpleNamespace(measurement=nonlinear, stored_input=measurement.y))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="weight"):
        ProximalInputUpdate(weight=0.0)
