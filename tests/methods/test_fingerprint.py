"""A checkpoint is continued by the fit that wrote it and by no other."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from dip_lightning.callbacks import BestLoss, HeldOutStopping, OutputAveraging, SUREStopping
from dip_lightning.errors import RunFolderError
from dip_lightning.inputs import UniformNoise
from dip_lightning.measurement import Measurement
from dip_lightning.members import repeat_measurement
from dip_lightning.methods import DIP, TVDIP, BaseDIP
from dip_lightning.methods.fingerprint import sketch
from tests.methods.test_battery import SaveAt, problem
from tests.support import TinyNetwork, fit

CALLBACKS = {
    "none": lambda: [],
    "held out": lambda: [HeldOutStopping(0.2)],
    "refit": lambda: [HeldOutStopping(0.2, patience=1, refit=True)],
    "sure": lambda: [SUREStopping()],
}


def method(kind: type[BaseDIP] = DIP, **options: Any) -> BaseDIP:
    adam = partial(torch.optim.Adam, lr=1e-2)
    return kind(network=TinyNetwork(), initial_input=UniformNoise(1), optimizer=adam, outer_steps=4, **options)


def continued(path: Path, measurement: Measurement, callbacks: list[Any], own: BaseDIP | None = None) -> BaseDIP:
    own = own or method()
    fit(own, measurement, callbacks, ckpt_path=str(path))
    return own


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last.ckpt"


@pytest.mark.parametrize("name", CALLBACKS)
def test_other_data_of_the_same_shape_are_refused(name: str, path: Path) -> None:
    """Also where a callback keeps some of them from the fit."""
    fit(method(), problem(), [*CALLBACKS[name](), SaveAt(2, path)])
    y = problem().y.clone()
    y[0, 3] += 1e-2
    with pytest.raises(RunFolderError, match="y has other values"):
        continued(path, replace(problem(), y=y), CALLBACKS[name]())
    assert continued(path, problem(), CALLBACKS[name]()).stopped_by


def test_data_that_differ_by_rounding_are_the_same(path: Path) -> None:
    fit(method(), problem(), [SaveAt(2, path)])
    rounded = replace(problem(), y=problem().y.float().double(), target=None)
    assert continued(path, rounded, []).outer_step == 4


def test_another_first_image_or_reference_is_refused(path: Path) -> None:
    fit(method(), problem(), [SaveAt(2, path)])
    with pytest.raises(RunFolderError, match="initial has other values"):
        continued(path, replace(problem(), initial=2 * problem().initial), [])
    with pytest.raises(RunFolderError, match="reference was given before"):
        continued(path, problem(reference=None), [])


def test_other_members_or_seeds_are_refused(path: Path) -> None:
    fit(method(seed=3), problem(), [SaveAt(2, path)])
    with pytest.raises(RunFolderError, match=r"seed was \[3\], is now \[3, 4\]"):
        continued(path, repeat_measurement(problem(), 2), [], method(seed=3))
    with pytest.raises(RunFolderError, match=r"measurement was \['matrix'\], is now \['other'\]"):
        continued(path, problem(ids=("other",)), [], method(seed=3))


def test_another_method_or_setting_is_refused(path: Path) -> None:
    fit(method(), problem(), [SaveAt(2, path)])
    with pytest.raises(RunFolderError, match=r"method was DIP, is now TVDIP.*another --record.run_dir"):
        continued(path, problem(), [], method(TVDIP))
    with pytest.raises(RunFolderError, match=r"model\.input_noise was 0\.0, is now 0\.5"):
        continued(path, problem(), [], method(input_noise=0.5))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_another_precision_is_refused(precision: str, path: Path) -> None:
    fit(method(), problem(), [SaveAt(2, path)], precision="64-true")
    with pytest.raises(RunFolderError, match=f"precision was 64-true, is now {precision}"):
        fit(method(), problem(), [], precision=precision, ckpt_path=str(path))


def test_callbacks_that_change_the_fit_count_by_kind(path: Path) -> None:
    fit(method(), problem(), [OutputAveraging(0.9), BestLoss(patience=3), SaveAt(2, path)])
    with pytest.raises(RunFolderError, match=r"callbacks was \['OutputAveraging', 'BestLoss'\], is now \['BestLoss'\]"):
        continued(path, problem(), [BestLoss(patience=3)])
    more_patience = [OutputAveraging(0.9), BestLoss(patience=30), pl.Callback()]
    assert continued(path, problem(), more_patience).outer_step == 4


@pytest.mark.parametrize("name", CALLBACKS)
def test_a_checkpoint_of_an_earlier_version_warns(name: str, path: Path) -> None:
    fit(method(), problem(), [*CALLBACKS[name](), SaveAt(2, path)])
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["dip_lightning"]["fingerprint"]
    for state in checkpoint["callbacks"].values():
        state.pop("recent", None)
        if "twin" in state:
            del state["twin"]["reports"]
            state["twin"]["rates"] = [options["lr"] for options in state["twin"].pop("options")]
    torch.save(checkpoint, path)
    with pytest.warns(UserWarning, match="does not say of which fit"):
        assert continued(path, problem(), CALLBACKS[name]()).stopped_by


def test_a_checkpoint_that_no_fit_wrote_is_refused(path: Path) -> None:
    fit(method(), problem(), [SaveAt(2, path)])
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["dip_lightning"]
    torch.save(checkpoint, path)
    with pytest.raises(RunFolderError, match=r"not of a fit.*model\.pretrained"):
        continued(path, problem(), [])


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("size", [10, 64, 5000])
def test_sketches_are_as_far_apart_as_data(dtype: torch.dtype, size: int) -> None:
    draw = torch.Generator().manual_seed(3)
    data = torch.randn(2, size, generator=draw, dtype=dtype)
    other = data.clone()
    other[1] += 0.1 * torch.randn(size, generator=draw, dtype=dtype)
    distance = (sketch(data) - sketch(other)).norm(dim=1)
    assert distance[0] == 0
    assert distance[1] == pytest.approx(float((data - other)[1].norm()), rel=0.4)
