"""Every DataModule is made from plain configuration values."""

import pytest
from jsonargparse import ArgumentParser

import dip_lightning.data
from dip_lightning.data import HTC2022, ImageFile, MeasurementDataModule, Phantom, SampleImage

ACQUISITION = {"class_path": "dip_lightning.physics.ParallelBeamCT", "init_args": {"views": 12}}


def build(class_path, **init_args):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(MeasurementDataModule, "data")
    config = parser.parse_object({"data": {"class_path": class_path, "init_args": init_args}})
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # renamed in jsonargparse 4.49
    return instantiate(config).data


def test_phantom():
    module = build("dip_lightning.data.Phantom", acquisition=ACQUISITION, kind="ellipses", size=32, index=2)
    assert isinstance(module, Phantom)
    module.setup("fit")
    measurement = module.measurement
    assert measurement.ids == ("ellipses_32_0002",)
    assert measurement.task == "ct"
    assert measurement.y.shape[2] == 12
    assert measurement.metadata["phantom"] == "ellipses"
    assert measurement.metadata["views"] == 12


def test_image_file(data_root):
    pytest.importorskip("pydicom")
    module = build(
        "dip_lightning.data.ImageFile",
        acquisition=ACQUISITION,
        path=str(data_root / "ct_clinical_slices" / "lungmask_chest_512.dcm"),
        size=[64, 64],
        window=[-1000, 1000],
    )
    assert isinstance(module, ImageFile)
    module.setup("fit")
    assert module.measurement.target.shape == (1, 1, 64, 64)


def test_sample_image():
    module = build("dip_lightning.data.SampleImage", acquisition=ACQUISITION, name="cat", square=True, gray=True)
    assert isinstance(module, SampleImage)


def test_htc2022(tmp_path):
    module = build("dip_lightning.data.HTC2022", path=str(tmp_path), phantom=["01a", "ta"], views=18, index=1)
    assert isinstance(module, HTC2022)
    assert module.phantoms == ["01a", "ta"]
    assert build("dip_lightning.data.HTC2022", path=str(tmp_path), phantom="01a").phantoms == ["01a"]


def test_public_names():
    assert all(hasattr(dip_lightning.data, name) for name in dip_lightning.data.__all__)
