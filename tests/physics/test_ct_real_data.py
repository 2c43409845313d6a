"""Filtered back-projection on a clinical slice and on measured sinograms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.io import loadmat
from skimage.io import imread

from dip_lightning.physics import FanBeamCT, ParallelBeamCT, RelativeGaussian

HTC = {"source_origin": 410.66, "source_detector": 553.74, "detectors": 560, "pixel_size": 75.9 / 256,
       "detector_spacing": 0.2, "pixel_units": False}  # fmt: skip


@pytest.mark.parametrize(("noise", "expected"), [(0.0, 24.4), (0.05, 15.8)])
def test_quality_on_the_clinical_slice(noise, expected, lidc_slice):
    measurement = ParallelBeamCT(views=30, noise=RelativeGaussian(noise)).simulate(lidc_slice, ["lidc"], [0])
    psnr = -10 * torch.log10((measurement.initial.clamp(0, 1) - lidc_slice).square().mean())
    # The figures are those of a matrix back-projection; interpolating between bins smooths a little more.
    assert expected - 0.2 < float(psnr) < expected + 1.2


@pytest.fixture(scope="module", params=["test/htc2022_03a", "training/htc2022_ta_full"])
def scan(request, data_root):
    stem = data_root / "ct_htc2022" / request.param
    path = stem.with_name(stem.name.removesuffix("_full") + "_full.mat")
    if not path.is_file():
        pytest.skip(f"no HTC2022 data: {path} does not exist")
    data = loadmat(path, struct_as_record=False, squeeze_me=True)["CtDataFull"]
    segmentation = imread(stem.with_name(f"{stem.name}_recon_fbp_seg.png")).astype(float)
    sinogram = torch.from_numpy(np.asarray(data.sinogram[:720], dtype=np.float32))[None, None]
    return sinogram, segmentation.reshape(256, 2, 256, 2).mean(axis=(1, 3))


def test_measured_scan_lies_as_its_reference_does(scan):
    sinogram, segmentation = scan
    image = FanBeamCT(views=720, **HTC).fbp(sinogram, (256, 256))[0, 0].numpy()

    def correlation(other):
        return np.corrcoef(image.ravel(), other.ravel())[0, 1]

    assert correlation(segmentation) > 0.97
    assert max(correlation(segmentation[::-1]), correlation(segmentation[:, ::-1]), correlation(segmentation.T)) < 0.8
    assert np.median(image[segmentation > 0.5]) == pytest.approx(0.034, rel=0.05)  # acrylic, 1/mm


def test_measured_data_fit_this_sense_of_rotation(scan):
    few = scan[0][:, :, ::72]
    residuals = {}
    for turn in (360.0, -360.0):
        image = FanBeamCT(views=120, angular_range=turn, **HTC).fbp(scan[0][:, :, ::6], (256, 256))
        predicted = FanBeamCT(views=10, angular_range=turn, **HTC).physics((1, 256, 256)).A(image)
        residuals[turn] = float((predicted - few).norm() / few.norm())
    assert residuals[360.0] < 0.015 < residuals[-360.0]


def test_reconstruction_of_all_views_predicts_the_data_without_scaling(scan):
    image = FanBeamCT(views=720, **HTC).fbp(scan[0], (256, 256))
    views = scan[0][:, :, ::72]
    predicted = FanBeamCT(views=10, **HTC).physics((1, 256, 256)).A(image)
    assert float((predicted - views).norm() / views.norm()) < 0.01
    assert float(predicted.sum() / views.sum()) == pytest.approx(1, abs=2e-3)
