"""The loop that all methods share, under the real Trainer: counting, stopping, resuming, optimisers, schedulers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from deepinv.physics import Denoising
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from dip_lightning.callbacks import (
    EarlyStoppingWMV,
    InputUpdate,
    OutputAveraging,
    PosteriorSamples,
    ProximalInputUpdate,
    ReconstructionMetrics,
)
from dip_lightning.errors import ConfigurationError
from dip_lightning.hooks import IterateHook
from dip_lightning.inputs import InitialEstimate, UniformNoise
from dip_lightning.measurement import Measurement
from dip_lightning.methods import DIP, TVDIP, ASeqDIP, BaseDIP
from dip_lightning.methods.checks import check_network, check_precision
from dip_lightning.networks import S2SNet, SkipNet, StackedNetwork
from dip_lightning.penalties import Penalty, TotalVariation
from tests.support import TinyNetwork, fit, matrix_measurement

OUTER, INNER = 7, 3


class DropoutNetwork(nn.Sequential):
    """A network that draws from the global generator, and keeps running statistics."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Dropout(0.3), nn.Conv2d(6, 1, 1))


class SaveAt(pl.Callback):
    """Save a checkpoint at the end of an outer step, as an interrupted fit would have."""

    def __init__(self, outer_step: int, path: Path) -> None:
        self.outer_step, self.path = outer_step, path

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.outer_step == self.outer_step:
            trainer.save_checkpoint(self.path)


class Watch(pl.Callback, IterateHook):
    """Count what a fit does."""

    def __init__(self) -> None:
        self.iterations: list[int] = []
        self.batches: list[int] = []
        self.outputs: list[Tensor] = []

    def on_iterate(self, trainer: pl.Trainer, pl_module: BaseDIP, output: Tensor) -> None:
        self.iterations.append(pl_module.iteration)
        self.outputs.append(output.clone())

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self.batches.append(pl_module.outer_step)


class StopAt(pl.Callback):
    def __init__(self, outer_step: int) -> None:
        self.outer_step = outer_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.outer_step == self.outer_step:
            pl_module.stop("test")


def method(kind: type[BaseDIP] = ASeqDIP, **options: Any) -> BaseDIP:
    options = {
        "network": TinyNetwork(),
        "initial_input": InitialEstimate("minmax"),
        "outer_steps": OUTER,
        "inner_steps": INNER,
        "optimizer": partial(torch.optim.Adam, lr=1e-2),
        "seed": 3,
        **options,
    }
    return kind(**options)


def callbacks() -> list[pl.Callback]:
    return [InputUpdate(), OutputAveraging(0.9), ReconstructionMetrics(), EarlyStoppingWMV(window=4, patience=500)]


def same_state(one: BaseDIP, other: BaseDIP) -> None:
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(one.last_output, other.last_output)
    assert one.reports.keys() == other.reports.keys()
    for name, image in one.reports.items():
        assert torch.equal(image, other.reports[name]), name


def test_counts_outer_and_inner_steps() -> None:
    dip, watch = method(), Watch()
    fit(dip, matrix_measurement(), [*callbacks(), watch])
    assert watch.batches == list(range(1, OUTER + 1))
    assert watch.iterations == list(range(1, OUTER * INNER + 1))
    assert (dip.outer_step, dip.iteration, dip.stopped_by) == (OUTER, OUTER * INNER, "outer_steps")
    assert dip.seconds > 0
    assert not dip.last_output.requires_grad


@pytest.mark.parametrize("saved", [1, 4, OUTER - 1])
@pytest.mark.parametrize("network", [TinyNetwork, DropoutNetwork])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, partial(torch.optim.SGD, momentum=0.9), torch.optim.LBFGS])
def test_resumed_equals_uninterrupted(tmp_path: Path, saved: int, network: Any, optimizer: Any) -> None:
    """Exactly the missing outer steps are made, and end in the same bits: weights, images, input, choices."""
    problem, path = matrix_measurement(), tmp_path / "last.ckpt"
    options = {"optimizer": partial(optimizer, lr=1e-2), "input_noise": 0.05}
    pl.seed_everything(1)
    through = method(network=network(), **options)
    fit(through, problem, [*callbacks(), SaveAt(saved, path)])

    pl.seed_everything(2)
    resumed, watch, own = method(network=network(), **options), Watch(), callbacks()
    fit(resumed, problem, [*own, watch], ckpt_path=str(path))
    assert watch.batches == list(range(saved + 1, OUTER + 1))
    assert watch.iterations == list(range(saved * INNER + 1, OUTER * INNER + 1))
    same_state(through, resumed)


def test_a_checkpoint_of_other_devices_is_continued(tmp_path: Path) -> None:
    """As one that was written where there are two GPUs, by a fit on one of them."""
    path = tmp_path / "last.ckpt"
    fit(method(input_noise=0.05), matrix_measurement(), [InputUpdate(), SaveAt(3, path)])
    checkpoint = torch.load(path, weights_only=True)
    of_a_gpu = torch.zeros(16, dtype=torch.uint8)
    checkpoint["dip_lightning"]["generators"] = [of_a_gpu]
    checkpoint["dip_lightning"]["random"]["cuda"] = [of_a_gpu, of_a_gpu]
    torch.save(checkpoint, path)
    resumed = method(input_noise=0.05)
    with pytest.warns(UserWarning, match="drawn anew from the seed"):
        fit(resumed, matrix_measurement(), [InputUpdate()], ckpt_path=str(path))
    assert resumed.outer_step == OUTER


def test_callbacks_choose_the_same_after_a_resume(tmp_path: Path) -> None:
    problem, path = matrix_measurement(), tmp_path / "last.ckpt"
    first, second = callbacks(), callbacks()
    fit(method(), problem, [*first, SaveAt(3, path)])
    fit(method(), problem, second, ckpt_path=str(path))
    for one, other in zip(first, second, strict=True):
        if hasattr(one, "summary"):
            assert one.summary() == other.summary()


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_train_end"])
def test_resuming_a_finished_fit_makes_no_step(tmp_path: Path, hook: str) -> None:
    problem, path = matrix_measurement(), tmp_path / "last.ckpt"

    class SaveAtEnd(pl.Callback):
        def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            trainer.save_checkpoint(path)

    finished = method()
    fit(finished, problem, [*callbacks(), SaveAt(OUTER, path) if hook == "on_train_batch_end" else SaveAtEnd()])
    resumed, watch = method(), Watch()
    fit(resumed, problem, [*callbacks(), watch], ckpt_path=str(path))
    assert watch.iterations == watch.batches == []
    same_state(finished, resumed)
    assert resumed.stopped_by == "outer_steps"


@pytest.mark.parametrize("stopped", [False, True])
def test_more_outer_steps_continue_a_finished_fit(tmp_path: Path, stopped: bool) -> None:
    problem, path = matrix_measurement(), tmp_path / "last.ckpt"
    fit(method(), problem, [*callbacks(), *([StopAt(4)] if stopped else []), SaveAt(4 if stopped else OUTER, path)])
    longer, through = method(outer_steps=OUTER + 4), method(outer_steps=OUTER + 4)
    fit(longer, problem, callbacks(), ckpt_path=str(path))
    fit(through, problem, callbacks())
    assert (longer.outer_step, longer.stopped_by) == (OUTER + 4, "outer_steps")
    same_state(longer, through)


def test_stops_after_the_outer_step_that_asked_for_it() -> None:
    dip, watch = method(), Watch()
    fit(dip, matrix_measurement(), [InputUpdate(), watch, StopAt(4)])
    assert watch.batches == [1, 2, 3, 4]
    assert (dip.iteration, dip.stopped_by) == (4 * INNER, "test")


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, partial(torch.optim.LBFGS, max_iter=4)])
def test_any_torch_optimiser_lowers_the_loss(optimizer: Any) -> None:
    losses: list[float] = []

    class Losses(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            losses.append(pl_module.loss.sum().item())

    dip = method(DIP, optimizer=partial(optimizer, lr=1e-2), outer_steps=20, initial_input=UniformNoise(1))
    fit(dip, matrix_measurement(), [Losses()])
    assert losses[-1] < losses[0]


def test_scheduler_advances_with_every_optimiser_step() -> None:
    dip = method(DIP, lr_scheduler=partial(StepLR, step_size=INNER, gamma=0.5))
    fit(dip, matrix_measurement())
    assert dip.lr_schedulers().last_epoch == OUTER * INNER
    assert dip.optimizers().param_groups[0]["lr"] == pytest.approx(1e-2 * 0.5**OUTER)


def test_plateau_scheduler_advances_with_every_outer_step(tmp_path: Path) -> None:
    # No improvement can reach the threshold: the rate halves at every outer step but the first.
    plateau = partial(ReduceLROnPlateau, factor=0.5, patience=0, threshold=0.999)
    dip, path = method(DIP, lr_scheduler=plateau), tmp_path / "last.ckpt"
    fit(dip, matrix_measurement(), [SaveAt(3, path)])
    assert dip.lr_schedulers().last_epoch == OUTER
    assert dip.optimizers().param_groups[0]["lr"] == pytest.approx(1e-2 * 0.5 ** (OUTER - 1))
    resumed = method(DIP, lr_scheduler=plateau)
    fit(resumed, matrix_measurement(), ckpt_path=str(path))
    same_state(dip, resumed)


def test_gradient_clipping_bounds_a_step() -> None:
    clip, lr = 1e-3, 1e-2
    dip = method(DIP, optimizer=partial(torch.optim.SGD, lr=lr), gradient_clip=clip, outer_steps=1, inner_steps=1)
    before: list[Tensor] = []

    class Before(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
            before.extend(p.detach().clone() for p in pl_module.network.parameters())

    fit(dip, matrix_measurement(), [Before()])
    moved = torch.cat([(a - b).flatten() for a, b in zip(dip.network.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(lr * clip, rel=1e-3)


def test_same_seed_same_bits_other_seed_other_image() -> None:
    runs = []
    for seed in (3, 3, 4):
        dip = method(seed=seed, input_noise=0.1)
        fit(dip, matrix_measurement(), callbacks())
        runs.append(dip)
        torch.rand(5)  # what others draw does not matter
    same_state(runs[0], runs[1])
    assert not torch.equal(runs[0].last_output, runs[2].last_output)


def test_without_the_target_nothing_changes() -> None:
    with_target, without = method(), method()
    fit(with_target, matrix_measurement(), callbacks())
    fit(without, matrix_measurement(target=None), callbacks())
    same_state(with_target, without)


REPORTS: dict[str, tuple[int, list[Any]]] = {
    "none": (5, [InputUpdate]),
    "average": (5, [partial(OutputAveraging, 0.5), InputUpdate]),
    "consistent": (5, [partial(OutputAveraging, 0.5), ProximalInputUpdate]),
    "samples": (5, [partial(PosteriorSamples, 3, 1), InputUpdate]),
    "first sample": (2, [partial(PosteriorSamples, 3, 1), InputUpdate]),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_loss_that_turns_nan_stops_and_keeps_the_last_good_images(name: str) -> None:
    bad, reporting = REPORTS[name]

    class Breaks(DIP):
        def objective(self, estimate: Tensor, measurement: Any) -> dict[str, Tensor]:
            terms = super().objective(estimate, measurement)
            return {name: term * (torch.nan if self.outer_step + 1 == bad else 1) for name, term in terms.items()}

    def own() -> list[Any]:
        return [*(make() for make in reporting), EarlyStoppingWMV(window=4)]

    dip, good = method(Breaks), method(DIP, outer_steps=bad - 1)
    fit(dip, matrix_measurement(), own())
    fit(good, matrix_measurement(), own())
    assert (dip.stopped_by, dip.outer_step) == ("nan", bad)
    assert torch.equal(dip.last_output, good.last_output)
    assert torch.equal(dip.current_estimate, good.current_estimate)
    assert torch.equal(dip.estimate, good.estimate)
    for report, image in good.reports.items():
        assert torch.equal(dip.reports[report], image), report


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_precision_is_the_trainers(precision: str) -> None:
    dip, updates = method(), [InputUpdate(output="recomputed")]
    fit(dip, matrix_measurement(), updates, precision=precision)  # the measurement is in float64
    assert dip.last_output.dtype == dip.measurement.y.dtype == torch.float32
    assert dip.last_output.isfinite().all()
    assert next(dip.network.parameters()).dtype == (torch.bfloat16 if precision == "bf16-true" else torch.float32)


def test_half_precision_is_refused_and_bfloat16_named() -> None:
    with pytest.raises(ConfigurationError, match="bf16-mixed"):
        fit(method(DIP), matrix_measurement(), precision="16-true")
    with pytest.raises(ConfigurationError, match="bf16-mixed"):
        check_precision("16-mixed")


def test_a_fit_in_another_precision_leaves_the_measurement_as_it_is() -> None:
    measurement, runs = matrix_measurement(), []
    for precision in ("64-true", "32-true", "64-true"):
        dip = method(DIP)
        fit(dip, measurement, precision=precision)
        runs.append(dip.last_output)
    assert runs[1].dtype == torch.float32
    assert torch.equal(runs[0], runs[2])


def test_a_loss_that_is_nan_from_the_start_leaves_the_initial_image() -> None:
    class Broken(DIP):
        def objective(self, estimate: Tensor, measurement: Any) -> dict[str, Tensor]:
            return {"data": estimate.flatten(1).sum(1) * torch.nan}

    measurement = matrix_measurement()
    broken = Broken(network=TinyNetwork(), initial_input=InitialEstimate(), outer_steps=3)
    fit(broken, measurement)
    assert (broken.stopped_by, broken.iteration) == ("nan", 1)
    assert torch.equal(broken.estimate, measurement.initial)


def test_mixed_precision_uses_the_weights_of_each_step() -> None:
    """One outer step of six inner steps equals six of one: no low-precision copy of the weights outlives its step."""
    runs = []
    for outer, inner in ((1, 6), (6, 1)):
        dip = method(DIP, outer_steps=outer, inner_steps=inner, optimizer=partial(torch.optim.SGD, lr=0.5))
        fit(dip, matrix_measurement(), precision="bf16-mixed")
        runs.append(dip)
    assert torch.equal(runs[0].last_output, runs[1].last_output)


def test_terms_of_one_name_are_all_added() -> None:
    class Constant(Penalty):
        def __call__(self, estimate: Tensor) -> Tensor:
            return self.weight + 0 * estimate.flatten(1).sum(1)

    penalties = [Constant(1.0), TotalVariation(1e-3), Constant(2.0), TotalVariation(1e-3)]
    dip = method(TVDIP, initial_input=UniformNoise(1), tv_weight=1e-3, penalties=penalties)
    fit(dip, matrix_measurement())
    assert list(dip.terms) == ["data", "tv", "penalty", "tv_2", "penalty_2", "tv_3"]
    assert (dip.terms["penalty"], dip.terms["penalty_2"]) == (1, 2)
    assert torch.allclose(dip.loss, torch.stack(list(dip.terms.values())).sum(0))


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (
            lambda residual: {"data": residual.mean()},
            r"Own\.objective: term 'data' has shape \[\], not shape \[B\] = \[1\]",
        ),
        (lambda residual: {"data": 1.0}, "term 'data' has type float"),
        (lambda residual: residual.flatten(1).sum(1), "must return a dict of terms .* not Tensor"),
        (lambda residual: None, "not NoneType"),
        (lambda residual: {}, "not an empty dict"),
    ],
)
def test_terms_of_another_shape_are_named_at_the_first_step(give: Any, message: str) -> None:
    class Own(BaseDIP):
        def objective(self, estimate: Tensor, measurement: Measurement) -> Any:
            return give((measurement.physics.A(estimate) - measurement.y).square())

    with pytest.raises(ConfigurationError, match=message):
        fit(method(Own, penalties=[TotalVariation(1e-3)]), matrix_measurement())


def test_a_penalty_of_another_shape_is_named_at_the_first_step() -> None:
    class Mean(Penalty):
        def __call__(self, estimate: Tensor) -> Tensor:
            return self.weight * estimate.mean()

    with pytest.raises(ConfigurationError, match=r"Mean: term 'penalty' has shape \[\]"):
        fit(method(DIP, initial_input=UniformNoise(1), penalties=[Mean(1.0)]), matrix_measurement())


@pytest.mark.parametrize("network", [SkipNet, S2SNet])
@pytest.mark.parametrize("shape", [(32, 64), (8, 8)])
def test_images_too_small_for_the_scales_are_said_to_be(network: Any, shape: tuple[int, int]) -> None:
    """One pixel a side at the coarsest scale: nothing to mirror for the padding, or no spread for batch norm."""
    y = torch.rand(1, 1, *shape)
    measurement = Measurement(y=y, physics=Denoising(), initial=y, ids=("strip",), task="denoising")
    with pytest.raises(ConfigurationError, match=r"too small for the network: .*[^.]\. Take fewer scales"):
        fit(method(DIP, network=network(1, 1)), measurement)


@pytest.mark.parametrize(
    ("convolution", "advice"),
    [(nn.Conv2d(1, 1, 3), "the image's height and width"), (nn.Conv2d(1, 2, 3, padding=1), "set its out_channels")],
)
def test_images_of_another_shape_are_told_which_part_is_wrong(convolution: nn.Module, advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice):
        check_network(convolution, torch.rand(1, 1, 6, 6), matrix_measurement())


def test_the_input_is_tried_where_the_network_is() -> None:
    """On meta in place of a GPU: noise for the input is drawn on the host."""
    network, z = TinyNetwork().to("meta"), torch.rand(2, 1, 6, 6)
    check_network(network, z, matrix_measurement())
    StackedNetwork(network, 2).settle(z)


def test_a_trainer_of_several_processes_is_refused() -> None:
    trainer = SimpleNamespace(world_size=2)
    with pytest.raises(ConfigurationError, match=r"--trainer\.devices N"):
        DIP(network=TinyNetwork()).take_measurement(trainer)  # type: ignore[arg-type]
