"""Matrices in a folder of the test, and the clinical slice."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep matrices out of the user's cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("DIP_LIGHTNING_CACHE", str(folder))
    return folder


@pytest.fixture
def lidc_slice(data_root) -> torch.Tensor:
    """The clinical slice: [-1000, 1000] HU mapped to [0, 1], mean-pooled to 128x128."""
    path = data_root / "ct_clinical_slices" / "lungmask_chest_512.dcm"
    if not path.is_file():
        pytest.skip(f"no clinical slice: {path} does not exist")
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
    slice_ = pydicom.dcmread(path)
    units = slice_.pixel_array * float(slice_.RescaleSlope) + float(slice_.RescaleIntercept)
    image = (units.clip(-1000, 1000) + 1000) / 2000
    return torch.from_numpy(image.reshape(128, 4, 128, 4).mean(axis=(1, 3))).float()[None, None]
