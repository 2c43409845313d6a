import numpy as np
import pytest
import torch
from fake_data.acquisitions import Noisy
from fake_data.images import write_ct_dicom
from PIL import Image

from dip_lightning.data import ImageFile
from dip_lightning.data.readers import list_images, safe_names
from dip_lightning.errors import ConfigurationError, MeasurementError


def load(*args, **kwargs):
    module = ImageFile(Noisy(), *args, **kwargs)
    module.setup("fit")
    return module.measurement


@pytest.fixture
def folder(tmp_path):
    """Three images of which the second is a DICOM file without suffix, and things to be left out."""
    for name, value in (("b.png", 51), ("a.jpg", 102)):
        Image.new("L", (8, 8), value).save(tmp_path / name)
    np.save(tmp_path / "c.npy", np.full((8, 8), 0.9))
    (tmp_path / "README.md").write_text("not an image")
    (tmp_path / ".hidden.png").write_text("not an image")
    (tmp_path / "d.png").mkdir()
    return tmp_path


def test_folder_is_taken_in_the_order_of_names(folder):
    measurement = load(str(folder), batch=3)
    assert measurement.ids == ("a", "b", "c")
    np.testing.assert_allclose(measurement.target.mean((1, 2, 3)), [0.4, 0.2, 0.9], atol=0.01)
    assert [file.rsplit("/", 1)[1] for file in measurement.metadata["files"]] == ["a.jpg", "b.png", "c.npy"]
    assert load(str(folder), index=1).ids == ("b",)


def test_reference_is_read_like_the_image(folder):
    np.save(folder / "large.npy", np.full((16, 16), 0.3))
    measurement = load(str(folder / "c.npy"), size=8, reference=str(folder / "large.npy"))
    torch.testing.assert_close(measurement.reference, torch.full((1, 1, 8, 8), 0.3))
    assert measurement.metadata["reference"].endswith("large.npy")
    with pytest.raises(MeasurementError, match=r"reference image has shape \[1, 16, 16\], not \[1, 8, 8\]"):
        load(str(folder / "c.npy"), reference=str(folder / "large.npy"))


def test_the_truth_is_no_reference(folder, tmp_path):
    (folder / "link.npy").symlink_to(folder / "c.npy")
    for path, options in (("c.npy", {}), ("link.npy", {}), ("", {"index": 2}), ("", {"index": 1, "batch": 2})):
        with pytest.raises(ConfigurationError, match=r"reference image .*c.npy is the ground truth of (c|link) itself"):
            load(str(folder / path), reference=str(folder / "c.npy"), **options)
    load(str(folder), batch=2, reference=str(folder / "c.npy"))


def test_index_beyond_the_folder(folder):
    with pytest.raises(ConfigurationError, match=r"data\.index=2 with data\.batch=2 asks for image 3, but .* has 3"):
        load(str(folder), index=2, batch=2)


def test_variable_in_the_path(folder, monkeypatch):
    monkeypatch.setenv("DIP_LIGHTNING_DATA", str(folder))
    assert load("${DIP_LIGHTNING_DATA}/c.npy").ids == ("c",)


def test_unset_variable_is_refused_at_once(monkeypatch):
    monkeypatch.delenv("DIP_LIGHTNING_DATA", raising=False)
    with pytest.raises(ConfigurationError, match="export DIP_LIGHTNING_DATA="):
        ImageFile(Noisy(), "${DIP_LIGHTNING_DATA}/c.npy")


def test_empty_folder(tmp_path):
    with pytest.raises(MeasurementError, match=r"folder .* holds no images \(.*\.png"):
        load(str(tmp_path))


def test_missing_file_names_the_nearest_folder(tmp_path):
    with pytest.raises(MeasurementError, match=f"does not exist. The nearest folder that does is {tmp_path}"):
        load(str(tmp_path / "x" / "y.png"))


def test_different_shapes_in_one_batch(folder):
    Image.new("L", (9, 8)).save(folder / "e.png")
    with pytest.raises(MeasurementError, match=r"one shape.*'c': \[1, 8, 8\], 'e': \[1, 8, 9\]"):
        load(str(folder), index=2, batch=2)


def test_ct_slice_window_and_mean_pool(tmp_path):
    """The definition of the problem "LIDC 30", on a slice in the schema of LIDC."""
    pytest.importorskip("pydicom")
    hounsfield = np.random.default_rng(0).integers(-2048, 3000, (512, 512)).astype(np.int16)
    path = write_ct_dicom(tmp_path / "slice 1.dcm", hounsfield)
    measurement = load(str(path), size=128, window=(-1000, 1000))
    unit = (np.clip(hounsfield.astype(float), -1000, 1000) + 1000) / 2000
    np.testing.assert_allclose(measurement.target[0, 0], unit.reshape(128, 4, 128, 4).mean((1, 3)), atol=1e-6)
    assert measurement.ids == ("slice_1",)
    assert measurement.units == "file values -1000 to 1000 as 0 to 1"
    assert measurement.value_range == (0, 1)


def test_real_lidc_slice(data_root):
    pydicom = pytest.importorskip("pydicom")
    path = data_root / "ct_clinical_slices" / "lungmask_chest_512.dcm"
    measurement = load(str(path), size=128, window=(-1000, 1000))
    hounsfield = pydicom.dcmread(path, force=True).pixel_array.astype(float)
    unit = (np.clip(hounsfield, -1000, 1000) + 1000) / 2000
    np.testing.assert_allclose(measurement.target[0, 0], unit.reshape(128, 4, 128, 4).mean((1, 3)), atol=1e-6)
    assert measurement.ids == ("lungmask_chest_512",)


def test_real_colour_images(data_root):
    measurement = load(str(data_root / "cbsd68" / "original_png"), index=67, multiple=32)
    assert measurement.target.shape == (1, 3, 320, 480)
    assert measurement.ids == ("0067",)


def test_nan_in_an_image_is_refused_by_name(tmp_path):
    image = np.full((8, 8), 0.5)
    image[3, 3] = np.nan
    np.save(tmp_path / "bad.npy", image)
    with pytest.raises(MeasurementError, match=r"bad\.npy holds 1 NaN"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": (1, 0)}, "window="),
        ({"resize": "cubic"}, "Did you mean 'bicubic'"),
        ({"size": -4}, "size=-4"),
        ({"path": ""}, "empty"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        ImageFile(Noisy(), **{"path": "a.png", **arguments})


def test_names_are_folder_safe_and_distinct(tmp_path):
    files = [
        tmp_path / name for name in ("a.png", "A.tif", "a.b.png", "ü/v.png", "x y.png", "x-y.png", "..npy", "x?y.png")
    ]
    names = safe_names(files)
    assert len({name.lower() for name in names}) == len(files)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") for name in names)
    assert names[:3] == ["a_png", "A_tif", "a.b"]
    assert safe_names(files[2:4]) == ["a.b", "v"]


def test_dicom_without_suffix_is_found(tmp_path):
    pytest.importorskip("pydicom")
    write_ct_dicom(tmp_path / "IM0001", np.zeros((8, 8), dtype=np.int16))
    (tmp_path / "LICENSE").write_text("text " * 100)
    assert [file.name for file in list_images(tmp_path)] == ["IM0001"]
    assert torch.equal(load(str(tmp_path), window=(-100, 100)).target, torch.full((1, 1, 8, 8), 0.5))
