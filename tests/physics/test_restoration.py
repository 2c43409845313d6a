"""Every acquisition of image restoration: operator, noise, first estimate, types and state."""

from __future__ import annotations

import copy
from pathlib import Path

import deepinv
import numpy as np
import pytest
import scipy.signal
import torch

from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.physics import (
    AdditiveGaussian,
    CompressedSensing,
    Deblurring,
    Denoising,
    GaussianKernel,
    ImpulseNoise,
    Inpainting,
    KernelFile,
    MotionKernel,
    NonlinearBlur,
    PoissonImage,
    SuperResolution,
)
from dip_lightning.physics.resampling import Filter, filter_profile
from dip_lightning.physics.restoration import RestorationAcquisition

#: Acquisitions of linear operators; new ones are tested by joining the list.
LINEAR = {
    "denoising": lambda: Denoising(),
    "box": lambda: Inpainting(ratio=0.25),
    "random": lambda: Inpainting("random", 0.5, fill="nearest"),
    "gaussian blur": lambda: Deblurring(GaussianKernel(1.0, 5), "reflect"),
    "even kernel": lambda: Deblurring(MotionKernel(6), "replicate"),
    "by FFT": lambda: Deblurring(MotionKernel(13), "reflect"),
    "circular": lambda: Deblurring(MotionKernel(14), "circular"),
    "valid": lambda: Deblurring(MotionKernel(8, seed=2), "valid"),
    "super-resolution": lambda: SuperResolution(2),
    "by 4": lambda: SuperResolution(4, "bicubic"),
    "compressed sensing": lambda: CompressedSensing(0.25),
}
TINY = {"width": 4, "front_blocks": 1, "back_blocks": 1}
SHAPE = (3, 24, 20)
each_linear = pytest.mark.parametrize("make", LINEAR.values(), ids=LINEAR.keys())


def image(shape=SHAPE, batch=1, dtype=torch.float32):
    return torch.rand(batch, *shape, generator=torch.Generator().manual_seed(3), dtype=dtype)


def test_every_linear_acquisition_is_in_the_list():
    listed = {type(make()) for make in LINEAR.values()}
    assert {kind for kind in RestorationAcquisition.__subclasses__() if kind.__module__.startswith("dip_")} == (
        listed | {NonlinearBlur}
    )


@each_linear
@pytest.mark.parametrize("channels", [1, 3])
def test_adjoint_and_linearity(make, channels):
    shape = (channels, *SHAPE[1:])
    physics = make().physics(shape).to(dtype=torch.float64)
    x, other = image(shape, 2, torch.float64), image(shape, 2, torch.float64).flip(2)
    y = physics.A(x)
    v = torch.randn_like(y)
    assert torch.allclose((y * v).sum(), (x * physics.A_adjoint(v)).sum(), rtol=1e-10)
    torch.testing.assert_close(physics.A(2 * x - other), 2 * y - physics.A(other))
    torch.testing.assert_close(physics.A(x[1:]), y[1:])


@each_linear
def test_simulation_is_seeded_and_the_same_in_a_batch(make):
    acquisition = make()
    acquisition.noise = AdditiveGaussian(10)
    two = acquisition.simulate(image(batch=2), ["a", "b"], [5, 6])
    alone = make().simulate(image(batch=2)[1:], ["b"], [6])
    again = acquisition.simulate(image(batch=2)[1:], ["b"], [6])
    torch.testing.assert_close(two.y[1:], again.y)
    assert two.noise_level == pytest.approx(10 / 255)
    assert two.value_range == (0.0, 1.0)
    assert two.initial.shape == two.target.shape
    if not isinstance(acquisition, Denoising):
        assert alone.noise_level == 0
        torch.testing.assert_close(alone.y, alone.physics.A(alone.target))


@each_linear
def test_precision_and_state(make):
    measurement = make().simulate(image(), ["a"], [0])
    single = measurement.physics.A(measurement.target)
    restored = make().physics(SHAPE)
    restored.load_state_dict(copy.deepcopy(measurement.physics.state_dict()))
    torch.testing.assert_close(restored.A(measurement.target), single)
    double = measurement.to("cpu", torch.float64)
    y = double.physics.A(double.target)
    assert y.dtype == torch.float64
    torch.testing.assert_close(y.float(), single, rtol=1e-4, atol=1e-5)


@each_linear
@pytest.mark.gpu
def test_device(make):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    measurement = make().simulate(image(), ["a"], [0])
    y = measurement.physics.A(measurement.target)
    moved = measurement.to("cuda")
    torch.testing.assert_close(moved.physics.A(moved.target).cpu(), y, rtol=1e-3, atol=1e-4)


# Against independent computations --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [5, 6, 13])
@pytest.mark.parametrize(("boundary", "mode"), [("reflect", "reflect"), ("circular", "wrap"), ("replicate", "edge")])
def test_blur_is_scipys_convolution(size, boundary, mode):
    kernel = MotionKernel(size, seed=4)
    x = image()
    y = Deblurring(kernel, boundary).physics(SHAPE).A(x)
    before, after = size - 1 - size // 2, size // 2
    for channel in range(3):
        padded = np.pad(x[0, channel].numpy(), ((before, after), (before, after)), mode=mode)
        expected = scipy.signal.convolve2d(padded, kernel().numpy(), mode="valid")
        np.testing.assert_allclose(y[0, channel], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [5, 6, 13])
def test_valid_blur_and_its_first_estimate_stay_in_place(size):
    acquisition = Deblurring(GaussianKernel(1.0, 5) if size == 5 else MotionKernel(size), "valid")
    measurement = acquisition.simulate(image(), ["a"], [0])
    odd = np.pad(acquisition.kernel().numpy(), ((0, 1 - size % 2), (0, 1 - size % 2)))
    expected = scipy.signal.convolve2d(image()[0, 0].numpy(), odd, mode="valid")
    np.testing.assert_allclose(measurement.y[0, 0], expected, rtol=1e-4, atol=1e-5)
    whole = Deblurring(acquisition.kernel, "replicate").simulate(image(), ["a"], [0]).y
    margin = slice(size, -size)
    torch.testing.assert_close(measurement.initial[..., margin, margin], whole[..., margin, margin])


def test_first_estimate_of_a_valid_blur_by_an_oblong_kernel(tmp_path: Path) -> None:
    np.save(tmp_path / "oblong.npy", np.ones((3, 7)))
    measurement = Deblurring(KernelFile(str(tmp_path / "oblong.npy")), "valid").simulate(image(), ["a"], [0])
    torch.testing.assert_close(measurement.initial[..., 1:-1, 3:-3], measurement.y)


@pytest.mark.parametrize("filter", ["lanczos2", "bicubic", "gaussian", "box"])
@pytest.mark.parametrize("factor", [2, 4])
def test_downsampling_keeps_constants_and_does_not_shift(filter, factor):
    physics = SuperResolution(factor, filter).physics((1, 32, 32)).double()
    torch.testing.assert_close(
        physics.A(torch.ones(1, 1, 32, 32, dtype=torch.float64)),
        torch.ones(1, 1, 32 // factor, 32 // factor, dtype=torch.float64),
        atol=1e-6,
        rtol=0,
    )
    ramp = torch.arange(32.0, dtype=torch.float64).expand(1, 1, 32, 32)
    centres = (torch.arange(32 // factor, dtype=torch.float64) + 0.5) * factor - 0.5
    inside = slice(2, -2)
    torch.testing.assert_close(physics.A(ramp)[0, 0, 0, inside], centres[inside], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("filter", "half"),
    [("lanczos2", 2**2.5 / np.pi**2), ("bicubic", 0.5625), ("gaussian", np.exp(-0.5)), ("box", 0.0)],
)
def test_filters_at_half_a_pixel_and_at_their_ends(filter: Filter, half: float) -> None:
    values = filter_profile(filter, np.array([0.0, 0.49, -0.5, 0.5, 2.0, 2.5]))
    np.testing.assert_allclose(values[[0, 2, 3, 4, 5]], [1, half, half, 0, 0], atol=1e-12)
    assert half < values[1] <= 1


@pytest.mark.parametrize("factor", [2, 4])
def test_enlargement_of_a_small_image_does_not_shift(factor: int) -> None:
    """A pixel is enlarged about its centre, and one pixel further is `factor` pixels further."""
    acquisition, small = SuperResolution(factor), torch.zeros(1, 1, 11, 11)
    small[..., 5, 4] = 1
    first, second = (acquisition.initial(image, None)[0, 0] for image in (small, small.roll(1, -1)))
    torch.testing.assert_close(second, first.roll(factor, -1))
    positions = torch.arange(11.0 * factor)
    for axis, centre in ((1, 5), (0, 4)):
        profile = first.sum(axis)
        middle = (profile * positions).sum() / profile.sum()
        torch.testing.assert_close(middle, torch.tensor((centre + 0.5) * factor - 0.5))


def test_box_downsampling_is_the_mean_over_blocks():
    x = image((1, 16, 24))
    expected = torch.nn.functional.avg_pool2d(x, 4)
    torch.testing.assert_close(SuperResolution(4, "box").physics((1, 16, 24)).A(x), expected)


def test_bicubic_downsampling_is_pillows_inside():
    from PIL import Image

    x = image((1, 64, 64))
    expected = np.asarray(Image.fromarray(x[0, 0].numpy()).resize((16, 16), Image.Resampling.BICUBIC))
    y = SuperResolution(4, "bicubic").physics((1, 64, 64)).A(x)[0, 0]
    np.testing.assert_allclose(y[2:-2, 2:-2], expected[2:-2, 2:-2], atol=1e-5)


def test_bicubic_downsampling_is_matlabs():
    if not hasattr(deepinv.physics, "DownsamplingMatlab"):
        pytest.skip("this deepinv has no DownsamplingMatlab")
    x = image((1, 32, 32))
    expected = deepinv.physics.DownsamplingMatlab(factor=2).A(x)
    torch.testing.assert_close(SuperResolution(2, "bicubic").physics((1, 32, 32)).A(x), expected, atol=2e-5, rtol=0)


def test_pseudo_inverse_of_downsampling():
    physics = SuperResolution(4).physics((1, 16, 16)).double()
    y = image((1, 4, 4), dtype=torch.float64)
    torch.testing.assert_close(physics.A(physics.A_dagger(y)), y)


def test_gaussian_matrix():
    acquisition = CompressedSensing(0.5, seed=7)
    physics = acquisition.physics((3, 16, 16))
    assert physics.matrix.shape == (128, 256)
    assert physics.matrix.std() == pytest.approx(128**-0.5, rel=0.02)
    assert torch.equal(physics.matrix, acquisition.physics((3, 16, 16)).matrix)
    assert not torch.equal(physics.matrix, CompressedSensing(0.5, seed=8).physics((3, 16, 16)).matrix)
    x = image((3, 16, 16))
    expected = np.einsum("mn,cn->cm", physics.matrix.numpy(), x[0].flatten(1).numpy())
    np.testing.assert_allclose(physics.A(x)[0], expected, rtol=1e-3, atol=1e-4)
    stored = sum(buffer.numel() for buffer in physics.buffers())
    assert stored == pytest.approx(128 * 256, abs=8)
    assert CompressedSensing(measurements=11).physics((1, 8, 8)).matrix.shape == (11, 64)


def test_first_estimates_of_compressed_sensing():
    x = image((1, 12, 12))
    adjoint = CompressedSensing(0.5).simulate(x, ["a"], [0])
    torch.testing.assert_close(adjoint.initial, adjoint.physics.A_adjoint(adjoint.y))
    inverse = CompressedSensing(0.5, initial="pseudo_inverse").simulate(x, ["a"], [0])
    torch.testing.assert_close(inverse.physics.A(inverse.initial), inverse.y, atol=1e-3, rtol=1e-3)


# Noise -----------------------------------------------------------------------------------------------------------

GREY = torch.full((2, 1, 200, 200), 0.4)


def test_gaussian_noise_in_units_of_255():
    noisy, level = AdditiveGaussian(25)(GREY, MemberGenerators([0, 1]))
    assert level == pytest.approx(25 / 255)
    assert (noisy - GREY).std() == pytest.approx(25 / 255, rel=0.02)
    clipped, _ = AdditiveGaussian(250, clip=True)(GREY, MemberGenerators([0, 1]))
    assert clipped.min() == 0
    assert clipped.max() == 1


def test_poisson_noise():
    noisy, level = PoissonImage(50)(GREY, MemberGenerators([0, 1]))
    assert level is None
    assert noisy.mean() == pytest.approx(0.4, rel=0.01)
    assert noisy.var() == pytest.approx(0.4 / 50, rel=0.03)
    torch.testing.assert_close(noisy * 50, (noisy * 50).round(), atol=1e-4, rtol=0)
    assert PoissonImage(2)(GREY, MemberGenerators([0, 1]))[0].max() > 1
    assert PoissonImage(2, clip=True)(GREY, MemberGenerators([0, 1]))[0].max() == 1


def test_impulse_noise():
    noisy, level = ImpulseNoise(0.2)(GREY, MemberGenerators([0, 1]))
    assert level is None
    assert (noisy == 0).float().mean() == pytest.approx(0.1, abs=0.01)
    assert (noisy == 1).float().mean() == pytest.approx(0.1, abs=0.01)


# Inpainting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.1, 0.25])
def test_centred_box(ratio):
    mask = Inpainting(ratio=ratio).known(200, 320)[0, 0]
    assert 1 - mask.mean() == pytest.approx(ratio, rel=0.02)
    rows, columns = torch.nonzero(mask == 0, as_tuple=True)
    assert abs(rows.min() - (199 - rows.max())) <= 1
    assert abs(columns.min() - (319 - columns.max())) <= 1
    assert (mask == 0).sum() == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)


def test_random_pixels():
    mask = Inpainting("random", 0.3, seed=1).known(40, 50)
    assert (mask == 0).sum() == 600
    assert torch.equal(mask, Inpainting("random", 0.3, seed=1).known(40, 50))
    assert not torch.equal(mask, Inpainting("random", 0.3, seed=2).known(40, 50))


def test_holes_are_zero_whatever_the_noise():
    measurement = Inpainting(noise=AdditiveGaussian(50)).simulate(image(), ["a"], [0])
    holes = measurement.physics.mask == 0
    assert (measurement.y[holes] == 0).all()
    assert (measurement.y[~holes] != measurement.target[~holes]).all()


def test_fills():
    x = image()
    holes = Inpainting(ratio=0.25).physics(SHAPE).mask == 0
    for fill in (0.4, "mean", "nearest"):
        first = Inpainting(ratio=0.25, fill=fill).simulate(x, ["a"], [0]).initial
        torch.testing.assert_close(first[~holes], x[~holes])
        if fill == 0.4:
            assert (first[holes] == 0.4).all()
        if fill == "mean":
            torch.testing.assert_close(first[0, 1][holes[0, 1]], x[0, 1][~holes[0, 1]].mean().expand(holes[0, 1].sum()))
    ramp = torch.arange(20.0).expand(1, 3, 24, 20) / 20
    first = Inpainting(ratio=0.25, fill="nearest").simulate(ramp, ["a"], [0]).initial
    assert first[0, 0, 12, 5] == ramp[0, 0, 12, 4]


def test_mask_from_files(tmp_path):
    from PIL import Image

    mask = np.zeros((24, 20), np.uint8)
    mask[3:9] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    np.save(tmp_path / "mask.npy", mask > 0)
    for name in ("mask.png", "mask.npy"):
        known = Inpainting(str(tmp_path / name)).known(24, 20)
        assert torch.equal(known[0, 0], torch.from_numpy(mask > 0).float())
    with pytest.raises(MeasurementError, match=r"mask.png.*\[24, 20\].*32x32"):
        Inpainting(str(tmp_path / "mask.png")).physics((1, 32, 32))
    np.save(tmp_path / "ones.npy", np.ones((24, 20)))
    with pytest.raises(MeasurementError, match=r"ones.npy.*everything"):
        Inpainting(str(tmp_path / "ones.npy")).physics(SHAPE)


def test_masks_of_the_first_paper(data_root):
    folder = data_root / "dip_original" / "inpainting"
    known = Inpainting(str(folder / "kate_mask.png")).known(512, 512)
    assert 0 < (known == 0).float().mean() < 0.5


# Kernels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kernel",
    [
        GaussianKernel(3, 61),
        GaussianKernel(2),
        GaussianKernel(2, 24),
        MotionKernel(64),
        MotionKernel(9, seed=5),
        MotionKernel(4, extent=1.0),
    ],
)
def test_kernels_sum_to_one_and_are_centred(kernel):
    values = kernel().double()
    assert values.sum() == pytest.approx(1, abs=1e-5)
    assert values.min() >= 0
    for axis in (0, 1):
        positions = torch.arange(values.shape[axis], dtype=torch.float64)
        centre = (values.sum(1 - axis) * positions).sum()
        assert centre == pytest.approx(values.shape[axis] // 2, abs=1e-3)


@pytest.mark.parametrize("sigma", [1.5, 3.0])
def test_gaussian_kernel_has_the_stated_deviation(sigma: float) -> None:
    profile = GaussianKernel(sigma)().double().sum(0)
    positions = torch.arange(len(profile)) - len(profile) // 2
    assert (profile * positions**2).sum().sqrt().item() == pytest.approx(sigma, rel=2e-3)


@pytest.mark.parametrize("size", [12, 13])
@pytest.mark.parametrize("kernel", [GaussianKernel, MotionKernel])
def test_blur_does_not_shift_the_image(kernel, size):
    x = torch.zeros(1, 1, 33, 33)
    x[..., 16, 16] = 1
    y = Deblurring(kernel(size=size)).physics((1, 33, 33)).A(x)[0, 0]
    for axis in (0, 1):
        assert (y.sum(1 - axis) * torch.arange(33)).sum() == pytest.approx(16, abs=0.02)


def test_motion_kernels_have_a_seed():
    assert torch.equal(MotionKernel(seed=1)(), MotionKernel(seed=1)())
    assert not torch.equal(MotionKernel(seed=1)(), MotionKernel(seed=2)())


def test_levins_kernels(data_root):
    sizes = []
    for index in range(8):
        kernel = KernelFile(str(data_root / "blur_kernels" / "Levin09.mat"), index)()
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        sizes.append(kernel.shape[0])
    assert sizes == [19, 17, 15, 27, 13, 21, 23, 23]
    with pytest.raises(MeasurementError, match=r"Levin09.mat holds 8 arrays; index 8"):
        KernelFile(str(data_root / "blur_kernels" / "Levin09.mat"), 8)


def test_twelve_kernels(data_root):
    path = str(data_root / "blur_kernels" / "kernels_12.mat")
    kernels = [KernelFile(path, index)() for index in range(12)]
    assert all(kernel.shape == (25, 25) for kernel in kernels)
    torch.testing.assert_close(kernels[0], kernels[0].T)  # an isotropic Gaussian


def test_measured_kernels_are_not_transposed(tmp_path):
    import h5py
    import scipy.io

    kernel = np.arange(12.0).reshape(3, 4)
    scipy.io.savemat(tmp_path / "five.mat", {"k": kernel})
    with h5py.File(tmp_path / "seven.mat", "w") as file:
        file["k"] = kernel.T  # MATLAB writes its axes in reverse
    for name in ("five.mat", "seven.mat"):
        np.testing.assert_allclose(KernelFile(str(tmp_path / name))(), kernel / kernel.sum(), rtol=1e-6)


# The nonlinear network -------------------------------------------------------------------------------------------


def test_nonlinear_blur_is_fixed_differentiable_and_not_linear():
    acquisition = NonlinearBlur(**TINY)
    x = image((3, 128, 256))
    state = torch.random.get_rng_state()
    measurement = acquisition.simulate(x, ["a"], [0])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert measurement.physics.code.shape == (1, 32, 1, 2)
    assert torch.equal(measurement.physics.A(x), measurement.y)
    assert torch.equal(NonlinearBlur(**TINY).physics((3, 128, 256)).A(x), measurement.y)
    assert not torch.equal(NonlinearBlur(**TINY, seed=1).physics((3, 128, 256)).A(x), measurement.y)
    assert not torch.allclose(measurement.physics.A(2 * x), 2 * measurement.y, atol=1e-3)
    z = x.clone().requires_grad_()
    measurement.physics.A(z).sum().backward()
    assert torch.isfinite(z.grad).all()
    assert not any(parameter.requires_grad for parameter in measurement.physics.parameters())
    assert measurement.to("cpu", torch.float64).physics.A(x.double()).dtype == torch.float64
    clipped = NonlinearBlur(**TINY, clip=True).physics((3, 128, 256)).A(3 * x - 1)
    assert clipped.min() >= 0
    assert clipped.max() <= 1


def test_weights_of_the_nonlinear_blur(tmp_path):
    source = NonlinearBlur(**TINY, seed=3).physics((3, 128, 128))
    state = {f"module.{name}": value for name, value in source.network.state_dict().items()}
    torch.save({**state, "module.kernel_extractor.model.1.weight": torch.zeros(2)}, tmp_path / "weights.pth")
    torch.save(source.code, tmp_path / "code.pth")
    files = {"weights": str(tmp_path / "weights.pth"), "code": str(tmp_path / "code.pth")}
    loaded = NonlinearBlur(**TINY, **files).physics((3, 128, 128))
    x = image((3, 128, 128))
    assert torch.equal(loaded.A(x), source.A(x))
    with pytest.raises(MeasurementError, match=r"weights.pth do not fit.*4 missing \(feature_extractor.7.conv1.bias"):
        NonlinearBlur(width=4, front_blocks=2, back_blocks=1, weights=files["weights"]).physics((3, 128, 128))
    with pytest.raises(MeasurementError, match=r"code.pth has shape.*needs \[1, 32, 2, 1\]"):
        NonlinearBlur(**TINY, **files).physics((3, 256, 128))
    (tmp_path / "weights.pth").write_bytes(b"no weights")
    with pytest.raises(MeasurementError, match=r"weights.pth cannot be read"):
        NonlinearBlur(**TINY, **files).physics((3, 128, 128))


def test_published_size_of_the_nonlinear_blur():
    from dip_lightning.physics.kernel_wizard import KernelWizard

    with torch.device("meta"):
        network = KernelWizard()
    names = dict(network.named_parameters())
    assert names["adapter.model.submodule.submodule.submodule.submodule.up.1.weight"].shape == (1024, 512, 4, 4)
    assert names["adapter.model.up.1.bias"].shape == (64,)
    assert names["recon_trunk.28.weight"].shape == (3, 64, 3, 3)
    assert sum(parameter.numel() for parameter in network.parameters()) == 23_662_531


# Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AdditiveGaussian(-1), "sigma=-1"),
        (lambda: ImpulseNoise(2), "fraction=2"),
        (lambda: PoissonImage(0), "peak=0"),
        (lambda: Inpainting(ratio=1.5), "ratio=1.5"),
        (lambda: Inpainting("boxx"), "neither 'box' nor 'random' nor a file"),
        (lambda: Inpainting(fill="nearst"), "Did you mean 'nearest'"),
        (lambda: Deblurring(boundary="reflekt"), "Did you mean 'reflect'"),
        (lambda: Deblurring(GaussianKernel(5)).physics((1, 16, 16)), "kernel of 41x41 does not fit the image of 16x16"),
        (lambda: SuperResolution(1), "factor=1"),
        (lambda: SuperResolution(4).physics((1, 30, 32)), "30x32 cannot be made 4 times smaller"),
        (lambda: CompressedSensing(0), "ratio=0"),
        (lambda: CompressedSensing(1.0).physics((1, 256, 256)), "GB: set data.size"),
        (lambda: CompressedSensing(measurements=65).physics((1, 8, 8)), "more than the image's 64 pixels"),
        (lambda: NonlinearBlur().physics((3, 100, 128)), "multiples of 128, not 3 channels of 100x128"),
        (lambda: NonlinearBlur().physics((1, 128, 128)), "colour images"),
    ],
)
def test_settings_that_make_no_sense(make, words):
    with pytest.raises(ConfigurationError, match=words):
        make()


def test_bad_kernel_files(tmp_path):
    np.save(tmp_path / "negative.npy", -np.ones((3, 3)))
    with pytest.raises(MeasurementError, match=r"negative.npy: a blur kernel has finite values"):
        KernelFile(str(tmp_path / "negative.npy"))
    np.save(tmp_path / "volume.npy", np.ones((7, 6, 5)))
    with pytest.raises(MeasurementError, match=r"volume.npy: the kernel has shape \[7, 6, 5\]"):
        KernelFile(str(tmp_path / "volume.npy"))
    with pytest.raises(MeasurementError, match=r"none.npy does not exist"):
        KernelFile(str(tmp_path / "none.npy"))


def test_measured_data_are_taken_as_they_are():
    y = image() + 0.1
    measurement = Denoising().accept(y, ["mine"], image_shape=SHAPE, noise_level=0.1)
    assert torch.equal(measurement.y, y)
    assert measurement.target is None
    with pytest.raises(MeasurementError, match="does not accept images"):
        SuperResolution(2).accept(y, ["mine"], physics=SuperResolution(2).physics((3, 64, 64)))
