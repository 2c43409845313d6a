"""The ray transform as an operator: closed forms, adjoint, gradients, devices and types."""

from __future__ import annotations

import copy

import pytest
import torch

from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.physics import ParallelGeometry, RayTransform
from tests.physics.scans import Blob, fan, parallel, relative_error

GEOMETRIES = {
    "parallel": parallel(),
    "parallel wide": parallel(shape=(44, 71), detectors=121),
    "parallel offset": parallel(detector_offset=2.3),
    "parallel backwards": parallel(span=-360.0),
    "fan": fan(),
    "fan wide angle": fan(source_origin=40.0, source_detector=70.0, detectors=121),
    "fan offset": fan(detector_offset=-3.1),
}
each_geometry = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())


def random_image(geometry, batch=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, 1, *geometry.image_shape, generator=generator, dtype=dtype)


@each_geometry
def test_line_integrals_of_a_gaussian(geometry):
    blob = Blob()
    assert relative_error(RayTransform(geometry).A(blob.image(geometry)), blob.line_integrals(geometry)) < 5e-3


def test_view_at_zero_sums_columns_and_view_at_ninety_sums_rows_from_below():
    geometry = ParallelGeometry((4, 6), angles=(0.0, 90.0), detectors=6, pixel_size=0.5, detector_spacing=0.5)
    image = random_image(geometry)
    sinogram = RayTransform(geometry).A(image)[0, 0]
    rows = torch.cat([torch.zeros(1), image[0, 0].sum(1).flip(0), torch.zeros(1)])
    torch.testing.assert_close(sinogram[0], 0.5 * image[0, 0].sum(0))
    torch.testing.assert_close(sinogram[1], 0.5 * rows)


@each_geometry
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_adjoint(geometry, dtype, tolerance):
    physics = RayTransform(geometry, scale=1.7).to(dtype=dtype)
    x = torch.randn(3, 1, *geometry.image_shape, dtype=dtype)
    y = torch.randn(3, 1, *geometry.sinogram_shape, dtype=dtype)
    forward, backward = physics.A(x), physics.A_adjoint(y)
    left, right = (forward.double() * y).sum(), (x.double() * backward).sum()
    assert abs(left - right) <= tolerance * forward.double().norm() * y.double().norm()


def test_gradient_is_the_adjoint_and_has_gradients_itself():
    geometry = parallel(shape=(6, 5), views=4, detectors=7)
    physics = RayTransform(geometry).double()
    x = random_image(geometry, dtype=torch.float64).requires_grad_()
    y = torch.randn(1, 1, 4, 7, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((physics.A(x) * y).sum(), x)
    torch.testing.assert_close(gradient, physics.A_adjoint(y))
    assert torch.autograd.gradcheck(physics.A, x)
    assert torch.autograd.gradcheck(physics.A_adjoint, y.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda z: physics.A(z).square(), x)


def test_forward_mode_derivative():
    geometry = fan(shape=(6, 5), views=4, detectors=7)
    physics = RayTransform(geometry).double()
    x, tangent = random_image(geometry, 2, torch.float64)[:, None]
    value, derivative = torch.func.jvp(physics.A, (x,), (tangent,))
    torch.testing.assert_close(value, physics.A(x))
    torch.testing.assert_close(derivative, physics.A(tangent))


def test_members_of_a_batch_get_what_they_get_alone():
    geometry = fan()
    physics = RayTransform(geometry)
    images = random_image(geometry, 3)
    alone = torch.cat([physics.A(image[None]) for image in images])
    torch.testing.assert_close(physics.A(images), alone, rtol=1e-6, atol=1e-6)
    back = torch.cat([physics.A_adjoint(y[None]) for y in alone])
    torch.testing.assert_close(physics.A_adjoint(alone), back, rtol=1e-6, atol=1e-5)
    assert physics.A(images).is_contiguous()


def test_bitwise_reproducible():
    geometry = parallel()
    image = random_image(geometry)
    first, second = RayTransform(geometry), RayTransform(geometry)
    for _ in range(3):
        assert torch.equal(first.A(image), second.A(image))
        assert torch.equal(first.A_adjoint(first.A(image)), second.A_adjoint(second.A(image)))


def test_scale_multiplies_line_integrals():
    geometry = parallel()
    image = random_image(geometry)
    in_pixels = RayTransform(geometry, scale=1 / geometry.pixel_size)
    torch.testing.assert_close(in_pixels.A(image) * geometry.pixel_size, RayTransform(geometry).A(image))
    with pytest.raises(ConfigurationError, match="scale=0"):
        RayTransform(geometry, scale=0)


def test_autocast_does_not_reach_the_operator():
    geometry = parallel()
    physics = RayTransform(geometry)
    image = random_image(geometry).to(torch.bfloat16).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sinogram = physics.A(image)
        sinogram.sum().backward()
        back = physics.A_dagger(sinogram)
    assert sinogram.dtype == back.dtype == torch.float32
    assert image.grad is not None
    assert image.grad.dtype == torch.bfloat16
    torch.testing.assert_close(sinogram, physics.A(image.float()), rtol=0, atol=0)


def test_state_dict_copies_and_conversions():
    geometry = parallel()
    physics = RayTransform(geometry)
    image = random_image(geometry)
    expected = physics.A(image)
    other = RayTransform(geometry)
    other.load_state_dict(physics.state_dict())
    assert torch.equal(other.A(image), expected)
    assert torch.equal(copy.deepcopy(physics).A(image), expected)
    assert torch.equal(physics.clone().A(image), expected)
    double = copy.deepcopy(physics).double()
    assert double.A(image).dtype == torch.float64
    assert torch.equal(double.float().A(image), expected)
    assert physics.matrix.direct_indices.dtype == torch.int32
    assert not physics.state_dict()


def test_wrong_shapes_say_what_fits():
    geometry = parallel()
    physics = RayTransform(geometry)
    with pytest.raises(ConfigurationError, match="one-channel"):
        physics.A(torch.zeros(1, 2, *geometry.image_shape))
    views, detectors = geometry.sinogram_shape
    with pytest.raises(MeasurementError, match=f"{views} views, {detectors} detectors"):
        physics.A_adjoint(torch.zeros(1, 1, views, detectors + 1))
    with pytest.raises(MeasurementError, match="transposed"):
        physics.A_dagger(torch.zeros(1, 1, detectors, views))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees_with_cpu():
    geometry = fan()
    physics = RayTransform(geometry)
    images = random_image(geometry, 2)
    expected = physics.A(images), physics.A_adjoint(physics.A(images)), physics.A_dagger(physics.A(images))
    physics = physics.cuda()
    y = physics.A(images.cuda())
    for found, value in zip((y, physics.A_adjoint(y), physics.A_dagger(y)), expected, strict=True):
        assert relative_error(found.cpu(), value) < 1e-5
