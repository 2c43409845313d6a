"""fastMRI volumes, on files of the released schema."""

import h5py
import numpy as np
import pytest
import torch
from fake_data.fastmri import write_volume

from dip_lightning.data import FastMRI, Phantom
from dip_lightning.data.readers.fastmri import count_slices, read_slice
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.functional.metrics import Scorer, score
from dip_lightning.members import select_members
from dip_lightning.physics import CartesianMRI, Denoising, ESPIRiT, RandomLines

SINGLE = CartesianMRI(RandomLines(center_fraction=0.2))
MULTI = CartesianMRI(RandomLines(acceleration=2, center_fraction=0.3), ESPIRiT())


def load(path, acquisition=MULTI, **kwargs):
    module = FastMRI(acquisition, str(path), **kwargs)
    module.setup("fit")
    return module.measurement


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("multicoil_val")
    for number in (1, 2, 3):
        write_volume(folder / f"file100000{number}.h5", slices=number + 2)
    return folder


def rss(kspace):
    """Root sum of squares by numpy."""
    axes = (-2, -1)
    images = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=axes), norm="ortho"), axes=axes)
    return np.sqrt((abs(images) ** 2).sum(0))


def test_multi_coil_validation_volume(folder):
    measurement = load(folder)
    with h5py.File(folder / "file1000001.h5") as file:
        kspace, stored = file["kspace"][1], file["reconstruction_rss"][1]
    assert measurement.ids == ("file1000001_slice01",)
    assert measurement.y.shape == (1, 2, 4, 48, 40)
    assert measurement.metadata["target"] == "rss"
    assert measurement.metadata["slices"][0]["stored_reconstruction_nrmse"] < 1e-5
    assert measurement.metadata["slices"][0]["attributes"]["acquisition"] == "CORPD_FBK"
    (scale,) = measurement.metadata["scale"]
    lines = (measurement.y[0] != 0).any(0).any(0).any(0)
    assert int(lines.sum()) == 20
    y = torch.complex(measurement.y[0, 0], measurement.y[0, 1]).numpy()
    np.testing.assert_allclose(y[..., lines.numpy()] / scale, kspace[..., lines.numpy()], rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(measurement.target[0, 0].numpy() / scale, rss(kspace), rtol=1e-4, atol=1e-9)
    assert measurement.initial.norm(dim=1).max() == pytest.approx(1, abs=1e-5)
    # Metrics see what the leaderboard sees: the centre that is stored.
    assert measurement.crop == (24, 24)
    np.testing.assert_allclose(Scorer(measurement).target[0, 0].numpy() / scale, stored, rtol=1e-4, atol=1e-9)


def test_scores_ignore_what_is_outside_the_centre(folder):
    measurement = load(folder)
    image = measurement.initial.clone()
    image[..., :12, :] += 5
    assert score(measurement, image)["psnr"] == score(measurement, measurement.initial)["psnr"]
    whole = load(folder, crop=False)
    assert whole.crop is None
    assert score(whole, image)["psnr"] < score(whole, whole.initial)["psnr"]


def test_combined_target_has_the_maps_of_the_fit(folder):
    measurement = load(folder, target="combined")
    (scale,) = measurement.metadata["scale"]
    inside = measurement.physics.coil_maps.abs().sum(1)[0] > 0
    full = torch.from_numpy(rss(read_slice(folder / "file1000001.h5", 1).kspace)) * scale
    magnitude = measurement.target.norm(dim=1)[0]
    head = inside & (full > 0.2 * full.max())
    assert (magnitude - full)[head].norm() < 0.02 * full[head].norm()
    assert magnitude[~inside].abs().max() == 0


def test_index_slice_and_batch(folder):
    assert load(folder, index=2).ids == ("file1000003_slice02",)
    assert load(folder, index=1).ids == ("file1000002_slice02",)  # the second of the middle two
    assert load(folder, index=1, slice=3).ids == ("file1000002_slice03",)
    assert load(folder, slice="all", index=4).ids == ("file1000002_slice01",)
    both = load(folder, slice=0, index=1, batch=2)
    assert both.ids == ("file1000002_slice00", "file1000003_slice00")
    torch.testing.assert_close(both.y[1:], load(folder, slice=0, index=2).y)
    assert load(folder / "file1000002.h5", slice=0).ids == ("file1000002_slice00",)
    assert count_slices(folder / "file1000003.h5") == 5


def test_members_of_a_batch_can_be_repeated_and_taken_apart(folder):
    measurement = load(folder, slice=0, index=1, batch=2, repeat=2)
    assert measurement.y.shape[0] == 4
    assert measurement.repetitions == (0, 1, 0, 1)
    alone = load(folder, slice=0, index=2)
    last = select_members(measurement, [3])
    torch.testing.assert_close(last.physics.A(alone.target), alone.physics.A(alone.target))
    torch.testing.assert_close(last.y, alone.y)


def test_past_the_end_says_how_many_there_are(folder):
    with pytest.raises(ConfigurationError, match=r"asks for volume 3, but .* has 3"):
        load(folder, index=3)
    with pytest.raises(ConfigurationError, match=r"asks for slice 12, but the volumes of .* have 12"):
        load(folder, slice="all", index=12)
    with pytest.raises(ConfigurationError, match=r"data.slice=3, but .*file1000001.h5 has 3 slices"):
        load(folder, slice=3)
    with pytest.raises(ConfigurationError, match="Did you mean 'middle'"):
        load(folder, slice="midle")


def test_test_volume_uses_its_own_mask_and_has_no_target(tmp_path):
    mask = np.zeros(40, dtype=bool)
    mask[::4] = mask[14:26] = True
    kspace = write_volume(tmp_path / "file.h5", mask=mask)
    measurement = load(tmp_path / "file.h5")
    assert measurement.target is None
    assert measurement.crop == (24, 24)  # from the header
    assert measurement.metadata["mask_of_file"] == [True]
    assert measurement.metadata["mask"] == "of the file"
    np.testing.assert_array_equal(measurement.physics.mask[0, 0, 0].numpy().astype(bool), mask)
    np.testing.assert_allclose(measurement.y[0, 0] / measurement.metadata["scale"][0], kspace[1].real, 1e-4, 1e-9)


def test_full_test_volume_is_undersampled_by_its_own_mask(tmp_path):
    mask = np.zeros(40, dtype=bool)
    mask[::4] = mask[14:26] = True
    write_volume(tmp_path / "full.h5", mask=mask, undersample=False)
    write_volume(tmp_path / "test.h5", mask=mask)
    full, test = load(tmp_path / "full.h5"), load(tmp_path / "test.h5")
    torch.testing.assert_close(full.y, test.y)
    torch.testing.assert_close(full.initial, test.initial)
    assert full.target is not None


def test_nothing_but_the_target_sees_what_is_not_sampled(folder, tmp_path):
    measurement = load(folder)
    sampled = measurement.physics.mask[0, 0, 0].numpy().astype(bool)
    with h5py.File(folder / "file1000001.h5") as file, h5py.File(tmp_path / "other.h5", "w") as other:
        kspace = file["kspace"][()]
        kspace[..., ~sampled] *= 3
        other["kspace"] = kspace
    changed = load(tmp_path / "other.h5")
    assert torch.equal(changed.y, measurement.y)
    assert torch.equal(changed.initial, measurement.initial)
    assert torch.equal(changed.physics.coil_maps, measurement.physics.coil_maps)
    assert not torch.allclose(changed.target, measurement.target)


def test_padding_is_never_sampled(tmp_path):
    write_volume(tmp_path / "file.h5", padding=6)
    measurement = load(tmp_path)
    assert measurement.physics.mask[..., :6].sum() == 0
    assert measurement.physics.mask[..., -6:].sum() == 0


def test_single_coil_volume(tmp_path):
    kspace = write_volume(tmp_path / "file.h5", coils=None)
    measurement = load(tmp_path, SINGLE)
    assert measurement.y.shape == (1, 2, 48, 40)
    (scale,) = measurement.metadata["scale"]
    np.testing.assert_allclose(measurement.target[0, 0] / scale, rss(kspace[1][None]), rtol=1e-4, atol=1e-9)
    assert measurement.metadata["slices"][0]["stored_reconstruction_nrmse"] < 1e-5


@pytest.mark.parametrize("dtype", ["pair", "record", "complex128"])
def test_complex_numbers_however_they_are_written(tmp_path, dtype):
    kspace = write_volume(tmp_path / "file.h5", dtype=dtype)
    np.testing.assert_allclose(read_slice(tmp_path / "file.h5", 2).kspace, kspace[2])


@pytest.mark.parametrize(
    "drop", [("reconstruction_rss",), ("ismrmrd_header",), ("reconstruction_rss", "ismrmrd_header")]
)
def test_missing_parts_are_done_without(tmp_path, drop):
    write_volume(tmp_path / "file.h5", drop=drop)
    measurement = load(tmp_path)
    assert measurement.target is not None  # the k-space is full
    assert measurement.crop == ((24, 24) if len(drop) == 1 else (40, 40))


def test_stored_reconstruction_that_is_another_image_is_named(tmp_path, caplog):
    write_volume(tmp_path / "file.h5")
    with h5py.File(tmp_path / "file.h5", "a") as file:
        file["reconstruction_rss"][...] *= 2
    load(tmp_path)
    assert "the stored reconstruction is 50.0 % off" in caplog.text


def test_wrong_schema_says_what_is_missing_and_what_is_there(tmp_path):
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["k_space"] = np.zeros((2, 4, 8, 8), dtype=np.complex64)
    with pytest.raises(MeasurementError, match=r"no 'kspace', but k_space \[2, 4, 8, 8\]"):
        load(tmp_path)
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["kspace"] = np.zeros((8, 8), dtype=np.complex64)
    with pytest.raises(MeasurementError, match=r"kspace has shape \[8, 8\]"):
        load(tmp_path)


def test_broken_data_are_named(tmp_path):
    mask = np.ones(30, dtype=bool)
    mask[3] = False
    write_volume(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["mask"] = mask
    with pytest.raises(MeasurementError, match=r"a.h5: the mask has shape \[30\], but kspace has 40 lines"):
        load(tmp_path)
    write_volume(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        kspace = file["kspace"][()]
        kspace[1, 0, 5, 5] = np.nan
        file["kspace"][...] = kspace
    with pytest.raises(MeasurementError, match=r"a.h5: k-space holds 1 NaN"):
        load(tmp_path)
    assert load(tmp_path, slice=0).ids == ("a_slice00",)


def test_corrupt_volume_in_the_middle_leaves_the_others_usable(folder, tmp_path, caplog):
    for number in (1, 2, 3):
        content = (folder / f"file100000{number}.h5").read_bytes()
        (tmp_path / f"file{number}.h5").write_bytes(content[:700] if number == 2 else content)
    with pytest.raises(MeasurementError, match=r"file2.h5 cannot be read"):
        load(tmp_path, index=1)
    assert load(tmp_path, index=2).ids == ("file3_slice02",)
    assert load(tmp_path, slice="all", index=3).ids == ("file3_slice00",)
    assert "file2.h5 cannot be read" in caplog.text


def test_coils_must_fit(folder):
    with pytest.raises(MeasurementError, match=r"k-space of 4 coils, but the acquisition is single-coil"):
        load(folder, SINGLE)
    with pytest.raises(ConfigurationError, match="must be CartesianMRI to take k-space, not Denoising"):
        load(folder, Denoising())


def test_volumes_of_different_matrices_in_one_batch(folder, tmp_path):
    write_volume(tmp_path / "a.h5")
    write_volume(tmp_path / "b.h5", shape=(44, 40))
    with pytest.raises(MeasurementError, match="must have one shape"):
        load(tmp_path, batch=2)


def test_volumes_of_different_crops_in_one_batch(tmp_path):
    for name, size in (("a", 24), ("b", 32)):
        write_volume(tmp_path / f"{name}.h5", size=size)
    with pytest.raises(MeasurementError, match=r"one size, not .*'a_slice01': \[24, 24\], 'b_slice01': \[32, 32\]"):
        load(tmp_path, batch=2)
    assert load(tmp_path, batch=2, crop=False).crop is None
    assert [load(tmp_path, index=index).crop for index in (0, 1)] == [(24, 24), (32, 32)]


def test_empty_folder(tmp_path):
    with pytest.raises(MeasurementError, match="holds no fastMRI volumes"):
        load(tmp_path)


def test_same_numbers_as_deepinvs_reader(folder):
    from deepinv.datasets import FastMRISliceDataset

    target, kspace, *_ = FastMRISliceDataset(str(folder), slice_index=1)[2]
    ours = read_slice(folder / "file1000003.h5", 1)
    np.testing.assert_array_equal(ours.reconstruction, target[0])
    np.testing.assert_array_equal(ours.kspace.real, kspace[0])
    np.testing.assert_array_equal(ours.kspace.imag, kspace[1])


def test_simulated_mri_keeps_whole_image():
    module = Phantom(CartesianMRI(), size=32)
    module.setup("fit")
    assert module.measurement.crop is None
