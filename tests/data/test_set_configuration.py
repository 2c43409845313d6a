"""The DataModules of data sets are made from plain configuration values, and from their shipped blocks."""

from pathlib import Path

import pytest
import yaml
from fake_data.fastmri import write_volume
from fake_data.lodopab import write_files
from jsonargparse import ArgumentParser

from dip_lightning.data import (
    CBSD68,
    DataExchangeCT,
    FastMRI,
    LoDoPaB,
    MeasurementDataModule,
    NiftiSlices,
    TrajectoryKSpace,
)

BLOCKS = Path(__file__).parents[2] / "configs" / "data"
DENOISING = {"class_path": "dip_lightning.physics.Denoising"}


def build(block):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(MeasurementDataModule, "data")
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    return instantiate(parser.parse_object({"data": block})).data


def shipped(name):
    return yaml.safe_load((BLOCKS / f"{name}.yaml").read_text())


def test_lodopab(tmp_path, monkeypatch):
    write_files(tmp_path / "lodopab", files=1, last=2)
    monkeypatch.setenv("DIP_LIGHTNING_DATA", str(tmp_path))
    block = shipped("lodopab")
    block["init_args"] |= {"views": 3, "source": "resimulated", "index": 1, "repeat": 2}
    block["init_args"]["noise"] = {"class_path": "PoissonCounts", "init_args": {"photons": 100}}
    module = build(block)
    assert isinstance(module, LoDoPaB)
    module.setup("fit")
    assert module.measurement.y.shape == (2, 1, 3, 513)
    assert module.measurement.metadata["samples"] == [1]


def test_tooth(data_root, monkeypatch):
    monkeypatch.setenv("DIP_LIGHTNING_DATA", str(data_root))
    block = shipped("tooth")
    block["init_args"] |= {"image_size": 64, "views": 5}
    module = build(block)
    assert isinstance(module, DataExchangeCT)
    module.setup("fit")
    assert module.measurement.ids == ("tooth_row0_5views",)
    assert module.measurement.image_shape == (1, 64, 64)


def test_fastmri(tmp_path, monkeypatch):
    for kind, coils in (("multicoil", 4), ("singlecoil", None)):
        (tmp_path / "fastmri" / f"{kind}_val").mkdir(parents=True)
        write_volume(tmp_path / "fastmri" / f"{kind}_val" / "file1.h5", coils=coils)
    monkeypatch.setenv("DIP_LIGHTNING_DATA", str(tmp_path))
    block = shipped("fastmri")
    block["init_args"]["acquisition"]["init_args"]["mask"]["init_args"]["center_fraction"] = 0.2
    module = build(block)
    assert isinstance(module, FastMRI)
    module.setup("fit")
    assert module.measurement.ids == ("file1_slice01",)
    assert module.measurement.target is not None
    block["init_args"]["path"] = "${DIP_LIGHTNING_DATA}/fastmri/singlecoil_val"
    block["init_args"]["acquisition"]["init_args"]["coils"] = None
    single = build(block)
    single.setup("fit")
    assert single.measurement.y.shape == single.measurement.target.shape


@pytest.mark.filterwarnings("ignore")  # mri-nufft's own, of libraries that it would like to have
def test_spiral(data_root, monkeypatch):
    pytest.importorskip("mrinufft", reason="mri-nufft is not installed")
    pytest.importorskip("finufft", reason="finufft is not installed")
    monkeypatch.setenv("DIP_LIGHTNING_DATA", str(data_root))
    block = shipped("mri_spiral8")
    block["init_args"]["image_size"] = 64
    module = build(block)
    assert isinstance(module, TrajectoryKSpace)
    module.setup("fit")
    measurement = module.measurement
    assert measurement.ids == ("spiral8",)
    assert measurement.image_shape == (2, 64, 64)
    assert measurement.y.shape[:3] == (1, 2, 8)
    assert (measurement.metadata["shots"], measurement.metadata["shots_measured"]) == (15, 60)
    assert measurement.target is not None


@pytest.mark.parametrize("task", ["denoising", "inpainting", "deblurring", "superresolution"])
def test_cbsd68(data_root, monkeypatch, task):
    monkeypatch.setenv("DIP_LIGHTNING_DATA", str(data_root))
    module = build(shipped(f"cbsd68_{task}"))
    assert isinstance(module, CBSD68)
    module.setup("fit")
    assert sorted(module.measurement.image_shape) == [3, 320, 480]
    assert module.measurement.task.replace("_", "") == task


def test_cbsd68_for_compressed_sensing(data_root, monkeypatch):
    monkeypatch.setenv("DIP_LIGHTNING_DATA", str(data_root))
    module = build(shipped("cbsd68_compressedsensing"))
    module.setup("fit")
    assert module.measurement.image_shape == (1, 128, 128)
    assert module.measurement.y[0].numel() == 128**2 // 4


def test_slices(data_root):
    path = str(data_root / "ct_clinical_slices" / "totalseg_example_ct_3mm.nii.gz")
    arguments = {"path": path, "window": [-1000, 1000], "axis": "coronal", "size": [64, 64], "acquisition": DENOISING}
    module = build({"class_path": "dip_lightning.data.NiftiSlices", "init_args": {**arguments, "index": 50}})
    assert isinstance(module, NiftiSlices)
    pytest.importorskip("nibabel")
    module.setup("fit")
    assert module.measurement.image_shape == (1, 64, 64)
