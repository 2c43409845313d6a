"""Ray transforms against ASTRA's, an independent implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dip_lightning.physics import FanBeamCT, FanGeometry, ParallelBeamCT
from tests.physics.scans import Blob, relative_error

astra = pytest.importorskip("astra", reason="astra-toolbox is not installed")


def astra_sinogram(image, geometry, projector):
    height, width = geometry.image_shape
    half_height, half_width = 0.5 * height * geometry.pixel_size, 0.5 * width * geometry.pixel_size
    grid = astra.create_vol_geom(height, width, -half_width, half_width, -half_height, half_height)
    angles = np.deg2rad(geometry.angles)
    if isinstance(geometry, FanGeometry):
        distances = geometry.source_origin, geometry.source_detector - geometry.source_origin
        scan = astra.create_proj_geom("fanflat", geometry.detector_spacing, geometry.detectors, angles, *distances)
    else:
        scan = astra.create_proj_geom("parallel", geometry.detector_spacing, geometry.detectors, angles)
    identifier = astra.create_projector(projector, scan, grid)
    try:
        data, sinogram = astra.create_sino(image[0, 0].numpy(), identifier)
        astra.data2d.delete(data)
    finally:
        astra.projector.delete(identifier)
    return torch.from_numpy(sinogram)[None, None]


PARALLEL = ParallelBeamCT(views=30, pixel_size=0.7)
FAN = FanBeamCT(source_origin=410.66, source_detector=553.74, views=36, detectors=280, pixel_size=75.9 / 128,
                detector_spacing=0.4, start_angle=5.0)  # fmt: skip


@pytest.mark.parametrize("shape", [(128, 128), (70, 101)])
@pytest.mark.parametrize(("acquisition", "projector"), [(PARALLEL, "linear"), (FAN, "line_fanflat")])
def test_smooth_phantom_within_one_percent(acquisition, projector, shape):
    geometry = acquisition.geometry(shape)
    image = Blob(centre=(5.0, 9.0), sigma=6.0).image(geometry) + Blob(centre=(-8.0, 3.0), sigma=4.0).image(geometry)
    ours = acquisition.physics((1, *shape)).A(image) / acquisition.scale
    assert relative_error(ours, astra_sinogram(image, geometry, projector)) < 0.01


@pytest.mark.parametrize(("acquisition", "projector"), [(PARALLEL, "linear"), (FAN, "line_fanflat")])
def test_clinical_slice_within_five_percent(acquisition, projector, lidc_slice):
    geometry = acquisition.geometry((128, 128))
    ours = acquisition.physics((1, 128, 128)).A(lidc_slice) / acquisition.scale
    assert relative_error(ours, astra_sinogram(lidc_slice, geometry, projector)) < 0.05
