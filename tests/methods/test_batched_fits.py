"""Several measurements, or several seeds of one, in one fit: each is what it would be alone."""

from __future__ import annotations

import copy
import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from dip_lightning.callbacks import (
    EarlyStoppingEMV,
    EarlyStoppingWMV,
    InputUpdate,
    OutputAveraging,
    PosteriorSamples,
    ProximalInputUpdate,
    ReconstructionMetrics,
    ResultWriter,
    UniformAveraging,
)
from dip_lightning.errors import ConfigurationError
from dip_lightning.inputs import InitialEstimate, UniformNoise
from dip_lightning.measurement import Measurement
from dip_lightning.members import repeat_measurement, select_members
from dip_lightning.methods import DIP, ASeqDIP, BaseDIP
from dip_lightning.networks import StackedNetwork, UNet
from tests.support import MatrixPhysics, TinyNetwork, fit, matrix_measurement

OUTER, INNER = 5, 4


def batch(members: int = 3, **fields: Any) -> Measurement:
    """Different images seen through one operator."""
    first = matrix_measurement()
    images = torch.rand(members, 1, 6, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    y = first.physics.A(images)
    ids = tuple(f"image{member}" for member in range(members))
    return replace(first, y=y, initial=first.physics.A_adjoint(y), target=images, ids=ids, **fields)


def method(kind: type[BaseDIP] = ASeqDIP, **options: Any) -> BaseDIP:
    options = {
        "network": UNet(channels=(4, 4)),
        "initial_input": InitialEstimate("minmax"),
        "optimizer": partial(torch.optim.Adam, lr=1e-2),
        "lr_scheduler": partial(StepLR, step_size=7, gamma=0.7),
        "outer_steps": OUTER,
        "inner_steps": INNER,
        "input_noise": 0.05,
        "gradient_clip": 0.5,
        "seed": 3,
        **options,
    }
    return kind(**options)


class StopMember(pl.Callback):
    """Stop members at given outer steps."""

    def __init__(self, at: dict[int, int]) -> None:
        self.at = at

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        pl_module.stop_members([m for m, step in self.at.items() if step == pl_module.outer_step], "test")


def alone(measurement: Measurement, member: int, own: list[Any], **options: Any) -> BaseDIP:
    """Fit a single member."""
    one = select_members(measurement, [member])
    assert one is not None
    dip = method(**options)
    fit(dip, one, own, **({} if not any(isinstance(c, ResultWriter) for c in own) else {"enable_checkpointing": None}))
    return dip


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-8)


def test_members_equal_fits_of_one() -> None:
    """Noise, clipping, schedule, input updates, averages and scores: 1e-8 after 20 steps."""
    measurement = batch()
    together, scores = method(), ReconstructionMetrics(ssim_every=0)
    fit(together, measurement, [InputUpdate(), OutputAveraging(0.9), scores])
    assert isinstance(together.network, StackedNetwork)
    for member in range(3):
        own_scores = ReconstructionMetrics(ssim_every=0)
        own = alone(measurement, member, [InputUpdate(), OutputAveraging(0.9), own_scores])
        close(together.last_output[member], own.last_output[0])
        close(together.estimate[member], own.estimate[0])
        close(together.stored_input[member], own.stored_input[0])
        assert scores.summary(member)["psnr"]["oracle"] == pytest.approx(own_scores.summary()["psnr"]["oracle"])


def test_repetitions_equal_fits_from_their_seeds() -> None:
    measurement = batch(1)
    together = method(initial_input=UniformNoise(1))
    fit(together, repeat_measurement(measurement, 3), [InputUpdate()])
    for member, seed in enumerate((3, 4, 5)):
        own = alone(measurement, 0, [InputUpdate()], initial_input=UniformNoise(1), seed=seed)
        close(together.last_output[member], own.last_output[0])
    assert not torch.allclose(together.last_output[0], together.last_output[1])


@pytest.mark.parametrize("averaging", [partial(OutputAveraging, 0.9), partial(UniformAveraging, 2)])
def test_members_that_stop_are_dropped_and_keep_their_images(averaging: Any) -> None:
    """The network shrinks; the others go on as if nothing had happened, and at the end all weights are back."""
    measurement, sizes = batch(4), []

    class Sizes(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            sizes.append(pl_module.network.members)

        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            assert pl_module.last_output.shape == measurement.initial.shape

    stops = {0: 2, 2: 1, 3: 3}
    together = method()
    updates = [InputUpdate(output="recomputed"), averaging()]
    fit(together, measurement, [*updates, Sizes(), StopMember(stops)])
    assert sizes == [4, 4, 3, 2, 1]
    assert isinstance(together.network, StackedNetwork)
    assert together.network.members == 4
    for member in range(4):
        steps = stops.get(member, OUTER)
        own = alone(measurement, member, [InputUpdate(output="recomputed"), averaging()], outer_steps=steps)
        close(together.last_output[member], own.last_output[0])
        close(together.estimate[member], own.estimate[0])
        for name, tensor in together.network.member_state(member).items():
            close(tensor, own.network.state_dict()[name])
        ending = together.ending(member)
        assert (ending.iteration, ending.reason) == (steps * INNER, "test" if member in stops else "outer_steps")


class PerMemberPhysics(MatrixPhysics):
    """Refuses any number of images but its own, and nothing can be cut down."""

    def A(self, x: Tensor, **_: Any) -> Tensor:
        if len(x) != 3:
            raise RuntimeError("three images at a time")
        return super().A(x)


def test_members_that_stop_are_frozen_where_the_physics_takes_all_or_none() -> None:
    measurement = batch()
    physics = PerMemberPhysics(measurement.physics.matrix, (1, 6, 6))
    together = method()
    fit(together, replace(measurement, physics=physics), [InputUpdate(), OutputAveraging(0.9), StopMember({1: 2})])
    for member, steps in enumerate((OUTER, 2, OUTER)):
        own = alone(measurement, member, [InputUpdate(), OutputAveraging(0.9)], outer_steps=steps)
        close(together.estimate[member], own.estimate[0])


def test_rules_stop_each_member_by_itself(tmp_path: Path) -> None:
    """Choices, records and curves are those of single fits, also with members that stopped before others."""
    measurement = batch()

    def own_callbacks(folder: Path) -> list[Any]:
        return [
            InputUpdate(),
            OutputAveraging(0.5),
            ReconstructionMetrics(ssim_every=0),
            EarlyStoppingEMV(alpha=0.5, patience=8, warmup=0),
            EarlyStoppingWMV(window=3, patience=9, action="record"),
            ResultWriter(run_dir=str(folder), preview=False),
        ]

    options = {"outer_steps": 40, "optimizer": partial(torch.optim.Adam, lr=3e-2)}
    together = method(**options)
    fit(together, measurement, own_callbacks(tmp_path / "all"), enable_checkpointing=None)
    ends = set()
    for member in range(3):
        alone(measurement, member, own_callbacks(tmp_path / str(member)), **options)
        ours, theirs = tmp_path / "all" / f"image{member}", tmp_path / str(member)
        summaries = [json.loads((folder / "summary.json").read_text()) for folder in (ours, theirs)]
        for key in ("iterations", "stopped_by", "oracle_iteration", "seed", "measurement"):
            assert summaries[0][key] == summaries[1][key], key
        assert summaries[0]["callbacks"].keys() == summaries[1]["callbacks"].keys()
        for rule, chosen in summaries[1]["callbacks"].items():
            assert summaries[0]["callbacks"][rule] == pytest.approx(chosen), rule
        ends.add(summaries[0]["iterations"])
        rows = [list(csv.DictReader((folder / "metrics.csv").open())) for folder in (ours, theirs)]
        assert len(rows[0]) == len(rows[1])
        assert [float(row["psnr"]) for row in rows[0]] == pytest.approx([float(row["psnr"]) for row in rows[1]])
        with h5py.File(ours / "reconstruction.h5") as a, h5py.File(theirs / "reconstruction.h5") as b:
            assert a.keys() == b.keys()
            for name in a:
                np.testing.assert_allclose(a[name][:], b[name][:], atol=1e-6)
    assert len(ends) > 1


@pytest.mark.parametrize(
    "updates",
    [
        [InputUpdate(output="recomputed"), OutputAveraging(0.9)],
        [OutputAveraging(0.9), ProximalInputUpdate()],
        [InputUpdate(), PosteriorSamples(0, 2)],
    ],
)
def test_a_member_that_turns_nan_leaves_the_others_alone_and_keeps_all_of_its_own(updates: list[Any]) -> None:
    class Breaks(DIP):
        def objective(self, estimate: Tensor, measurement: Measurement) -> dict[str, Tensor]:
            terms = super().objective(estimate, measurement)
            if self.outer_step + 1 == 3 and "image1" in measurement.ids:
                terms["data"] = terms["data"] * torch.tensor([1.0, torch.nan, 1.0])
            return terms

    measurement, together = batch(), method(Breaks)
    fit(together, measurement, [*copy.deepcopy(updates), EarlyStoppingWMV(window=2)])
    for member, steps in enumerate((OUTER, 2, OUTER)):
        own = alone(measurement, member, copy.deepcopy(updates), kind=DIP, outer_steps=steps)
        close(together.stored_input[member], own.stored_input[0])
        close(together.current_estimate[member], own.current_estimate[0])
        for report, image in own.reports.items():
            close(together.reports[report][member], image[0])
    assert (together.ending(1).reason, together.stopped_by) == ("nan", "outer_steps")


@pytest.mark.parametrize("saved", [1, 3, 4])
def test_resumed_equals_uninterrupted_with_members_dropped(tmp_path: Path, saved: int) -> None:
    measurement, path = batch(), tmp_path / "last.ckpt"

    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            if pl_module.outer_step == saved:
                trainer.save_checkpoint(path)

    def own() -> list[Any]:
        return [InputUpdate(), OutputAveraging(0.9), StopMember({1: 2, 0: 4})]

    through, resumed = method(), method()
    fit(through, measurement, [*own(), Save()])
    fit(resumed, measurement, own(), ckpt_path=str(path))
    assert torch.equal(through.estimate, resumed.estimate)
    for (name, a), b in zip(through.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert [through.ending(m).reason for m in range(3)] == [resumed.ending(m).reason for m in range(3)]


def test_the_next_fit_draws_weights_in_place() -> None:
    """Compiled networks and graphs keep their tensors over a list of jobs; another number of members gets new ones."""
    dip, fresh = method(), method()
    fit(dip, batch(), [InputUpdate(), StopMember({0: 1})])
    fit(dip, batch(2), [InputUpdate()])
    assert dip.network.members == 2
    fit(dip, batch(), [InputUpdate()])
    fit(fresh, batch(), [InputUpdate()])
    close(dip.last_output, fresh.last_output)


def test_seeds_give_the_same_weights_after_a_fit_of_one() -> None:
    """In single precision that fit leaves its weights channels last; drawn so, a seed gave other numbers."""
    single = batch(1).to("cpu", torch.float32)
    dip, fresh = method(), method()
    fit(dip, single, [InputUpdate()])
    first = dip.last_output
    for used in (dip, fresh):
        fit(used, repeat_measurement(single, 2), [InputUpdate()])
    assert torch.equal(dip.last_output, fresh.last_output)
    fit(dip, single, [InputUpdate()])
    torch.testing.assert_close(dip.last_output, first, rtol=0, atol=1e-4)


def test_an_explicit_stack_is_taken() -> None:
    together, wrapped = method(network=StackedNetwork(UNet(channels=(4, 4)), 3, "loop")), method()
    fit(together, batch(), [InputUpdate()])
    fit(wrapped, batch(), [InputUpdate()])
    assert together.network.evaluation == "loop"
    close(together.last_output, wrapped.last_output)


def test_float32_ends_within_a_twentieth_of_a_decibel() -> None:
    measurement = batch()
    single = measurement.to("cpu", torch.float32)
    scores = ReconstructionMetrics(ssim_every=0)
    fit(method(outer_steps=30), single, [InputUpdate(), scores])
    for member in range(3):
        own = ReconstructionMetrics(ssim_every=0)
        alone(single, member, [InputUpdate(), own], outer_steps=30)
        assert scores.summary(member)["psnr"]["last"] == pytest.approx(own.summary()["psnr"]["last"], abs=0.05)


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        ({"optimizer": torch.optim.LBFGS, "lr_scheduler": None}, "LBFGS"),
        ({"lr_scheduler": partial(ReduceLROnPlateau, patience=3)}, "ReduceLROnPlateau"),
    ],
)
def test_what_would_mix_members_is_refused(options: dict[str, Any], culprit: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{culprit} would mix the 3 members"):
        fit(method(**options), batch(), [InputUpdate()])


def test_mean_and_deviation_of_the_seeds_are_written(tmp_path: Path) -> None:
    writer = ResultWriter(preview=False)
    dip = method()
    measurement = repeat_measurement(batch(2), 3)
    fit(dip, measurement, [InputUpdate(), writer], default_root_dir=str(tmp_path), enable_checkpointing=None)
    root = tmp_path / "aseqdip_matrix"
    assert writer.folders == [root / f"image{i}" / f"seed{s}" for i in range(2) for s in (3, 4, 5)]
    for image in range(2):
        members = dip.estimate[3 * image : 3 * image + 3].double()
        with h5py.File(root / f"image{image}" / "seeds3-5" / "reconstruction.h5") as file:
            np.testing.assert_allclose(file["estimate"][:], members.mean(0), atol=1e-6)
            np.testing.assert_allclose(file["uncertainty"][:], members.std(0), atol=1e-6)
        summary = json.loads((root / f"image{image}" / "seeds3-5" / "summary.json").read_text())
        assert summary["seeds"] == [3, 4, 5]
        error = (members.mean(0).clamp(0, 1) - measurement.target[3 * image]).square().mean()
        assert summary["psnr"]["estimate"] == pytest.approx(float(-10 * error.log10()))


def test_repeating_keeps_names_and_marks_the_repetitions() -> None:
    measurement = repeat_measurement(batch(2), 2)
    assert measurement.ids == ("image0", "image0", "image1", "image1")
    assert measurement.repetitions == (0, 1, 0, 1)
    assert measurement.validate() is measurement
    assert repeat_measurement(batch(2), 1).repetitions is None
    stubborn = replace(batch(), physics=PerMemberPhysics(measurement.physics.matrix, (1, 6, 6)))
    with pytest.raises(ConfigurationError, match="does not take 6 images"):
        repeat_measurement(stubborn, 2)


def test_physics_with_a_row_for_each_member_is_cut_down() -> None:
    class Scaled(MatrixPhysics):
        def A(self, x: Tensor, **_: Any) -> Tensor:
            return super().A(x) * self.scale

    measurement = batch()
    physics = Scaled(measurement.physics.matrix, (1, 6, 6))
    physics.register_buffer("scale", torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64))
    measurement = replace(measurement, physics=physics, y=physics.A(measurement.target))
    chosen = select_members(measurement, [2, 0])
    assert chosen is not None
    close(chosen.physics.A(chosen.target), measurement.y[[2, 0]])
    assert physics.scale.shape == (3, 1)


def test_tiny_networks_without_reset_are_stacked_too() -> None:
    together = method(DIP, network=TinyNetwork(), initial_input=UniformNoise(1))
    fit(together, batch())
    for member in range(3):
        own = alone(batch(), member, [], kind=DIP, network=TinyNetwork(), initial_input=UniformNoise(1))
        close(together.last_output[member], own.last_output[0])


class Branching(TinyNetwork):
    """Looks at a value on the host, which ``vmap`` cannot do."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if float(y.detach().abs().amax()) < 1e9 else 0 * y


def test_networks_that_cannot_run_in_one_pass_run_one_after_another() -> None:
    pair = repeat_measurement(matrix_measurement(), 2)
    options: dict[str, Any] = {"initial_input": InitialEstimate(), "outer_steps": 5, "seed": 1}
    looped, stacked = DIP(network=Branching(), **options), DIP(network=TinyNetwork(), **options)
    with pytest.warns(UserWarning, match="one after another"):
        fit(looped, pair)
    fit(stacked, pair)
    torch.testing.assert_close(looped.estimate, stacked.estimate, rtol=0, atol=1e-8)
