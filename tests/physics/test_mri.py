"""Cartesian MRI against numpy, deepinv and closed forms."""

import numpy as np
import pytest
import torch
from deepinv.physics import MRI, MultiCoilMRI

from dip_lightning.data import Phantom, SampleImage
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.functional.metrics import score
from dip_lightning.physics import (
    CartesianMRI,
    CoilMapsFile,
    ESPIRiT,
    MultiCoilFourier,
    PoissonDisc,
    RandomLines,
    RelativeGaussian,
    SamplingMaskFile,
    SimulatedCoils,
)
from dip_lightning.physics.mri_phase import complex_channels

SHAPES = [(8, 8), (7, 10), (9, 5)]


def random(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def operator(shape, coils=3, batch=1):
    mask = random(1, 1, *shape, seed=1) > 0
    return MultiCoilFourier(mask, random(batch, coils, *shape, dtype=torch.complex128, seed=2))


def centred_fft(image):
    """numpy, with the shifts written out."""
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=axes), norm="ortho"), axes=axes)


@pytest.mark.parametrize("shape", SHAPES)
def test_multi_coil_is_numpys_fft_of_the_coil_images(shape):
    physics, x = operator(shape), random(2, 2, *shape)
    image = (x[:, 0] + 1j * x[:, 1]).numpy()
    expected = centred_fft(physics.coil_maps.numpy() * image[:, None]) * physics.mask[:, :1].numpy()
    y = physics.A(x)
    assert y.shape == (2, 2, 3, *shape)
    np.testing.assert_allclose((y[:, 0] + 1j * y[:, 1]).numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_adjoint_and_linearity(shape):
    physics, x, other, y = operator(shape), random(1, 2, *shape), random(1, 2, *shape, seed=4), random(1, 2, 3, *shape)
    torch.testing.assert_close((physics.A(x) * y).sum(), (x * physics.A_adjoint(y)).sum())
    torch.testing.assert_close(physics.A(2 * x - 3 * other), 2 * physics.A(x) - 3 * physics.A(other))


@pytest.mark.parametrize("shape", SHAPES)
def test_folded_operator_is_deepinvs(shape):
    physics, x = operator(shape), random(1, 2, *shape)
    reference = MultiCoilMRI(mask=physics.mask, coil_maps=physics.coil_maps)
    y = reference.A(x)
    torch.testing.assert_close(physics.A(x), y)
    torch.testing.assert_close(physics.A_adjoint(y), reference.A_adjoint(y))
    torch.testing.assert_close(physics.A_adjoint(y, rss=True), reference.A_adjoint(y, rss=True))
    torch.testing.assert_close(physics.A_dagger(y), reference.A_dagger(y))


def test_gradient_is_the_adjoint_of_the_residual():
    physics, x, y = operator((7, 10)), random(1, 2, 7, 10).requires_grad_(), random(1, 2, 3, 7, 10)
    (gradient,) = torch.autograd.grad(0.5 * (physics.A(x) - y).square().sum(), x)
    torch.testing.assert_close(gradient, physics.A_adjoint(physics.A(x) - y * physics.mask[:, :, None]))


def test_new_mask_and_maps_are_taken():
    physics, x = operator((7, 10)), random(1, 2, 7, 10)
    mask, maps = torch.ones(1, 2, 7, 10).double(), random(1, 3, 7, 10, dtype=torch.complex128, seed=5)
    expected = MultiCoilMRI(mask=mask, coil_maps=maps).A(x)
    torch.testing.assert_close(physics.A(x, mask=mask, coil_maps=maps), expected)
    torch.testing.assert_close(physics.A(x), expected)


def test_precision_and_state_survive():
    physics, x = operator((9, 5)), random(1, 2, 9, 5)
    y = physics.A(x)
    single = operator((9, 5)).to(torch.float32)
    assert single.coil_maps.dtype == single.encoding.dtype == torch.complex64
    torch.testing.assert_close(single.A(x.float()), y.float())
    torch.testing.assert_close(single.to(torch.float64).A(x), y, rtol=1e-5, atol=1e-5)
    loaded = MultiCoilFourier(torch.ones(9, 5), torch.zeros(1, 3, 9, 5, dtype=torch.complex128))
    loaded.load_state_dict(physics.state_dict())
    torch.testing.assert_close(loaded.A(x), y)


def test_fully_sampled_combination_is_the_image():
    maps = SimulatedCoils(6).simulated((20, 14))
    torch.testing.assert_close((maps.abs() ** 2).sum(0), torch.ones(20, 14))
    physics, x = MultiCoilFourier(torch.ones(20, 14), maps), random(1, 2, 20, 14, dtype=torch.float32)
    torch.testing.assert_close(physics.A_adjoint(physics.A(x)), x)


def test_single_coil_is_deepinvs_mri():
    acquisition = CartesianMRI(RandomLines(center_fraction=0.2), normalise=False)
    x = random(1, 2, 20, 16, dtype=torch.float32)
    measurement = acquisition.simulate(x, ["x"], [0])
    assert isinstance(measurement.physics, MRI)
    expected = centred_fft((x[:, 0] + 1j * x[:, 1]).numpy()) * acquisition.mask((20, 16)).numpy()
    np.testing.assert_allclose((measurement.y[:, 0] + 1j * measurement.y[:, 1]).numpy(), expected, atol=1e-5)
    # With one coil, masked samples of an orthonormal transform, the pseudo-inverse is the adjoint.
    cg = CartesianMRI(RandomLines(center_fraction=0.2), normalise=False, initial="cg").simulate(x, ["x"], [0])
    torch.testing.assert_close(cg.initial, measurement.initial)


def phantom(acquisition, **kwargs):
    module = Phantom(acquisition, **{"size": 48, **kwargs})
    module.setup("fit")
    return module.measurement


def test_scaled_by_the_zero_filled_image_alone():
    acquisition = CartesianMRI(coils=SimulatedCoils(4))
    measurement = phantom(acquisition)
    assert measurement.initial.norm(dim=1).max() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(measurement.physics.A(measurement.target), measurement.y, rtol=1e-4, atol=1e-5)
    plain = phantom(CartesianMRI(coils=SimulatedCoils(4), normalise=False))
    (scale,) = measurement.metadata["scale"]
    torch.testing.assert_close(measurement.y, plain.y * scale)
    torch.testing.assert_close(measurement.target, plain.target * scale)
    assert plain.target.norm(dim=1).max() == pytest.approx(1)
    assert (measurement.value_range, measurement.magnitude) == (None, True)
    assert measurement.units == "maximum of the zero-filled image"


def test_a_reference_image_is_scaled_with_the_target():
    scaled = phantom(CartesianMRI(coils=SimulatedCoils(4)), kind="ellipses", reference=5)
    plain = phantom(CartesianMRI(coils=SimulatedCoils(4), normalise=False), kind="ellipses", reference=5)
    assert scaled.metadata["scale"][0] != pytest.approx(1, abs=0.1)
    torch.testing.assert_close(scaled.reference, plain.reference * scaled.metadata["scale"][0])


def test_conjugate_gradients_solve_the_noiseless_problem():
    first = phantom(CartesianMRI(coils=SimulatedCoils(8)))
    best = phantom(CartesianMRI(coils=SimulatedCoils(8), initial="cg"))
    few = phantom(CartesianMRI(coils=SimulatedCoils(8), initial="cg", cg_iterations=3))
    values = [float(score(m, m.initial)["psnr"]) for m in (first, few, best)]
    assert values[0] + 1 < values[1] < values[2] - 3
    assert best.metadata["initial"] == "cg"


def test_noise_is_on_sampled_points_only_and_of_the_stated_level():
    acquisition = CartesianMRI(coils=SimulatedCoils(8), noise=RelativeGaussian(0.2))
    noisy, clean = phantom(acquisition), phantom(CartesianMRI(coils=SimulatedCoils(8), normalise=False))
    (scale,) = noisy.metadata["scale"]
    sampled = (noisy.physics.mask > 0)[:, :, None].expand_as(noisy.y)
    difference = noisy.y / scale - clean.y
    assert difference[~sampled].abs().max() == 0
    values = clean.y[sampled]
    assert difference[sampled].std() == pytest.approx(0.2 * float(values.abs().mean()), rel=0.03)
    assert noisy.noise_level == pytest.approx(0.2 * float(values.abs().mean()) * scale, rel=1e-4)


def test_members_of_a_batch_are_those_alone():
    acquisition = CartesianMRI(coils=SimulatedCoils(4), noise=RelativeGaussian(0.1))
    both = phantom(acquisition, kind="ellipses", batch=2, reference=5)
    alone = phantom(acquisition, kind="ellipses", index=1, reference=5)
    torch.testing.assert_close(both.y[1:], alone.y)
    torch.testing.assert_close(both.target[1:], alone.target)
    torch.testing.assert_close(both.reference[1:], alone.reference)
    assert both.metadata["scale"][1] == pytest.approx(alone.metadata["scale"][0])


def test_images_get_a_smooth_phase_and_keep_their_magnitude():
    image = random(1, 1, 12, 9).abs()
    complex_image = complex_channels(image, 1.5)
    torch.testing.assert_close(complex_image.norm(dim=1, keepdim=True), image)
    angle = torch.atan2(complex_image[0, 1], complex_image[0, 0])
    assert angle.abs().max() == pytest.approx(1.5)
    torch.testing.assert_close(complex_channels(image, 0.0)[:, :1], image)
    assert complex_channels(complex_image) is complex_image
    with pytest.raises(ConfigurationError, match="gray images, or complex ones of two channels, not 3"):
        SampleImage(CartesianMRI(), name="astronaut", size=32).setup("fit")


def test_maps_and_mask_from_files(tmp_path):
    maps = SimulatedCoils(3).simulated((48, 48))
    np.save(tmp_path / "maps.npy", maps.permute(1, 2, 0).numpy())  # coils last, as MATLAB has them
    mask = RandomLines()((48, 48))
    np.save(tmp_path / "mask.npy", mask[0].numpy())
    files = CartesianMRI(SamplingMaskFile(str(tmp_path / "mask.npy")), CoilMapsFile(str(tmp_path / "maps.npy")))
    torch.testing.assert_close(phantom(files).y, phantom(CartesianMRI(coils=SimulatedCoils(3))).y)
    with pytest.raises(MeasurementError, match=r"must hold complex maps \[coils, 32, 32\]"):
        phantom(CartesianMRI(coils=CoilMapsFile(str(tmp_path / "maps.npy"))), size=32)
    with pytest.raises(MeasurementError, match=r"has shape \[48\], but k-space is \[32, 32\]"):
        phantom(CartesianMRI(SamplingMaskFile(str(tmp_path / "mask.npy"))), size=32)


def measured(target="rss", **options):
    kspace = phantom(CartesianMRI(coils=SimulatedCoils(6), normalise=False), size=32)
    data = MultiCoilFourier(torch.ones(32, 32), SimulatedCoils(6).simulated((32, 32))).A(kspace.target)
    noise = 0.01 * random(1, 6, 32, 32, dtype=torch.complex64)
    data = torch.complex(data[:, 0], data[:, 1]) + noise * torch.arange(1, 7)[:, None, None]
    acquisition = CartesianMRI(RandomLines(2, 0.4), ESPIRiT(), normalise=False, **options)
    return acquisition.from_kspace(data, ["a"], acquisition.mask((32, 32))[None], target=target)


def test_rss_target_is_of_the_coils_before_compression():
    expected = measured().target
    compressed = measured(virtual_coils=3)
    assert compressed.y.shape[2] == 3
    torch.testing.assert_close(compressed.target, expected)
    assert "target" not in compressed.metadata


def test_rss_target_of_whitened_coils_is_in_the_units_of_the_fit_and_in_the_record():
    whitened, both = measured(whiten=6), measured(whiten=6, virtual_coils=6)
    assert whitened.metadata["target"] == both.metadata["target"] == "rss of the whitened coils"
    torch.testing.assert_close(both.target, whitened.target)
    combined = measured("combined", whiten=6)
    assert "target" not in combined.metadata
    inside = combined.target.norm(dim=1) > 0.5 * combined.target.norm(dim=1).max()
    ratio = (whitened.target.norm(dim=1) / combined.target.norm(dim=1))[inside]
    assert ratio.mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("shape", [(1, 32, 32), (32, 32, 1), (32, 32, 1, 1), (32, 32)])
def test_map_of_one_coil_from_a_file(tmp_path, shape):
    maps = random(32, 32, dtype=torch.complex64)
    np.save(tmp_path / "map.npy", maps.reshape(shape).numpy())
    measurement = phantom(CartesianMRI(coils=CoilMapsFile(str(tmp_path / "map.npy"))), size=32)
    assert measurement.y.shape == (1, 2, 1, 32, 32)
    torch.testing.assert_close(measurement.physics.coil_maps, maps[None, None])


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigurationError, match="need several coils"):
        CartesianMRI(whiten=10)
    with pytest.raises(ConfigurationError, match="Did you mean 'adjoint'"):
        CartesianMRI(initial="adjont")
    with pytest.raises(ConfigurationError, match="ESPIRiT estimates maps from measured data"):
        phantom(CartesianMRI(coils=ESPIRiT()))
    with pytest.raises(MeasurementError, match="all sampled data are zero"):
        CartesianMRI().simulate(torch.zeros(1, 1, 32, 32), ["zero"], [0])
    with pytest.raises(ConfigurationError, match="cg_iterations=0"):
        CartesianMRI(cg_iterations=0)
    with pytest.raises(ConfigurationError, match="larger than k-space"):
        phantom(CartesianMRI(PoissonDisc(center=64)), size=32)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_measurement_moves_to_the_gpu():
    measurement = phantom(CartesianMRI(coils=SimulatedCoils(4), initial="cg"))
    moved = measurement.to("cuda")
    assert moved.physics.encoding.is_cuda
    torch.testing.assert_close(moved.physics.A(moved.target).cpu(), measurement.y, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(moved.physics.A_dagger(moved.y).cpu(), measurement.initial, rtol=1e-2, atol=1e-3)


def test_measurement_in_double_precision():
    measurement = phantom(CartesianMRI(coils=SimulatedCoils(4)))
    double = measurement.to("cpu", torch.float64)
    assert double.y.dtype == double.physics.mask.dtype == torch.float64
    assert double.physics.coil_maps.dtype == torch.complex128
    assert (double.physics.A(double.target) - double.y).abs().max() < 1e-4
