import math

import pytest
import torch
from fake_data.acquisitions import Noisy

from dip_lightning.data import Phantom, SampleImage
from dip_lightning.data.ellipses import Ellipse, ellipse_image
from dip_lightning.data.sample_image import SAMPLE_IMAGES
from dip_lightning.errors import ConfigurationError


def load(module):
    module.setup("fit")
    return module.measurement


def test_ellipse_has_its_area_and_place():
    image = ellipse_image([Ellipse(1.0, 0.5, 0.2, 0.3, 0.4, 30.0)], 64)[0].double()
    pixel = 2 / 64
    assert image.sum() * pixel**2 == pytest.approx(math.pi * 0.5 * 0.2, rel=0.01)
    centres = (torch.arange(64).double() + 0.5) * pixel - 1
    assert (image.sum(0) @ centres) / image.sum() == pytest.approx(0.3, abs=0.01)
    assert (image.sum(1) @ -centres) / image.sum() == pytest.approx(0.4, abs=0.01)  # upwards
    upper_right = (image * (centres[None, :] > 0.3) * (-centres[:, None] > 0.4)).sum()
    assert upper_right > 0.3 * image.sum()  # turned counter-clockwise


def test_shepp_logan_is_the_published_one():
    import skimage.data

    image = load(Phantom(Noisy(), size=400)).target[0, 0].numpy()
    difference = abs(image - skimage.data.shepp_logan_phantom())
    assert (difference < 1e-3).mean() > 0.93  # all but the edges, which only ours smooths
    assert (image.min(), image.max()) == (0, 1)


@pytest.mark.parametrize("size", [1, 7, 96, 129])
@pytest.mark.parametrize("kind", ["shepp_logan", "ellipses"])
def test_any_size_in_the_unit_range(kind, size):
    target = load(Phantom(Noisy(), kind, size)).target
    assert target.shape == (1, 1, size, size)
    assert target.dtype == torch.float32
    assert target.min() >= 0
    assert target.max() <= 1


def test_antialiasing_keeps_the_mean_over_sizes():
    small, large = (float(load(Phantom(Noisy(), size=size)).target.mean()) for size in (32, 256))
    assert small == pytest.approx(large, rel=5e-3)


@pytest.mark.parametrize("index", range(4))
def test_random_ellipses_are_inside_the_circle_and_not_trivial(index):
    image = load(Phantom(Noisy(), "ellipses", 128, index=index)).target[0, 0]
    centres = (torch.arange(128) + 0.5) / 64 - 1
    outside = centres[:, None] ** 2 + centres[None] ** 2 > 1
    assert (image[outside] == 0).all()
    assert len(image.unique()) > 20
    assert image.std() > 0.05


def test_random_ellipses_depend_on_seed_and_index_alone():
    first = load(Phantom(Noisy(), "ellipses", 32, seed=3, index=1, batch=2)).target
    again = load(Phantom(Noisy(), "ellipses", 32, seed=3, index=2)).target
    assert torch.equal(first[1:], again)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[:1], load(Phantom(Noisy(), "ellipses", 32, seed=1, index=3)).target)


def test_noise_is_the_same_alone_and_in_a_batch():
    together = load(Phantom(Noisy(0.1), "ellipses", 16, index=0, batch=3))
    alone = load(Phantom(Noisy(0.1), "ellipses", 16, index=2))
    assert torch.equal(together.y[2:], alone.y)
    assert together.metadata["noise_seeds"] == [0, 1, 2]
    assert together.metadata["sigma"] == 0.1  # what the acquisition says is kept
    assert not torch.equal(load(Phantom(Noisy(0.1), "ellipses", 16, noise_seed=9)).y, together.y[:1])


def test_reference_is_another_phantom():
    measurement = load(Phantom(Noisy(), "ellipses", 16, batch=2, reference=5))
    assert torch.equal(measurement.reference[1:], load(Phantom(Noisy(), "ellipses", 16, index=5)).target)
    assert measurement.reference.shape == measurement.target.shape
    assert measurement.metadata["reference"] == "ellipses_16_0005"
    assert load(Phantom(Noisy())).reference is None


@pytest.mark.parametrize("arguments", [{"kind": "shepp_logan"}, {"index": 2, "batch": 2}, {"reference": -1}])
def test_reference_that_would_be_the_target(arguments):
    with pytest.raises(ConfigurationError, match=r"data\.reference="):
        Phantom(Noisy(), **{"kind": "ellipses", "reference": 3, **arguments})


def test_names():
    assert load(Phantom(Noisy())).ids == ("shepp_logan_128",)
    assert load(Phantom(Noisy(), size=32, index=1, batch=2)).ids == ("shepp_logan_32_0001", "shepp_logan_32_0002")
    assert load(Phantom(Noisy(), "ellipses", index=3)).ids == ("ellipses_128_0003",)


def test_setup_loads_once():
    module = Phantom(Noisy(0.1))
    module.setup("fit")
    first = module.measurement
    module.setup("test")
    assert module.measurement is first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "shep_logan"}, "Did you mean 'shepp_logan'"),
        ({"size": 0}, "size=0"),
        ({"seed": -1}, "seed=-1"),
        ({"noise_seed": -1}, "noise_seed=-1"),
        ({"index": -1}, "index=-1"),
        ({"batch": 0}, "batch=0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        Phantom(Noisy(), **arguments)


def test_acquisition_of_the_wrong_kind():
    with pytest.raises(ConfigurationError, match=r"data\.acquisition must be an Acquisition, not str"):
        Phantom("ct")


@pytest.mark.parametrize("name", SAMPLE_IMAGES)
def test_every_sample_image_comes_without_a_download(name, monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    measurement = load(SampleImage(Noisy(), name, square=True, size=64, resize="bicubic"))
    assert measurement.target.shape in {(1, 1, 64, 64), (1, 3, 64, 64)}
    assert measurement.target.std() > 0.02
    assert measurement.ids == (f"{name}_64x64",)


def test_sample_image_values_and_gray():
    import skimage.data

    cat = load(SampleImage(Noisy(), "cat")).target
    assert torch.equal(cat[0], torch.from_numpy(skimage.data.cat()).permute(2, 0, 1) / 255)
    gray = load(SampleImage(Noisy(), "cat", gray=True, multiple=32, index=2))
    assert gray.target.shape == (1, 1, 288, 448)
    assert gray.ids == ("cat_gray_288x448_0002",)


def test_misspelt_sample_image():
    with pytest.raises(ConfigurationError, match="Did you mean 'camera'"):
        SampleImage(Noisy(), "cammera")
