"""Slices of NIfTI volumes."""

import numpy as np
import pytest
import torch

from dip_lightning.data import NiftiSlices
from dip_lightning.data.readers.nifti import NiftiVolume
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.physics import Denoising

nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")


def write(path, flips=(1, 1, 1), order=(0, 1, 2), slope=1.0):
    """A volume of 6 x 8 x 10 voxels whose value says where it is: 100 right + 10 front + head; axes as asked for."""
    right, front, head = np.meshgrid(np.arange(6), np.arange(8), np.arange(10), indexing="ij")
    stored = (100 * right + 10 * front + head).astype(np.int16)
    stored = stored[:: flips[0], :: flips[1], :: flips[2]].transpose(order)
    affine = np.zeros((4, 4))
    for position, axis in enumerate(order):
        affine[axis, position] = flips[axis] * (1.0, 2.0, 3.0)[axis]
    affine[3, 3] = 1
    image = nibabel.Nifti1Image(stored, affine)
    image.header.set_slope_inter(slope, 0)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, -1, 1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_orientation_does_not_depend_on_how_the_file_was_written(tmp_path, suffix, flips, order):
    volume = NiftiVolume(write(tmp_path / f"v.{suffix}", flips, order))
    axial = volume.read("axial", 4)
    assert axial.shape == (8, 6)
    assert axial[0, 0] == 574  # the front on top, the patient's right on the left
    assert axial[-1, -1] == 4
    coronal = volume.read("coronal", 2)
    assert coronal[0, 0] == 529
    assert coronal[-1, -1] == 20
    assert volume.read("sagittal", 1)[0, 0] == 179
    assert [volume.slices(axis) for axis in ("axial", "coronal", "sagittal")] == [10, 8, 6]
    assert volume.spacing("axial") == (2.0, 1.0)
    assert volume.spacing("coronal") == (3.0, 1.0)


def test_measurement_of_a_slice(tmp_path):
    path = write(tmp_path / "lung.nii.gz", slope=2.0)
    module = NiftiSlices(Denoising(), str(path), (0, 1200), index=3, batch=2, square=True)
    module.setup("fit")
    assert module.measurement.ids == ("lung_axial_0003", "lung_axial_0004")
    assert module.measurement.target.shape == (2, 1, 6, 6)
    assert module.measurement.target[1, 0, 0, 0] == pytest.approx(2 * 564 / 1200)
    assert module.measurement.metadata["spacing_mm"] == [2.0, 1.0]


def test_bad_volumes(tmp_path):
    path = write(tmp_path / "v.nii.gz")
    with pytest.raises(ConfigurationError, match=r"no axial slice 10: .*v.nii.gz holds 10"):
        NiftiSlices(Denoising(), str(path), (0, 1)).load([10])
    with pytest.raises(ConfigurationError, match="Did you mean 'axial'"):
        NiftiSlices(Denoising(), str(path), (0, 1), axis="axail")
    with pytest.raises(ConfigurationError, match=r"must be a .nii"):
        NiftiSlices(Denoising(), "a.png", (0, 1))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(MeasurementError, match=r"v.nii.gz cannot be read"):
        NiftiSlices(Denoising(), str(path), (0, 1)).load([0])
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 3)), np.eye(4)), tmp_path / "series.nii")
    with pytest.raises(MeasurementError, match=r"series.nii holds \[4, 4, 4, 3\]"):
        NiftiVolume(tmp_path / "series.nii")


def test_clinical_volume(data_root):
    path = data_root / "ct_clinical_slices" / "totalseg_example_ct_3mm.nii.gz"
    module = NiftiSlices(Denoising(), str(path), (-1000, 1000), index=56)
    image, name = module.image(56)
    assert name == "totalseg_example_ct_3mm_axial_0056"
    assert image.shape == (1, 101, 122)
    assert 0.1 < image.mean() < 0.6
    assert torch.isfinite(image).all()
