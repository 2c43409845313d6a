"""Stopping on held-out data: what the fit sees, what the statistic is, and fitting again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from deepinv.physics import Denoising

from dip_lightning import physics
from dip_lightning.callbacks import HeldOutStopping, InputUpdate, OutputAveraging, PosteriorSamples
from dip_lightning.data import Phantom
from dip_lightning.errors import ConfigurationError
from dip_lightning.inputs import InitialEstimate, UniformNoise
from dip_lightning.measurement import Measurement
from dip_lightning.methods import DIP, ASeqDIP, BaseDIP
from dip_lightning.physics.masked import measured
from tests.methods.test_battery import SaveAt, problem, same
from tests.support import TinyNetwork, complex_measurement, fit

K = 30


def build(kind: type[BaseDIP] = DIP, **options: Any) -> BaseDIP:
    defaults = {
        "network": TinyNetwork(width=8),
        "initial_input": UniformNoise(1, 1.0),
        "optimizer": partial(torch.optim.Adam, lr=3e-2),
        "outer_steps": K,
        "inner_steps": 2,
        "input_noise": 0.01,
        "seed": 3,
    }
    return kind(**{**defaults, **options})


class Watch(pl.Callback):
    """Compute the statistic by hand, at every outer step of the first pass."""

    def __init__(self, y: torch.Tensor) -> None:
        self.y, self.values, self.recorded = y, [], []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        physics = pl_module.measurement.physics
        if not hasattr(physics, "mask"):
            return
        held = physics.mask == 0
        predicted = (physics.physics.matrix @ pl_module.current_estimate.reshape(-1))[None]
        self.values.append((predicted - self.y)[held].square().mean().item())
        self.recorded.append(pl_module.record["stop_statistic"].item())


@pytest.mark.parametrize("smoothing", [1, 4])
def test_selects_the_smallest_held_out_loss(smoothing: int) -> None:
    dip, rule, watch = build(), HeldOutStopping(0.2, patience=500, smoothing=smoothing), Watch(problem().y)
    fit(dip, problem(), [rule, watch])
    values = [fmean(watch.values[max(k - smoothing, 0) : k]) for k in range(1, K + 1)]
    assert watch.recorded == pytest.approx(values)
    best = min(range(K), key=lambda k: values[k])
    summary = rule.summary()
    assert (summary["iteration"], summary["held_out"]) == (2 * (best + 1), 4)
    assert summary["statistic"] == pytest.approx(values[best])
    assert (summary["unit"], summary["refitted"]) == ("element", False)


def test_looks_once_in_so_many_outer_steps() -> None:
    class Looks(pl.Callback):
        def __init__(self) -> None:
            self.at: list[int] = []

        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            if "stop_statistic" in pl_module.record:
                self.at.append(pl_module.outer_step)

    looks = Looks()
    fit(build(outer_steps=10), problem(), [HeldOutStopping(0.2, every=4), looks])
    assert looks.at == [4, 8]


def test_the_seed_chooses_what_is_held_out() -> None:
    rules = [HeldOutStopping(0.2, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (rule.prepare_measurement(problem(), build()).physics.mask for rule in rules)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_complex_data_have_a_real_statistic() -> None:
    data, rule = complex_measurement(), HeldOutStopping(0.2, action="record")
    dip = build(outer_steps=1)
    fit(dip, data, [rule], precision="64-true")
    held = dip.measurement.physics.mask == 0
    residual = (data.physics.A(dip.current_estimate) - data.y)[held]
    expected = (residual.real.square() + residual.imag.square()).mean()
    assert rule.summary()["statistic"] == pytest.approx(expected.item())


@pytest.mark.parametrize("kind", [DIP, ASeqDIP])
def test_the_fit_does_not_see_what_is_held_out(kind: type[BaseDIP]) -> None:
    """Other values in the held-out places change the statistic alone."""
    options = {"initial_input": InitialEstimate("minmax"), "outer_steps": 6}
    one, other = build(kind, **options), build(kind, **options)
    rules = [HeldOutStopping(0.2, action="record"), HeldOutStopping(0.2, action="record")]
    fit(one, problem(), [rules[0], InputUpdate()])
    held = one.measurement.physics.mask == 0
    spoilt = problem()
    spoilt = Measurement(
        y=torch.where(held, 9.0, spoilt.y), physics=spoilt.physics, initial=torch.full_like(spoilt.initial, 7.0),
        ids=("spoilt",), task="matrix",
    )  # fmt: skip
    fit(other, spoilt, [rules[1], InputUpdate()])
    assert torch.equal(one.last_output, other.last_output)
    assert rules[0].summary()["statistic"] != rules[1].summary()["statistic"]


def test_images_are_filled_from_neighbours_before_they_become_the_input() -> None:
    y = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    measurement = Measurement(
        y=y, physics=Denoising(), initial=y, ids=("a",), task="denoising", make_initial=lambda data, physics: 2 * data
    )
    dip = build(initial_input=InitialEstimate(), outer_steps=1)
    fit(dip, measurement, [HeldOutStopping(0.1)])
    kept = dip.measurement.physics.mask == 1
    assert (~kept).sum() == 6
    assert torch.equal(dip.stored_input[kept], 2 * y[kept])
    assert not (dip.stored_input[~kept] == 2 * y[~kept]).any()
    assert dip.stored_input[~kept].min() > 0.2


FIRST_IMAGES: dict[str, Any] = {
    "denoising": physics.Denoising(physics.AdditiveGaussian(25)),
    "ct": physics.ParallelBeamCT(views=20),
    "inpainting": physics.Inpainting("random", 0.5, fill="mean"),
    "cropped deblurring": physics.Deblurring(physics.GaussianKernel(1.0), "valid"),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FIRST_IMAGES)
def test_the_first_image_can_be_made_again(name: str, dtype: torch.dtype) -> None:
    image = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    whole = FIRST_IMAGES[name].simulate(image, ["a"], [0])
    for measurement in (whole, replace(whole, make_initial=None)):
        prepared = HeldOutStopping(0.1).prepare_measurement(measurement, build()).to("cpu", dtype)
        again = prepared.make_initial(prepared.y, prepared.physics)
        assert again.dtype == dtype
        torch.testing.assert_close(again, prepared.initial, rtol=1e-4, atol=1e-4)
        assert (prepared.make_initial(2 * prepared.y, prepared.physics) - again).abs().max() > 0.1


def test_the_first_image_of_a_constant_is_constant() -> None:
    """Missing pixels, whose data are zero, do not darken the held-out ones beside them."""
    acquisition = physics.Inpainting("random", ratio=0.75, fill="nearest")
    measurement = acquisition.simulate(torch.full((1, 3, 24, 24), 0.7), ["constant"], [0])
    kept = HeldOutStopping(0.05).prepare_measurement(measurement, build())
    assert (kept.physics.mask == 0).any()
    torch.testing.assert_close(kept.initial, torch.full_like(kept.initial, 0.7))


def stops_early(**options: Any) -> HeldOutStopping:
    return HeldOutStopping(0.2, patience=8, refit=True, **options)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("kind", [DIP, ASeqDIP])
def test_a_refit_is_a_fresh_fit_of_all_data_for_as_long(kind: type[BaseDIP], average: bool) -> None:
    def callbacks() -> list[Any]:
        return [InputUpdate(), *([OutputAveraging(0.8)] if average else [])]

    options = {"initial_input": InitialEstimate("minmax")} if kind is ASeqDIP else {}
    dip, rule = build(kind, **options), stops_early()
    fit(dip, problem(), [rule, *callbacks()])
    summary = rule.summary()
    assert (summary["refitted"], dip.stopped_by) == (True, "early_stopping_heldout")
    assert dip.iteration == summary["iteration"]
    fresh = build(kind, outer_steps=summary["iteration"] // 2, **options)
    fit(fresh, problem(), callbacks())
    same(dip, fresh)


def test_a_first_pass_without_patience_spent_is_refitted_too() -> None:
    dip, rule = build(outer_steps=4), HeldOutStopping(0.2, patience=500, refit=True)
    fit(dip, problem(), [rule])
    fresh = build(outer_steps=rule.summary()["iteration"] // 2)
    fit(fresh, problem())
    same(dip, fresh)
    assert dip.stopped_by == "early_stopping_heldout"


def test_a_refit_warns_once_of_weights_that_no_seed_draws() -> None:
    class Coded(TinyNetwork):
        def __init__(self) -> None:
            super().__init__()
            self.code = torch.nn.Parameter(torch.randn(1, 1, 6, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x + self.code)

    dip, rule = build(network=Coded(), outer_steps=3), HeldOutStopping(0.2, patience=500, refit=True)
    with pytest.warns(UserWarning, match="Coded: code would be the same") as seen:
        fit(dip, problem(), [rule])
    assert rule.summary()["refitted"]
    assert sum("Coded: code would be the same" in str(one.message) for one in seen) == 1


def test_pretrained_weights_are_where_a_refit_starts() -> None:
    torch.manual_seed(0)
    network = TinyNetwork(width=8)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    dip, rule = build(network=network, reinitialise=False), stops_early()
    fit(dip, problem(), [rule])
    again = TinyNetwork(width=8)
    again.load_state_dict(weights)
    fresh = build(network=again, reinitialise=False, outer_steps=rule.summary()["iteration"] // 2)
    fit(fresh, problem())
    same(dip, fresh)


def test_a_refit_resumes_in_either_pass(tmp_path: Path) -> None:
    class SavePasses(pl.Callback):
        """In the middle of the first pass, at its end, and in the middle of the second."""

        def __init__(self) -> None:
            self.saved: list[Path] = []

        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            name = {True: "second", False: "first"}[not hasattr(pl_module.measurement.physics, "mask")]
            if rule._ready or pl_module.outer_step == 3:
                path = tmp_path / f"{name}_{'end' if rule._ready else 'middle'}.ckpt"
                trainer.save_checkpoint(path)
                self.saved.append(path)

    through, rule, saves = build(), stops_early(), SavePasses()
    fit(through, problem(), [rule, saves])
    assert [path.stem for path in saves.saved] == ["first_middle", "first_end", "second_middle"]
    for path in saves.saved:
        resumed, own = build(), stops_early()
        fit(resumed, problem(), [own], ckpt_path=str(path))
        same(through, resumed)
        assert own.summary() == rule.summary()


def test_resumes_in_the_first_pass(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    through, resumed = build(outer_steps=8), build(outer_steps=8)
    rules = [HeldOutStopping(0.2, smoothing=3), HeldOutStopping(0.2, smoothing=3)]
    fit(through, problem(), [rules[0], SaveAt(3, path)])
    fit(resumed, problem(), [rules[1]], ckpt_path=str(path))
    same(through, resumed)
    assert rules[0].summary() == rules[1].summary()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"fraction": 0.0}, "fraction=0"), ({"unit": "pixel"}, "unit='pixel'"), ({"every": 0}, "every=0"),
     ({"smoothing": 0}, "smoothing=0"), ({"refit": True, "action": "record"}, "action: record")],
)  # fmt: skip
def test_refuses_what_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        HeldOutStopping(**options)


def test_a_refit_refuses_averages_that_count_steps() -> None:
    with pytest.raises(ConfigurationError, match="not PosteriorSamples"):
        fit(build(), problem(), [stops_early(), PosteriorSamples()])


ACQUISITIONS: dict[str, tuple[Any, str, int]] = {
    "ct": (lambda: physics.ParallelBeamCT(views=20), "view", -2),
    "mri": (
        lambda: physics.CartesianMRI(
            physics.RandomLines(acceleration=2, center_fraction=0.1), physics.SimulatedCoils(coils=3)
        ),
        "line",
        -1,
    ),
}


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_whole_views_and_lines_are_held_out_of_data_and_first_image(name: str) -> None:
    acquisition, unit, dim = ACQUISITIONS[name]
    data = Phantom(acquisition(), kind="shepp_logan", size=24)
    data.setup("fit")
    whole = data.measurement
    dip = build(network=TinyNetwork(whole.image_shape[0], whole.image_shape[0]), initial_input=InitialEstimate())
    dip.outer_steps = 1
    fit(dip, whole, [HeldOutStopping(0.1, unit=unit)])
    others = [d for d in range(whole.y.ndim) if d != whole.y.ndim + dim]
    held = ~(dip.measurement.physics.mask.bool() | ~measured(whole.physics, whole.initial))
    rows, known = held.sum(others) > 0, measured(whole.physics, whole.initial).sum(others) > 0
    assert 1 <= rows.sum() <= 0.15 * known.sum() + 1
    assert not dip.measurement.y[held].any()
    assert torch.equal(dip.measurement.y[~held], whole.y[~held])
    assert whole.make_initial is not None
    again = whole.make_initial(torch.where(held, 0.0, whole.y), whole.physics)
    assert dip.measurement.initial.shape == whole.initial.shape
    if name == "mri":
        assert torch.allclose(dip.stored_input, again)
    else:  # views are filled from their neighbours: closer to the image of all data than with zeros
        assert (dip.stored_input - whole.initial).norm() < (again - whole.initial).norm()
