"""LoDoPaB-CT: geometry, units and files as released."""

import h5py
import numpy as np
import pytest
import torch
from fake_data.lodopab import blob, write_files

from dip_lightning.data import LoDoPaB
from dip_lightning.data.readers.lodopab import LoDoPaBFiles
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.physics import NoNoise


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("lodopab"))


def test_released_data_fit_the_released_geometry(folder):
    module = LoDoPaB(str(folder), views=20)
    module.setup("fit")
    measurement = module.measurement
    assert measurement.y.shape == (1, 1, 20, 513)
    torch.testing.assert_close(measurement.target[0, 0], torch.from_numpy(blob()))
    predicted = measurement.physics.A(measurement.target)
    assert (predicted - measurement.y).norm() / measurement.y.norm() < 0.01
    assert (measurement.initial - measurement.target).norm() / measurement.target.norm() < 0.1
    assert measurement.units == "0.0813586 per mm"
    assert measurement.ids == ("lodopab_test_00000_20views",)
    assert measurement.noise_level is None


def test_data_are_in_pixel_units(folder):
    measurement = LoDoPaB(str(folder), views=2).load([0])
    stored = LoDoPaBFiles(folder, "test").read("observation", 0)
    np.testing.assert_allclose(measurement.y[0, 0, 1], stored[500] * 362 / 0.26, rtol=1e-5)


def test_views_that_do_not_divide_a_thousand(folder):
    module = LoDoPaB(str(folder), views=18)
    assert module.views[:4] == [0, 56, 111, 167]
    assert module.acquisition.angles[1] == pytest.approx(56.5 * 0.18 - 90)


def test_resimulated_views(folder):
    clean = LoDoPaB(str(folder), views=6, source="resimulated", noise=NoNoise()).load([3])
    torch.testing.assert_close(clean.y, clean.physics.A(clean.target))
    noisy = LoDoPaB(str(folder), views=6, source="resimulated").load([3])
    again = LoDoPaB(str(folder), views=6, source="resimulated").load([3])
    assert torch.equal(noisy.y, again.y)
    relative = (noisy.y - clean.y).norm() / clean.y.norm()
    assert 0.001 < relative < 0.2


def test_last_file_with_fewer_samples(folder):
    files = LoDoPaBFiles(folder, "test")
    assert files.count("observation") == 133
    np.testing.assert_allclose(files.read("ground_truth", 132), 0.5 * blob())
    with pytest.raises(ConfigurationError, match=r"no sample 133.*holds 133 ground_truth samples of 'test'"):
        files.read("ground_truth", 133)


def test_last_file_as_released_declares_rows_that_were_never_written(tmp_path):
    write_files(tmp_path, files=28, last=97, declared=128)
    files = LoDoPaBFiles(tmp_path, "test")
    assert files.count("ground_truth") == 3553
    np.testing.assert_allclose(files.read("ground_truth", 3552), 0.5 * blob())
    with pytest.raises(ConfigurationError, match="no sample 3553"):
        files.read("ground_truth", 3553)


def test_challenge_has_no_target(tmp_path):
    write_files(tmp_path / "observation_challenge", "challenge", files=1, last=2, truth=False)
    measurement = LoDoPaB(str(tmp_path), split="challenge", views=2).load([0])
    assert measurement.target is None
    with pytest.raises(MeasurementError, match=r"no ground_truth_challenge_NNN"):
        LoDoPaB(str(tmp_path), split="challenge", views=2, source="resimulated").load([0])


def test_of_300_files_those_alone_are_opened_that_are_needed(tmp_path, monkeypatch):
    for number in range(300):
        (tmp_path / f"observation_train_{number:03d}.hdf5").write_bytes(b"not read")
    write_files(tmp_path, "train", files=1, last=4, truth=False)
    with h5py.File(tmp_path / "observation_train_299.hdf5", "w") as file:
        file["data"] = np.zeros((7, 1000, 513), np.float32)
    opened, open_file = [], h5py.File
    monkeypatch.setattr(h5py, "File", lambda path, mode: opened.append(path.stem[-3:]) or open_file(path, mode))
    files = LoDoPaBFiles(tmp_path, "train")
    assert files.count("observation") == 299 * 128 + 7
    assert opened == ["299"]
    files.read("observation", 2)
    assert set(opened) == {"000", "299"}
    assert len(opened) <= 3


def test_a_broken_file_does_not_spoil_the_others(tmp_path):
    write_files(tmp_path, files=3)
    (tmp_path / "observation_test_001.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n truncated")
    files = LoDoPaBFiles(tmp_path, "test")
    assert files.read("observation", 0).max() > 0
    assert files.read("observation", 260).max() > 0
    with pytest.raises(MeasurementError, match=r"observation_test_001.hdf5 cannot be read"):
        files.read("observation", 130)
    (tmp_path / "observation_test_001.hdf5").unlink()
    with pytest.raises(MeasurementError, match=r"observation_test_001.hdf5 does not exist.*datasets check LoDoPaB"):
        files.read("observation", 130)


def test_a_broken_last_file_stops_only_its_own_samples(tmp_path):
    write_files(tmp_path, files=3)
    for kind in ("observation", "ground_truth"):
        (tmp_path / f"{kind}_test_002.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n truncated")
    assert LoDoPaB(str(tmp_path), views=2).load([0, 131]).target.max() > 0
    with pytest.raises(MeasurementError, match=r"observation_test_002.hdf5 cannot be read"):
        LoDoPaB(str(tmp_path), views=2).load([256])


def test_wrong_schema(tmp_path):
    with h5py.File(tmp_path / "observation_test_000.hdf5", "w") as file:
        file["kspace"] = np.zeros(3)
    with pytest.raises(MeasurementError, match=r"observation_test_000.hdf5 has no data set 'data', only kspace"):
        LoDoPaBFiles(tmp_path, "test").count("observation")
    with h5py.File(tmp_path / "observation_test_000.hdf5", "w") as file:
        file["data"] = np.zeros((2, 513, 1000), np.float32)
    with pytest.raises(MeasurementError, match=r"\[2, 513, 1000\].*\[samples, 1000, 513\]"):
        LoDoPaBFiles(tmp_path, "test").count("observation")
    values = np.zeros((2, 1000, 513), np.float32)
    values[1, 2, 3] = np.nan
    with h5py.File(tmp_path / "observation_test_000.hdf5", "w") as file:
        file["data"] = values
    with pytest.raises(MeasurementError, match=r"row 1 holds 1 NaN"):
        LoDoPaBFiles(tmp_path, "test").read("observation", 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "tset"}, "Did you mean 'test'"),
        ({"views": 1001}, "views=1001"),
        ({"source": "resimulate"}, "Did you mean 'resimulated'"),
        ({"noise": NoNoise()}, "data.noise is for"),
    ],
)
def test_bad_options(tmp_path, options, words):
    with pytest.raises(ConfigurationError, match=words):
        LoDoPaB(str(tmp_path), **options)
