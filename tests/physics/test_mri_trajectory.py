"""Non-Cartesian MRI against the sum that it computes."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from dip_lightning.data import Phantom, TrajectoryKSpace
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.functional.metrics import score
from dip_lightning.physics import CartesianMRI, ESPIRiT, RelativeGaussian, SimulatedCoils, TrajectoryMRI
from dip_lightning.physics.mri_trajectory import spread

pytest.importorskip("mrinufft", reason="mri-nufft is not installed")
pytest.importorskip("finufft", reason="finufft is not installed")
pytest.importorskip("deepinv.physics.nufft", reason="this deepinv has no NonCartesianMRI")
pytestmark = pytest.mark.filterwarnings("ignore")  # mri-nufft's own, of libraries that it would like to have


def operator(shape=(8, 7), samples=40, coils=3):
    from dip_lightning.physics.mri_nufft import TrajectoryFourier

    generator = torch.Generator().manual_seed(0)
    points = torch.rand(samples, 2, generator=generator) - 0.5
    maps = torch.randn(1, coils, *shape, dtype=torch.complex64, generator=generator)
    return TrajectoryFourier(points, maps, torch.ones(samples)), points, maps


def test_operator_is_the_sum_over_the_pixels():
    physics, points, maps = operator()
    x = torch.randn(1, 2, 8, 7)
    image = (maps[0] * torch.complex(x[0, 0], x[0, 1])).numpy()
    rows, columns = (
        np.exp(-2j * np.pi * np.outer(points[:, axis], np.arange(n) - n // 2)) for axis, n in ((0, 8), (1, 7))
    )
    expected = np.einsum("nrc,sr,sc->ns", image, rows, columns)
    y = physics.A(x)
    got = torch.complex(y[0, 0], y[0, 1]).numpy() * physics.nufft_op.norm_factor
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_adjoint_and_gradient():
    physics, *_ = operator()
    x, y = torch.randn(1, 2, 8, 7, requires_grad=True), torch.randn(1, 2, 3, 40)
    torch.testing.assert_close((physics.A(x) * y).sum(), (x * physics.A_adjoint(y)).sum(), rtol=1e-4, atol=1e-3)
    (gradient,) = torch.autograd.grad((physics.A(x) * y).sum(), x)
    torch.testing.assert_close(gradient, physics.A_adjoint(y), rtol=1e-4, atol=1e-4)


def test_gridded_image_is_scaled_to_the_data_by_density() -> None:
    from dip_lightning.physics.mri_nufft import TrajectoryFourier

    _, points, maps = operator()
    density, y = torch.linspace(0.1, 1, 40), torch.randn(1, 2, 3, 40, generator=torch.Generator().manual_seed(1))
    physics = TrajectoryFourier(points, maps, density)
    image = physics.gridded(y)
    predicted = physics.A(image)
    torch.testing.assert_close((density * predicted * y).sum(), (density * predicted**2).sum(), rtol=1e-4, atol=0)
    plain = physics.A_adjoint(density * y)
    coil_images = physics.coil_images(torch.complex(y[:, 0], y[:, 1]))
    torch.testing.assert_close(physics.from_torch_complex((maps.conj() * coil_images).sum(1)), plain, rtol=0, atol=1e-4)
    torch.testing.assert_close(image / image.norm(), plain / plain.norm(), rtol=0, atol=1e-4)


def test_operator_can_be_copied():
    physics, *_ = operator()
    other, x = copy.deepcopy(physics), torch.randn(2, 2, 8, 7)
    assert other.nufft_op is not physics.nufft_op
    torch.testing.assert_close(other.A(x), physics.A(x))
    torch.testing.assert_close(other.gridded(physics.A(x)), physics.gridded(physics.A(x)))


@pytest.mark.parametrize("trajectory", ["spiral", "radial"])
def test_phantom_along_a_trajectory(trajectory):
    module = Phantom(TrajectoryMRI(trajectory, shots=40, samples_per_shot=128, coils=SimulatedCoils(4)), size=32)
    module.setup("fit")
    measurement = module.measurement
    assert measurement.y.shape == (1, 2, 4, 40 * 128)
    assert measurement.initial.norm(dim=1).max() == pytest.approx(1, abs=1e-4)
    assert measurement.metadata["trajectory"] == trajectory
    assert score(measurement, measurement.initial)["psnr"] > 18


def test_noise_is_of_the_stated_level():
    clean, noisy = (
        TrajectoryMRI(shots=16, samples_per_shot=128, noise=noise, normalise=False).simulate(
            torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)), ["a", "b"], [0, 1]
        )
        for noise in (None, RelativeGaussian(0.2))
    )
    for member, difference in enumerate(noisy.y - clean.y):
        assert difference.std() == pytest.approx(0.2 * float(clean.y[member].abs().mean()), rel=0.05)
    assert noisy.metadata["noise"] == "RelativeGaussian"


@pytest.fixture
def spiral(tmp_path):
    """A file as the spiral data have it, simulated."""
    acquisition = TrajectoryMRI(shots=24, samples_per_shot=200, coils=SimulatedCoils(4), normalise=False)
    module = Phantom(acquisition, size=48)
    module.setup("fit")
    measurement = module.measurement
    y = torch.complex(measurement.y[0, 0], measurement.y[0, 1]).reshape(4, 24, 200).numpy()
    points = measurement.physics.samples.reshape(24, 200, 2)
    density = measurement.physics.density.numpy().reshape(24, 200)
    arrays = {"ksp": y.transpose(0, 2, 1), "coord": points.transpose(1, 0, 2)[..., ::-1], "dcf": density.T}
    np.savez(tmp_path / "spiral.npz", **arrays)
    return tmp_path / "spiral.npz", arrays, measurement.target


def load(path, **kwargs):
    module = TrajectoryKSpace(kwargs.pop("acquisition", TrajectoryMRI(coils=ESPIRiT())), str(path), 48, **kwargs)
    module.setup("fit")
    return module.measurement


def test_file_of_a_spiral(spiral):
    path, _, truth = spiral
    whole, some = load(path), load(path, shots=8, acquisition=TrajectoryMRI(coils=ESPIRiT(calibration="full")))
    assert whole.target is None
    assert load(path, name="study/spiral").ids == ("study_spiral",)
    assert whole.y.shape == (1, 2, 4, 24 * 200)
    assert some.y.shape == (1, 2, 4, 8 * 200)
    assert (some.metadata["shots"], some.metadata["shots_measured"]) == (8, 24)
    magnitude = some.target.norm(dim=1) / some.metadata["scale"][0]
    assert (magnitude - truth.norm(dim=1)).norm() < 0.25 * truth.norm()
    assert score(some, some.initial)["psnr"] > 15


def test_shots_that_are_left_out_are_seen_by_the_target_alone(
    spiral: tuple[Path, dict[str, np.ndarray], torch.Tensor], tmp_path: Path
) -> None:
    path, arrays, _ = spiral
    kspace = arrays["ksp"].copy()
    kspace[..., ~spread(24, 12).numpy()] *= -3
    other = tmp_path / "other.npz"
    np.savez(other, **{**arrays, "ksp": kspace})
    one, two = (load(file, shots=12, acquisition=TrajectoryMRI(coils=ESPIRiT(crop=0.5))) for file in (path, other))
    torch.testing.assert_close(two.y, one.y)
    torch.testing.assert_close(two.physics.coil_maps, one.physics.coil_maps, rtol=0, atol=1e-3)
    torch.testing.assert_close(two.initial, one.initial, rtol=0, atol=1e-3)
    assert (two.target - one.target).norm() > 0.1 * one.target.norm()


def test_target_does_not_depend_on_the_unit_of_the_data(spiral, tmp_path):
    path, arrays, _ = spiral
    np.savez(tmp_path / "small.npz", **{**arrays, "ksp": arrays["ksp"] * 1e-7})
    one, other = (
        load(file, shots=8, acquisition=TrajectoryMRI(coils=ESPIRiT(calibration="full")))
        for file in (path, tmp_path / "small.npz")
    )
    # Sums over samples are rounded in the order of the threads; with a fixed 1e-8 in the solver it would be 0.6.
    assert (other.target - one.target).norm() < 1e-2 * one.target.norm()


def test_what_does_not_fit_is_named(spiral, tmp_path):
    path, arrays, _ = spiral
    with pytest.raises(ConfigurationError, match=r"data.shots=25 must be from 1 to the 24"):
        load(path, shots=25)
    with pytest.raises(ConfigurationError, match="must be TrajectoryMRI"):
        load(path, acquisition=CartesianMRI())
    with pytest.raises(MeasurementError, match=r"k-space of 4 coils; set data.acquisition.coils"):
        load(path, acquisition=TrajectoryMRI())
    for key, value, message in (
        ("coord", arrays["coord"][:-1], r"needs a trajectory \[200, 24, 2\]"),
        ("coord", 2 * arrays["coord"], r"leaves \[-0.5, 0.5\]"),
        ("ksp", arrays["ksp"].real, "must be complex"),
        ("ksp", np.where(arrays["ksp"] == arrays["ksp"][0, 0, 0], np.nan, arrays["ksp"]), "NaN"),
        ("dcf", np.where(arrays["dcf"] > 0, np.nan, 1.0), "bad.npz: dcf holds NaN or infinite weights"),
    ):
        np.savez(tmp_path / "bad.npz", **{**arrays, key: value})
        with pytest.raises(MeasurementError, match=message):
            load(tmp_path / "bad.npz")


def test_shots_are_spread_evenly():
    assert spread(60, 15).nonzero().flatten().tolist() == list(range(0, 60, 4))
    assert spread(10, 10).all()
