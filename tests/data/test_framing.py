import numpy as np
import pytest
import torch

from dip_lightning.data.framing import Framing, centre_crop
from dip_lightning.errors import ConfigurationError, MeasurementError


def test_mean_pool_equals_numpy():
    image = torch.rand(3, 24, 36, generator=torch.Generator().manual_seed(0))
    pooled = Framing(size=(6, 12))(image, "a")
    blocks = image.double().numpy().reshape(3, 6, 4, 12, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(pooled.numpy(), blocks, atol=1e-6)


@pytest.mark.parametrize("resize", ["mean_pool", "bicubic", "bilinear"])
def test_constants_stay(resize):
    resized = Framing(size=8, resize=resize)(torch.full((1, 32, 32), 0.3), "a")
    torch.testing.assert_close(resized, torch.full((1, 8, 8), 0.3))


def test_bicubic_is_clipped():
    image = torch.zeros(1, 8, 8)
    image[:, :, 4:] = 1
    resized = Framing(size=32, resize="bicubic")(image, "a")
    assert resized.min() == 0
    assert resized.max() == 1


def test_order_square_resize_multiple():
    image = torch.zeros(1, 40, 60)
    image[:, :, 10:50] = 1  # exactly the centre square
    framed = Framing(size=20, square=True, multiple=16)(image, "a")
    assert framed.shape == (1, 16, 16)
    assert (framed == 1).all()


def test_centre_crop_keeps_the_centre():
    image = torch.arange(25.0).reshape(1, 5, 5)
    assert torch.equal(centre_crop(image, (1, 3)), torch.tensor([[[11.0, 12.0, 13.0]]]))
    # What is left over of an odd rest is at the end.
    assert torch.equal(centre_crop(image, (2, 4)), image[:, 1:3, :4])


def test_same_size_is_untouched():
    image = torch.rand(1, 7, 9)
    assert torch.equal(Framing()(image, "a"), image)
    assert torch.equal(Framing(size=(7, 9), resize="bicubic")(image, "a"), image)


@pytest.mark.parametrize(
    ("framing", "message"),
    [
        (Framing(size=12), "a.png is 24x36, not square"),
        (Framing(size=(7, 12)), "cannot bring to 7x12.*bicubic"),
        (Framing(size=(48, 72)), "cannot bring to 48x72"),
        (Framing(multiple=32), "a.png of 24x36 is smaller than 32"),
    ],
)
def test_images_that_do_not_fit(framing, message):
    with pytest.raises(MeasurementError, match=message):
        framing(torch.zeros(1, 24, 36), "a.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size=0"),
        ({"size": (4, -1)}, "size="),
        ({"multiple": 0}, "multiple=0"),
        ({"resize": "bicubik"}, "Did you mean 'bicubic'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        Framing(**arguments)
