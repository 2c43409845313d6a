"""Raw k-space in files of every kind, and what is wrong with some of them."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from fake_data.fastmri import centred_fft, coil_images, encoded, write_volume

from dip_lightning.data import RawKSpace
from dip_lightning.data.kspace import crop_images
from dip_lightning.data.readers.kspace import read_kspace
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.physics import CartesianMRI, CoilMapsFile, ESPIRiT, RandomLines, SimulatedCoils

ACQUISITION = CartesianMRI(RandomLines(acceleration=2, center_fraction=0.3), ESPIRiT())


@pytest.fixture(scope="module")
def kspace():
    """[coil, y, x], of sizes that are all different."""
    return centred_fft(coil_images(1, 4, 48, 40)[0])


def load(path, acquisition=ACQUISITION, **kwargs):
    module = RawKSpace(acquisition, str(path), **kwargs)
    module.setup("fit")
    return module.measurement


def write_cfl(path, array):
    """BART's files: dimensions in a header, numbers with the first axis fastest."""
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + " 1 1\n")
    array.astype(np.complex64).ravel(order="F").tofile(path)


def write(path, kspace):
    """Write ``[coil, y, x]`` as a file of the suffix's kind usually has it."""
    matlab = kspace.transpose(1, 2, 0)[:, :, None]  # [y, x, 1, coil]
    if path.suffix == ".npy":
        np.save(path, kspace)
    elif path.suffix == ".npz":
        np.savez(path, ksp=kspace)
    elif path.suffix == ".cfl":
        write_cfl(path, matlab)
    elif path.name.startswith("v5"):
        scipy.io.savemat(path, {"raw": matlab.astype(np.complex128)})
    elif path.suffix == ".mat":
        with h5py.File(path, "w") as file:
            file["raw"] = encoded(matlab.transpose(), "record")
    else:
        with h5py.File(path, "w") as file:
            file["scan/kspace"] = encoded(kspace, "pair" if path.name.startswith("pair") else "complex64")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.cfl", "v5.mat", "v73.mat", "a.h5", "pair.h5"])
def test_every_kind_of_file_gives_the_same_kspace(tmp_path, kspace, name):
    write(tmp_path / name, kspace)
    read = read_kspace(tmp_path / name)
    assert read.dtype == np.complex64
    np.testing.assert_allclose(read, kspace[None], rtol=1e-6)


def test_fastmri_volumes_are_read_despite_their_header(tmp_path):
    kspace = write_volume(tmp_path / "knee.h5", shape=(48, 40))
    np.testing.assert_array_equal(read_kspace(tmp_path / "knee.h5", "kspace", "slice coil y x"), kspace)


def test_retrospective_undersampling(tmp_path, kspace):
    np.save(tmp_path / "scan.npy", kspace)
    measurement = load(tmp_path / "scan.npy")
    (scale,) = measurement.metadata["scale"]
    mask = ACQUISITION.mask((48, 40))
    assert measurement.ids == ("scan",)
    assert measurement.task == "mri"
    assert measurement.noise_level is None
    y = torch.complex(measurement.y[0, 0], measurement.y[0, 1]).numpy()
    np.testing.assert_allclose(y, kspace * mask.numpy() * scale, rtol=1e-4, atol=1e-6)
    images = torch.from_numpy(coil_images(1, 4, 48, 40)[0])
    combined = (measurement.physics.coil_maps[0].conj() * images).sum(0) * scale
    expected = torch.stack([combined.real, combined.imag])[None]
    torch.testing.assert_close(measurement.target, expected, rtol=1e-4, atol=1e-5)
    assert measurement.metadata["slices"][0]["points_sampled"] == int(mask.sum())
    assert measurement.metadata["sampled_fraction"] == pytest.approx(0.5)
    for name in ("my scan", "my/scan"):
        assert load(tmp_path / "scan.npy", name=name).ids == ("my_scan",)


def test_nothing_but_the_target_sees_what_is_not_sampled(tmp_path, kspace):
    np.save(tmp_path / "scan.npy", kspace)
    mask = ACQUISITION.mask((48, 40)).numpy()
    np.save(tmp_path / "other.npy", np.where(mask, kspace, 5 * kspace))
    for options in ({}, {"whiten": 12}, {"virtual_coils": 3}):
        acquisition = CartesianMRI(ACQUISITION.mask, ESPIRiT(), initial="cg", **options)
        one, other = load(tmp_path / "scan.npy", acquisition), load(tmp_path / "other.npy", acquisition)
        assert torch.equal(one.y, other.y)
        assert torch.equal(one.initial, other.initial)
        assert one.noise_level == other.noise_level
        assert not torch.equal(one.target, other.target)
    full = CartesianMRI(ACQUISITION.mask, ESPIRiT(calibration="full"))
    one, other = load(tmp_path / "scan.npy", full), load(tmp_path / "other.npy", full)
    assert not torch.equal(one.physics.coil_maps, other.physics.coil_maps)  # that is what `full` means


def test_data_as_acquired(tmp_path, kspace):
    mask = ACQUISITION.mask((48, 40)).numpy()
    np.save(tmp_path / "scan.npy", kspace * mask)
    measurement = load(tmp_path / "scan.npy", retrospective=False)
    assert measurement.target is None
    assert measurement.metadata["mask"] == "as measured"
    np.testing.assert_array_equal(measurement.physics.mask[0, 0].numpy().astype(bool), mask)
    np.save(tmp_path / "full.npy", kspace)
    torch.testing.assert_close(load(tmp_path / "full.npy").y, measurement.y)
    with pytest.raises(MeasurementError, match="all of k-space was sampled"):
        load(tmp_path / "full.npy", retrospective=False)
    with pytest.raises(MeasurementError, match=r"only 50% of k-space is there.*data.retrospective: false"):
        load(tmp_path / "scan.npy")


def test_whitened_noise_level(tmp_path, kspace):
    noise = np.random.default_rng(1).normal(0, 1, (2, *kspace.shape)).astype(np.float32)
    data = (1e3 / abs(kspace).max() * kspace + noise[0] + 1j * noise[1]).astype(np.complex64)
    np.save(tmp_path / "scan.npy", data)
    measurement = load(tmp_path / "scan.npy", CartesianMRI(ACQUISITION.mask, ESPIRiT(), whiten=14))
    corner = measurement.y[0, :, :, :10, :10]
    sampled = (measurement.physics.mask[0, 0, :10, :10] > 0).expand_as(corner)
    assert corner[sampled].std() == pytest.approx(measurement.noise_level, rel=0.2)


def test_whitening_by_a_file(tmp_path, kspace):
    rng = np.random.default_rng(2)
    noise = (rng.normal(size=(4, 5000)) + 1j * rng.normal(size=(4, 5000))).astype(np.complex64)
    noise[1] += 0.5 * noise[0]
    np.save(tmp_path / "scan.npy", kspace)
    np.save(tmp_path / "noise.npy", noise)
    np.save(tmp_path / "covariance.npy", noise @ noise.conj().T / 5000)
    samples, covariance = (
        load(tmp_path / "scan.npy", CartesianMRI(ACQUISITION.mask, ESPIRiT(), whiten=str(tmp_path / f"{name}.npy")))
        for name in ("noise", "covariance")
    )
    torch.testing.assert_close(samples.y, covariance.y, rtol=1e-4, atol=1e-5)
    assert samples.noise_level == pytest.approx(0.5**0.5 * samples.metadata["scale"][0])
    for bad, message in ((noise[:3], r"4 coils need a covariance \[4, 4\]"), (noise[:, :4], "holds no covariance")):
        np.save(tmp_path / "bad.npy", bad)
        with pytest.raises(MeasurementError, match=message):
            load(tmp_path / "scan.npy", CartesianMRI(coils=ESPIRiT(), whiten=str(tmp_path / "bad.npy")))


def test_image_crop_is_a_smaller_field_of_view(tmp_path, kspace):
    np.save(tmp_path / "scan.npy", kspace)
    measurement = load(tmp_path / "scan.npy", image_crop=(44, 36))
    assert measurement.y.shape == (1, 2, 4, 44, 36)
    assert measurement.metadata["image_crop"] == [44, 36]
    full, cropped = (np.sqrt((abs(i) ** 2).sum(0)) for i in (coil_images(1, 4, 48, 40)[0], _cropped_images(kspace)))
    np.testing.assert_allclose(cropped, full[2:-2, 2:-2], rtol=1e-3, atol=1e-7)
    with pytest.raises(MeasurementError, match=r"data.image_crop=\[60, 36\] is more than \[48, 40\]"):
        load(tmp_path / "scan.npy", image_crop=(60, 36))
    with pytest.raises(ConfigurationError, match="needs fully sampled data"):
        RawKSpace(ACQUISITION, str(tmp_path / "scan.npy"), image_crop=(44, 36), retrospective=False)


@pytest.mark.parametrize("columns", [22, 28, 38])
def test_image_crop_refuses_gaps_in_kspace(tmp_path, kspace, columns):
    partial = kspace.copy()
    partial[:, :, columns:] = 0
    np.save(tmp_path / "scan.npy", partial)
    with pytest.raises(MeasurementError, match=rf"fully sampled data, but only {columns / 40:.0%} of k-space is there"):
        load(tmp_path / "scan.npy", image_crop=(44, 36))


@pytest.mark.parametrize("retrospective", [True, False])
def test_empty_kspace_is_called_so(tmp_path, kspace, retrospective):
    np.save(tmp_path / "scan.npy", 0 * kspace)
    with pytest.raises(MeasurementError, match=r"all of k-space is zero; choose another") as caught:
        load(tmp_path / "scan.npy", retrospective=retrospective)
    assert "data.retrospective" not in str(caught.value)


def _cropped_images(kspace):
    cropped = crop_images(torch.from_numpy(kspace), (44, 36), Path("x")).numpy()
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(cropped, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))


def test_slices_by_index_and_in_a_batch(tmp_path):
    volume = centred_fft(coil_images(3, 4, 48, 40))
    np.save(tmp_path / "volume.npy", volume.transpose(1, 0, 2, 3))
    layout = "coil slice y x"
    second = load(tmp_path / "volume.npy", layout=layout, index=1)
    assert second.ids == ("volume_slice01",)
    both = load(tmp_path / "volume.npy", layout=layout, index=1, batch=2)
    assert both.ids == ("volume_slice01", "volume_slice02")
    torch.testing.assert_close(both.y[:1], second.y)
    torch.testing.assert_close(both.target[:1], second.target)
    with pytest.raises(ConfigurationError, match=r"asks for slice 3, but .* has 3"):
        load(tmp_path / "volume.npy", layout=layout, index=3)
    with pytest.raises(MeasurementError, match=r"not the 3 axes 'coil y x'; name its axes by data.layout"):
        load(tmp_path / "volume.npy")


def test_single_coil(tmp_path, kspace):
    np.save(tmp_path / "scan.npy", kspace[0])
    measurement = load(tmp_path / "scan.npy", CartesianMRI())
    assert measurement.y.shape == (1, 2, 48, 40)
    np.save(tmp_path / "scan.npy", kspace)
    with pytest.raises(MeasurementError, match="k-space of 4 coils, but the acquisition is single-coil"):
        load(tmp_path / "scan.npy", CartesianMRI())


def test_coil_maps_of_another_number_of_coils(tmp_path, kspace):
    np.save(tmp_path / "scan.npy", kspace)
    np.save(tmp_path / "maps.npy", SimulatedCoils(5).simulated((48, 40)).numpy())
    with pytest.raises(MeasurementError, match="maps of 5 coils, but the data have 4 coils"):
        load(tmp_path / "scan.npy", CartesianMRI(coils=CoilMapsFile(str(tmp_path / "maps.npy"))))


def test_key_of_several_arrays(tmp_path, kspace):
    np.savez(tmp_path / "scan.npz", kspace=kspace, mask=np.ones(40))
    assert load(tmp_path / "scan.npz", key="kspace").ids == ("scan",)
    with pytest.raises(MeasurementError, match=r"kspace.*mask"):
        load(tmp_path / "scan.npz")
    with pytest.raises(MeasurementError, match="Did you mean 'kspace'"):
        load(tmp_path / "scan.npz", key="k_space")


@pytest.mark.parametrize("position", [(0, 0, 0), (2, 24, 20)])
def test_nan_is_named(tmp_path, kspace, position):
    broken = kspace.copy()
    broken[position] = np.nan
    np.save(tmp_path / "scan.npy", broken)
    with pytest.raises(MeasurementError, match=r"scan.npy: k-space holds 1 NaN or infinite values of 7680"):
        load(tmp_path / "scan.npy")


def test_unreadable_files_are_named(tmp_path, kspace):
    with pytest.raises(MeasurementError, match=r"gone.npy does not exist"):
        load(tmp_path / "gone.npy")
    np.save(tmp_path / "scan.npy", kspace)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "scan.npy").read_bytes()[:1000])
    with pytest.raises(MeasurementError, match=r"cut.npy cannot be read"):
        load(tmp_path / "cut.npy")
    np.save(tmp_path / "real.npy", kspace.real)
    with pytest.raises(MeasurementError, match=r"real.npy holds float32 numbers of shape \[4, 48, 40\]"):
        load(tmp_path / "real.npy")
    write_cfl(tmp_path / "scan.cfl", kspace)
    (tmp_path / "scan.hdr").write_text("# Dimensions\n5 48 40\n")
    with pytest.raises(MeasurementError, match=r"scan.cfl holds 7680 numbers, but its header states \[5, 48, 40\]"):
        load(tmp_path / "scan.cfl")
    (tmp_path / "scan.hdr").unlink()
    with pytest.raises(MeasurementError, match=r"scan.cfl needs its header scan.hdr"):
        load(tmp_path / "scan.cfl")


def test_layouts(tmp_path, kspace):
    np.save(tmp_path / "scan.npy", kspace.transpose(2, 0, 1)[:, None])
    np.testing.assert_array_equal(read_kspace(tmp_path / "scan.npy", layout="x coil y"), kspace[None])
    for bad, message in (
        ("coil y z", "unknown axis 'z'"),
        ("coil y", "must name y and x"),
        ("coil y x x", "no axis twice"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            RawKSpace(ACQUISITION, "scan.npy", layout=bad)
