"""The measured HTC2022 scans, on files of their schema and, where present, on the real ones."""

import numpy as np
import pytest
import torch
from fake_data.htc2022 import DISC, HOLE, line_integrals, write_scan

from dip_lightning.data import HTC2022
from dip_lightning.data.htc2022 import FIELD_MM
from dip_lightning.data.readers.htc2022 import read_scan
from dip_lightning.data.views import select_views
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.physics import FanBeamCT

SIZE = 64


def load(path, **kwargs):
    module = HTC2022(str(path), **{"views": 24, "image_size": SIZE, **kwargs})
    module.setup("fit")
    return module.measurement


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "training").mkdir()
    write_scan(tmp_path / "test", "03a")
    write_scan(tmp_path / "training", "solid_disc")
    return tmp_path


def disc_image(size, attenuation):
    """The generated scan's object, antialiased."""
    fine = (np.arange(4 * size) + 0.5) / (4 * size) * FIELD_MM - FIELD_MM / 2
    image = sum(
        value * ((fine[None] - x) ** 2 + (-fine[:, None] - y) ** 2 <= radius**2) for radius, value, x, y in (DISC, HOLE)
    )
    return torch.from_numpy(image.reshape(size, 4, size, 4).mean((1, 3)) / attenuation).float()


def test_scan_is_read_with_its_geometry(folder):
    scan = read_scan(folder / "test" / "htc2022_03a_full.mat")
    assert scan.line_integrals.shape == (72, 140)  # the repeated view is left out
    np.testing.assert_array_equal(scan.angles, np.arange(72) * 5.0)
    np.testing.assert_array_equal(scan.line_integrals, line_integrals(scan.angles, 140))
    assert (scan.source_origin, scan.source_detector, scan.detector_spacing) == (410.66, 553.74, 0.8)


def test_measurement_units_and_orientation(folder):
    """Images are in units of the attenuation, data in pixels, and both agree with the object that was scanned."""
    measurement = load(folder, attenuation=0.05)
    truth = disc_image(SIZE, 0.05)
    y = torch.from_numpy(line_integrals(np.arange(24) * 15.0, 140)).float() / 0.05 / (FIELD_MM / SIZE)
    torch.testing.assert_close(measurement.y[0, 0], y, rtol=1e-5, atol=1e-4)
    predicted = measurement.physics.A(truth[None, None])
    assert (predicted - measurement.y).norm() < 0.02 * measurement.y.norm()
    for flipped in (truth.flip(0), truth.flip(1), truth.T):
        assert (measurement.physics.A(flipped[None, None]) - measurement.y).norm() > 0.1 * measurement.y.norm()
    assert (measurement.target[0, 0] - truth).norm() < 0.1 * truth.norm()
    assert measurement.target[0, 0, 20:24, 20:24].mean() == pytest.approx(0.034 / 0.05, rel=0.02)
    assert measurement.units == "0.05 per mm"
    assert measurement.value_range == (0, 1)
    assert measurement.noise_level is None
    assert measurement.task == "ct"
    assert measurement.metadata["target"] == "FBP of 72 views"
    assert measurement.metadata["views"] == 24


def test_reference_has_no_bright_corners(folder):
    """The corners are beyond the detector in some views; back-projection must not fill them."""
    target = load(folder).target[0, 0]
    assert target[:8, :8].mean() < 0.02
    assert target[-8:, :8].mean() < 0.02


def test_reference_reproduces_the_data(folder):
    measurement = load(folder)
    residual = measurement.physics.A(measurement.target) - measurement.y
    assert residual.norm() < 0.03 * measurement.y.norm()


def test_measurement_does_not_depend_on_the_views_left_out(folder, tmp_path):
    """Only the reference may see them."""
    sinogram = line_integrals(np.linspace(0, 360, 73), 140)
    sinogram[1::3] = 0
    (tmp_path / "other").mkdir()
    write_scan(tmp_path / "other", "03a", sinogram=sinogram)
    measurement, other = load(folder), load(tmp_path / "other")
    assert torch.equal(measurement.y, other.y)
    assert torch.equal(measurement.initial, other.initial)
    assert not torch.equal(measurement.target, other.target)


def test_limited_range_takes_both_ends(folder):
    full = load(folder, views=72)
    limited = load(folder, views=72, start=350, angular_range=90)
    chosen = (70 + np.arange(19)) % 72
    assert torch.equal(limited.y, full.y[:, :, chosen])
    assert limited.metadata["angles"] == [float(a) for a in chosen * 5]
    assert limited.ids == ("htc2022_03a_19views_350to440",)
    assert torch.equal(limited.target, full.target)


def test_several_phantoms(folder):
    phantoms = ["03a", "solid_disc"]
    both = load(folder, phantom=phantoms, batch=2)
    assert both.ids == ("htc2022_03a_24views", "htc2022_solid_disc_24views")
    assert both.y.shape == (2, 1, 24, 140)
    second = load(folder, phantom=phantoms, index=1)
    torch.testing.assert_close(second.y, both.y[1:])
    assert second.ids == both.ids[1:]


def test_a_file_instead_of_a_folder(folder):
    measurement = load(folder / "test" / "htc2022_03a_full.mat", phantom="ignored")
    assert torch.equal(measurement.y, load(folder).y)
    assert measurement.ids == ("htc2022_03a_24views",)


def test_reference_is_the_other_phantom(folder):
    assert load(folder).reference is None
    write_scan(folder, "01a", sinogram=line_integrals(np.linspace(0, 360, 73), 140) / 2)
    measurement = load(folder, reference="01a")
    torch.testing.assert_close(measurement.reference, measurement.target / 2, rtol=0, atol=0.02)
    with pytest.raises(ConfigurationError, match="must be another phantom"):
        load(folder, reference="03a")
    with pytest.raises(ConfigurationError, match=r"reference='03a' is .*htc2022_03a_full.mat, the scan that is recon"):
        load(folder / "test" / "htc2022_03a_full.mat", phantom="05a", reference="03a")
    with pytest.raises(MeasurementError, match="no phantom '02a'"):
        load(folder, reference="02a")


def test_first_estimate_without_negative_values(folder):
    assert load(folder).initial.min() < -0.1
    assert load(folder, nonnegative=True).initial.min() == 0


def test_different_geometries_in_one_batch(folder):
    write_scan(folder, "01a", detectors=70)
    with pytest.raises(MeasurementError, match=r"different geometries.*data\.batch: 1"):
        load(folder, phantom=["01a", "03a"], batch=2)


def test_variable_in_the_default_path(folder, monkeypatch):
    monkeypatch.setenv("DIP_LIGHTNING_DATA", str(folder.parent))
    folder.rename(folder.parent / "ct_htc2022")
    module = HTC2022(views=24, image_size=SIZE)
    module.setup("fit")
    monkeypatch.delenv("DIP_LIGHTNING_DATA")
    with pytest.raises(ConfigurationError, match="export DIP_LIGHTNING_DATA="):
        HTC2022()


def test_missing_files(folder, tmp_path):
    with pytest.raises(MeasurementError, match=r"no phantom '3a'\. Did you mean '03a'"):
        load(folder, phantom="3a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MeasurementError, match=r"empty holds no htc2022_\*_full\.mat"):
        load(tmp_path / "empty")
    with pytest.raises(MeasurementError, match=r"absent does not exist\. The nearest folder"):
        load(tmp_path / "absent")


@pytest.mark.parametrize(
    "key", ["sinogram", "parameters", "angles", "distanceSourceOrigin", "distanceSourceDetector", "pixelSizePost"]
)
def test_missing_key_is_named(tmp_path, key):
    path = write_scan(tmp_path, "03a", drop=key)
    with pytest.raises(MeasurementError, match=rf"htc2022_03a_full\.mat has no key '{key}'"):
        read_scan(path)


def test_missing_variable_is_named(tmp_path):
    with pytest.raises(MeasurementError, match="has no variable 'CtDataFull', only none"):
        read_scan(write_scan(tmp_path, "03a", drop="CtDataFull"))


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.02, 0.5, 0.9, 0.999])
def test_truncated_file(tmp_path, keep):
    path = write_scan(tmp_path, "03a")
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(MeasurementError, match=r"htc2022_03a_full\.mat .*(truncated|is empty)"):
        read_scan(path)


def test_not_a_matlab_file(tmp_path):
    (tmp_path / "htc2022_03a_full.mat").write_text("<html>404</html>" * 50)
    with pytest.raises(MeasurementError, match="no MATLAB file"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sinogram": np.zeros((73, 139))}, r"shape \[73, 139\].*73 angles and 140 detectors"),
        ({"sinogram": np.zeros((140, 73))}, r"shape \[140, 73\]"),
        ({"sinogram": np.full((73, 140), np.nan)}, "10220 NaN or infinite"),
        ({"angles": np.linspace(0, 90, 73)}, "not spread evenly over a full turn"),
        ({"distanceSourceOrigin": 20.0}, "source"),
    ],
)
def test_data_that_do_not_fit(tmp_path, changes, message):
    write_scan(tmp_path, "03a", **changes)
    with pytest.raises((MeasurementError, ConfigurationError), match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"views": 0}, "at least one view"),
        ({"angular_range": 0}, "angular_range=0"),
        ({"angular_range": 400}, "angular_range=400"),
        ({"image_size": 0}, "image_size=0"),
        ({"attenuation": -1}, "attenuation=-1"),
        ({"filter": "ram-lack"}, "Did you mean 'ram-lak'"),
        ({"phantom": ["01a", "01a"], "batch": 2}, "distinct phantoms"),
        ({"batch": 2}, "must hold distinct phantoms"),
        ({"index": 1}, "must hold distinct phantoms"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        HTC2022("somewhere", **arguments)


def test_views_that_do_not_divide():
    angles = np.arange(720) / 2
    with pytest.raises(ConfigurationError, match=r"views=50 does not divide the 720 views.*45, 48"):
        select_views(angles, 50, 0, 360)
    with pytest.raises(ConfigurationError, match=r"start=0\.3 is between views; they are 0\.5 degrees apart"):
        select_views(angles, 36, 0.3, 360)


@pytest.mark.parametrize(("start", "span", "views"), [(0, 90, 181), (50, 70, 141), (50, 50, 101)])
def test_limited_data_of_the_challenge(start, span, views):
    chosen = select_views(np.arange(720) / 2, 720, start, span)
    np.testing.assert_array_equal(chosen / 2, np.linspace(start, start + span, views))


@pytest.fixture(scope="module")
def real(data_root):
    folder = data_root / "ct_htc2022"
    if not folder.is_dir():
        pytest.skip(f"no measured data: {folder} does not exist")
    return folder


@pytest.mark.parametrize("phantom", ["01a", "03a", "05a", "ta", "tb", "tc", "td"])
def test_real_scan_agrees_with_its_segmentation(real, phantom):
    """The published segmentation fixes the orientation: no flip and no turn fits as well."""
    import imageio.v3 as iio

    module = HTC2022(str(real), phantom, views=8, image_size=128)
    module.setup("fit")
    target = module.measurement.target[0, 0]
    names = {file.name: file for file in real.glob("*/*_seg.png")}
    stem = f"htc2022_{phantom}_full" if phantom.startswith("t") else f"htc2022_{phantom}"
    solid = torch.from_numpy(iio.imread(names[f"{stem}_recon_fbp_seg.png"])).float()
    solid = torch.nn.functional.avg_pool2d(solid[None], 4)[0] / solid.max()

    def correlation(image):
        return torch.corrcoef(torch.stack([image.flatten(), solid.flatten()]))[0, 1]

    assert correlation(target) > 0.965
    turned = [target.rot90(k).flip(f) for k in range(4) for f in ([], [0]) if (k, f) != (0, [])]
    assert correlation(target) > max(correlation(image) for image in turned)
    assert target.max() < 0.97  # nothing of the object is clipped
    assert target[solid == 1].mean() == pytest.approx(0.034 / 0.05, abs=0.03)


def test_real_scan_fits_in_one_sense_of_rotation(real):
    """Increasing angles turn counter-clockwise here; in the other sense the data do not fit."""
    from dip_lightning.data.readers.htc2022 import find_scan

    scan, size = read_scan(find_scan(real, "03a")), 128

    def acquisition(sense, every):
        return FanBeamCT(
            scan.source_origin,
            scan.source_detector,
            angles=sense * scan.angles[::every],
            detectors=560,
            detector_spacing=scan.detector_spacing,
            pixel_size=FIELD_MM / size,
            pixel_units=False,
        )

    line_integrals = torch.from_numpy(scan.line_integrals).float()[None, None]
    y = line_integrals[:, :, ::40]
    residuals = {}
    for sense in (1, -1):
        image = acquisition(sense, 4).fbp(line_integrals[:, :, ::4], (size, size))
        residuals[sense] = float((acquisition(sense, 40).physics((1, size, size)).A(image) - y).norm() / y.norm())
    assert residuals[1] < 0.02
    assert residuals[-1] > 2 * residuals[1]


def test_real_limited_file_is_the_range_that_it_is_said_to_be(real):
    import scipy.io

    file = next(real.glob("*/htc2022_03a_limited.mat"))
    limited = scipy.io.loadmat(file, struct_as_record=False, squeeze_me=True)["CtDataLimited"].sinogram
    module = HTC2022(str(real), "03a", views=720, start=50, angular_range=70, image_size=16)
    module.setup("fit")
    np.testing.assert_allclose(module.measurement.y[0, 0] * 0.05 * FIELD_MM / 16, limited, atol=1e-5)
