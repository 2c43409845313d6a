"""Values of DICOM files, and what is refused."""

import numpy as np
import pytest
from fake_data.images import write_ct_dicom

from dip_lightning.data.readers import list_images, read_image
from dip_lightning.errors import ConfigurationError, MeasurementError


@pytest.mark.parametrize("preamble", [True, False])
def test_dicom_in_hounsfield_units(tmp_path, preamble):
    pytest.importorskip("pydicom")
    hounsfield = np.array([[-2048, -1000, 0], [500, 1000, 3000]], dtype=np.int16)
    path = write_ct_dicom(tmp_path / "a.dcm", ((hounsfield + 1024) // 2).astype(np.int16), 2.0, -1024.0, preamble)
    image = read_image(path, window=(-1000, 1000))
    np.testing.assert_allclose(image[0].numpy(), [[0, 0, 0.5], [0.75, 1, 1]])


@pytest.mark.parametrize("groups", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_enhanced_dicom_in_hounsfield_units(tmp_path, groups):
    pydicom = pytest.importorskip("pydicom")
    stored = np.array([[0, 512], [1024, 1524]], dtype=np.int16)
    dataset = pydicom.dcmread(write_ct_dicom(tmp_path / "a.dcm", stored, drop=("RescaleSlope", "RescaleIntercept")))
    rescale, group = pydicom.Dataset(), pydicom.Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept = 2, -1024
    group.PixelValueTransformationSequence = [rescale]
    dataset.NumberOfFrames = 1
    setattr(dataset, groups, [group])
    dataset.save_as(tmp_path / "a.dcm")
    image = read_image(tmp_path / "a.dcm", window=(-1024, 2024))
    np.testing.assert_allclose(image[0].numpy(), 2 * stored / 3048, rtol=1e-6)


def test_dicom_with_empty_rescale_tags(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    stored = np.array([[0, 500]], dtype=np.int16)
    dataset = pydicom.dcmread(write_ct_dicom(tmp_path / "a.dcm", stored))
    dataset.RescaleSlope = dataset.RescaleIntercept = None
    dataset.save_as(tmp_path / "a.dcm")
    np.testing.assert_allclose(read_image(tmp_path / "a.dcm", window=(0, 1000))[0].numpy(), [[0, 0.5]])


def test_dicom_that_is_named_by_its_uid(tmp_path):
    pytest.importorskip("pydicom")
    path = write_ct_dicom(tmp_path / "1.3.6.1.4.1.14519.99", np.zeros((4, 4), dtype=np.int16), 1.0, 0.0)
    assert list_images(tmp_path) == [path]
    assert read_image(path, window=(-1000, 1000)).mean() == 0.5


def test_dicom_without_window_is_refused(tmp_path):
    pytest.importorskip("pydicom")
    path = write_ct_dicom(tmp_path / "a.dcm", np.zeros((4, 4), dtype=np.int16))
    with pytest.raises(MeasurementError, match=r"a\.dcm holds Hounsfield units.*data\.window: \[-1000, 1000\]"):
        read_image(path)


def test_dicom_without_pydicom_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.dcm").write_bytes(b"anything")
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'dip-lightning\[dicom\]'"):
        read_image(tmp_path / "a.dcm", window=(0, 1))


def test_real_chest_slice(data_root):
    pytest.importorskip("pydicom")
    image = read_image(data_root / "ct_clinical_slices" / "lungmask_chest_512.dcm", window=(-1000, 1000))
    assert image.shape == (1, 512, 512)
    assert image.min() == 0
    assert 0.5 < image[0, 256, 256 - 40 : 256 + 40].median() < 0.6  # mediastinum: soft tissue, a little above water


@pytest.mark.parametrize("keep", [0.05, 0.3, 0.9, 0.999])
def test_truncated_dicom_is_refused(tmp_path, keep):
    pytest.importorskip("pydicom")
    content = write_ct_dicom(tmp_path / "a.dcm", np.zeros((64, 64), dtype=np.int16)).read_bytes()
    (tmp_path / "a.dcm").write_bytes(content[: int(keep * len(content))])
    with pytest.raises(MeasurementError, match=r"a\.dcm.*truncated"):
        read_image(tmp_path / "a.dcm", window=(-1000, 1000))


@pytest.mark.parametrize("missing", ["PixelData", "Rows", "BitsAllocated", "PixelRepresentation"])
def test_dicom_without_a_needed_element_is_refused(tmp_path, missing):
    pytest.importorskip("pydicom")
    path = write_ct_dicom(tmp_path / "a.dcm", np.zeros((8, 8), dtype=np.int16), drop=(missing,))
    with pytest.raises(MeasurementError, match=r"a\.dcm"):
        read_image(path, window=(-1000, 1000))
