"""A user's own data with a physics by class path or from a function."""

import json
import pickle
import sys

import deepinv
import h5py
import numpy as np
import pytest
import scipy.io
import torch
from jsonargparse import ArgumentParser

from dip_lightning.data import MeasurementDataModule, OwnMeasurement
from dip_lightning.errors import ConfigurationError, MeasurementError

SHAPE = (1, 12, 10)
FACTORY = """
import deepinv, torch
def make(image_shape, keep=0.5):
    mask = (torch.rand(image_shape, generator=torch.Generator().manual_seed(0)) < keep).float()
    return deepinv.physics.Inpainting(image_shape, mask=mask)
def wrong(image_shape):
    return 3
"""


@pytest.fixture
def factory(tmp_path):
    (tmp_path / "mine.py").write_text(FACTORY)
    return f"{tmp_path / 'mine.py'}:make"


def data(count=None):
    shape = SHAPE if count is None else (count, *SHAPE)
    return np.random.default_rng(0).random(shape).astype(np.float32)


@pytest.mark.parametrize("suffix", ["npy", "npz", "mat", "h5", "pt"])
def test_files_and_factory(tmp_path, factory, suffix):
    values, path = data(), tmp_path / f"scan 1.{suffix}"
    writers = {
        "npy": lambda: np.save(path, values),
        "npz": lambda: np.savez(path, y=values, other=np.zeros(2)),
        "mat": lambda: scipy.io.savemat(path, {"y": values, "other": np.zeros(2)}),
        "pt": lambda: torch.save({"y": torch.from_numpy(values), "other": torch.zeros(2)}, path),
    }
    if suffix == "h5":
        with h5py.File(path, "w") as file:
            file["group/y"], file["other"] = values, np.zeros(2)
    else:
        writers[suffix]()
    key = {"npy": None, "h5": "group/y"}.get(suffix, "y")
    module = OwnMeasurement(str(path), factory, SHAPE, y_key=key, physics_args={"keep": 0.7}, task="mine")
    module.setup("fit")
    measurement = module.measurement
    assert measurement.ids == ("scan_1",)
    assert measurement.task == "mine"
    assert measurement.target is None
    torch.testing.assert_close(measurement.y[0], torch.from_numpy(values))
    torch.testing.assert_close(measurement.initial, measurement.physics.A_adjoint(measurement.y))
    if key is not None:
        with pytest.raises(MeasurementError, match="holds 2 arrays"):
            OwnMeasurement(str(path), factory, SHAPE).load([0])
        with pytest.raises(MeasurementError, match="Did you mean 'other'"):
            OwnMeasurement(str(path), factory, SHAPE, y_key="othr").load([0])


def test_several_measurements_with_targets(tmp_path, factory):
    np.save(tmp_path / "y.npy", data(3))
    np.save(tmp_path / "x.npy", 2 * data(3))
    np.save(tmp_path / "first.npy", data()[0])
    files = {"target": str(tmp_path / "x.npy"), "initial": str(tmp_path / "first.npy")}
    module = OwnMeasurement(str(tmp_path / "y.npy"), factory, SHAPE, index=1, batch=2, value_range=None, **files)
    module.setup("fit")
    assert module.measurement.ids == ("y_0001", "y_0002")
    torch.testing.assert_close(module.measurement.target, torch.from_numpy(2 * data(3)[1:]))
    torch.testing.assert_close(module.measurement.initial[1, 0], torch.from_numpy(data()[0]))
    with pytest.raises(ConfigurationError, match=r"measurement 3, but .*y.npy holds 3"):
        module.load([2, 3])


def test_physics_by_class_path_in_a_configuration(tmp_path):
    np.save(tmp_path / "y.npy", data())
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(MeasurementDataModule, "data")
    physics = {"class_path": "deepinv.physics.Denoising"}
    arguments = {"y": str(tmp_path / "y.npy"), "physics": physics, "image_shape": list(SHAPE)}
    config = {"data": {"class_path": "dip_lightning.data.OwnMeasurement", "init_args": arguments}}
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    module = instantiate(parser.parse_object(config)).data
    module.setup("fit")
    assert isinstance(module.measurement.physics, deepinv.physics.Denoising)
    torch.testing.assert_close(module.measurement.initial, module.measurement.y)


def test_complex_data_and_pseudo_inverse(tmp_path):
    physics = deepinv.physics.MRI(mask=torch.ones(1, 1, 12, 10), img_size=(2, 12, 10))
    image = torch.rand(1, 2, 12, 10)
    np.save(tmp_path / "y.npy", physics.A(image)[0].numpy())
    options = {"initial": "pseudo_inverse", "magnitude": True, "value_range": None}
    measurement = OwnMeasurement(str(tmp_path / "y.npy"), physics, (2, 12, 10), **options).load([0])
    torch.testing.assert_close(measurement.initial, image)
    torch.testing.assert_close(measurement.make_initial(2 * measurement.y, physics), 2 * image)


def test_a_sinogram_may_be_a_matrix(tmp_path):
    physics = deepinv.physics.Tomography(angles=6, img_width=16, normalize=True)
    sinogram = physics.A(torch.rand(1, 1, 16, 16))
    scipy.io.savemat(tmp_path / "scan.mat", {"sinogram": sinogram[0, 0].numpy()})
    module = OwnMeasurement(str(tmp_path / "scan.mat"), physics, (1, 16, 16))
    measurement = module.load([0])
    assert measurement.ids == ("scan",)
    torch.testing.assert_close(measurement.y, sinogram)
    with pytest.raises(ConfigurationError, match=r"measurement 1, but .*scan.mat holds 1"):
        module.load([1])
    scipy.io.savemat(tmp_path / "scan.mat", {"sinogram": sinogram[0, 0].numpy().T})
    with pytest.raises(MeasurementError, match=r"shape \[6, 23\].*to \[1, 23, 6\]"):
        module.load([0])


def test_a_factory_whose_file_holds_a_dataclass(tmp_path):
    np.save(tmp_path / "y.npy", data())
    physics = tmp_path / "geometry.py"
    physics.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "import deepinv\n"
        "@dataclass\n"
        "class Geometry:\n"
        "    keep: float = 0.5\n"
        "class Mine(deepinv.physics.Denoising):\n"
        "    geometry = Geometry()\n"
        "def make(image_shape):\n"
        "    return Mine()\n"
    )
    found = OwnMeasurement(str(tmp_path / "y.npy"), f"{physics}:make", SHAPE).load([0]).physics
    assert found.geometry.keep == 0.5
    assert pickle.loads(pickle.dumps(found.geometry)) == found.geometry


def test_a_factory_file_does_not_stand_for_a_module_of_its_name(tmp_path):
    np.save(tmp_path / "y.npy", data())
    (tmp_path / "json.py").write_text(FACTORY)
    OwnMeasurement(str(tmp_path / "y.npy"), f"{tmp_path / 'json.py'}:make", SHAPE).load([0])
    assert sys.modules["json"] is json
    before = set(sys.modules)
    (tmp_path / "broken.py").write_text("import no_such_module")
    with pytest.raises(ConfigurationError, match="cannot be imported"):
        OwnMeasurement(str(tmp_path / "y.npy"), f"{tmp_path / 'broken.py'}:make", SHAPE).load([0])
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("physics", "words"),
    [
        ("no_such_module:make", "cannot be imported"),
        ("{folder}/none.py:make", "cannot be imported"),
        ("{folder}/mine.py:mak", "Did you mean 'make'"),
        ("{folder}/mine.py:wrong", "returned a int"),
    ],
)
def test_factories_that_fail(tmp_path, factory, physics, words):
    np.save(tmp_path / "y.npy", data())
    with pytest.raises(ConfigurationError, match=words):
        OwnMeasurement(str(tmp_path / "y.npy"), physics.format(folder=tmp_path), SHAPE).load([0])


def test_data_that_do_not_fit(tmp_path, factory):
    np.save(tmp_path / "y.npy", data().transpose(0, 2, 1))
    with pytest.raises(MeasurementError, match=r"y.npy holds data of shape \[1, 10, 12\].*to \[1, 12, 10\]"):
        OwnMeasurement(str(tmp_path / "y.npy"), factory, SHAPE).load([0])
    np.save(tmp_path / "nan.npy", np.full(SHAPE, np.nan))
    with pytest.raises(MeasurementError, match=r"nan.npy holds 120 NaN"):
        OwnMeasurement(str(tmp_path / "nan.npy"), factory, SHAPE).load([0])
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(MeasurementError, match=r"broken.npy cannot be read"):
        OwnMeasurement(str(tmp_path / "broken.npy"), factory, SHAPE).load([0])
    with pytest.raises(MeasurementError, match=r"data.xyz does not exist"):
        OwnMeasurement(str(tmp_path / "data.xyz"), factory, SHAPE).load([0])
    with pytest.raises(ConfigurationError, match="neither a physics by class path nor a function"):
        OwnMeasurement(str(tmp_path / "y.npy"), "deepinv.physics.Denoising", SHAPE)
