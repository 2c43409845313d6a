"""Rays without a stored matrix are the rays of the matrix."""

from __future__ import annotations

import copy

import pytest
import torch

from dip_lightning.physics import ParallelBeamCT, RayTransform, joseph, on_the_fly
from dip_lightning.physics.on_the_fly import JosephRays
from dip_lightning.physics.sparse import SparseMap
from tests.physics.scans import fan, parallel, relative_error

GEOMETRIES = {
    "parallel": parallel(),
    "parallel wide": parallel(shape=(44, 71), detectors=121),
    "fan": fan(),
    "fan offset": fan(detector_offset=-3.1),
}
each_geometry = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())


@each_geometry
# The matrix is stored in float32, and leaves out weights below 1e-6.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-6)])
def test_equals_the_stored_matrix(geometry, dtype, tolerance, monkeypatch):
    monkeypatch.setattr(on_the_fly, "CHUNK", 1000)  # several parts, the last one shorter
    stored = RayTransform(geometry, scale=1.7).to(dtype=dtype)
    free = RayTransform(geometry, scale=1.7, stored=False).to(dtype=dtype)
    x = torch.rand(2, 1, *geometry.image_shape, dtype=dtype)
    y = stored.A(x)
    assert free.A(x).dtype == dtype
    assert relative_error(free.A(x), y) < tolerance
    assert relative_error(free.A_adjoint(y), stored.A_adjoint(y)) < tolerance


@each_geometry
def test_adjoint_and_gradient(geometry):
    physics = RayTransform(geometry, stored=False).double()
    x = torch.randn(2, 1, *geometry.image_shape, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, 1, *geometry.sinogram_shape, dtype=torch.float64)
    product = (physics.A(x) * y).sum()
    back = physics.A_adjoint(y)
    assert product.item() == pytest.approx((x * back).sum().item(), rel=1e-10)
    (gradient,) = torch.autograd.grad(product, x)
    torch.testing.assert_close(gradient, back)


def test_copies_are_independent_and_agree():
    geometry = parallel()
    physics = RayTransform(geometry, stored=False)
    x = torch.rand(1, 1, *geometry.image_shape)
    double = copy.deepcopy(physics).double()
    assert physics.A(x).dtype == torch.float32
    assert relative_error(double.A(x.double()), physics.A(x).double()) < 1e-6
    assert physics.state_dict().keys() == RayTransform(geometry).state_dict().keys()


def test_is_chosen_with_a_message_where_the_matrix_would_not_fit(monkeypatch):
    scan = ParallelBeamCT(views=9)
    fitting = scan.physics((1, 32, 32))
    assert isinstance(fitting.matrix, SparseMap)
    monkeypatch.setattr(joseph, "_memory", lambda: 10_000)
    with pytest.warns(UserWarning, match=r"9 views of .* this machine has 0\. Rays are worked out"):
        physics = scan.physics((1, 32, 32))
    assert isinstance(physics.matrix, JosephRays)
    x = torch.rand(1, 1, 32, 32)
    assert relative_error(physics.A(x), fitting.A(x)) < 1e-5
    assert relative_error(scan.initial(physics.A(x), physics), scan.initial(fitting.A(x), fitting)) < 1e-5
