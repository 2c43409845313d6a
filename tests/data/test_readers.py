"""Values of image files: what each type becomes, and what is refused."""

import warnings

import numpy as np
import pytest
import tifffile
import torch
from fake_data.images import write_deep_png
from PIL import Image, ImageOps

from dip_lightning.data.readers import read_image
from dip_lightning.errors import ConfigurationError, MeasurementError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def hwc(image):
    return image.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_eight_bits_are_divided_by_255(tmp_path, rng, suffix, shape):
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}")
    image = read_image(tmp_path / f"a{suffix}")
    assert image.dtype == torch.float32
    np.testing.assert_allclose(hwc(image), np.atleast_3d(pixels) / 255, atol=1e-7)


def test_jpeg_of_a_constant_keeps_it(tmp_path):
    Image.new("RGB", (16, 8), (51, 51, 51)).save(tmp_path / "a.jpg")
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == (3, 8, 16)
    np.testing.assert_allclose(image.numpy(), 0.2, atol=1 / 255)


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_do_not_overflow(tmp_path, rng, channels):
    """The full range, in which int16 arithmetic wraps around and an eight-bit reader loses the lower byte."""
    pixels = rng.integers(0, 65536, (5, 7, channels), dtype=np.uint16)
    pixels[0, 0], pixels[0, 1], pixels[0, 2] = 65535, 32768, 1
    truth = pixels / 65535
    tifffile.imwrite(tmp_path / "a.tif", pixels.squeeze())
    np.save(tmp_path / "a.npy", pixels.squeeze())
    names = ["a.tif", "a.npy"]
    if channels == 1:
        names.append(write_deep_png(tmp_path / "a.png", pixels).name)
    for name in names:
        np.testing.assert_allclose(hwc(read_image(tmp_path / name)), truth, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("compression", ["zlib", "tiff_lzw"])
def test_compressed_sixteen_bit_tiff(tmp_path, rng, compression):
    pixels = rng.integers(0, 65536, (8, 9), dtype=np.uint16)
    if compression == "zlib":
        tifffile.imwrite(tmp_path / "a.tif", pixels, compression=compression)
    else:
        Image.fromarray(pixels).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_allclose(read_image(tmp_path / "a.tif")[0].numpy(), pixels / 65535, atol=1e-7)


def test_palette_becomes_rgb(tmp_path):
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], dtype=np.uint8)
    palette = Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(tmp_path / "a.png")
    palette.save(tmp_path / "a.tif")
    assert Image.open(tmp_path / "a.png").mode == "P"
    for name in ("a.png", "a.tif"):
        np.testing.assert_allclose(hwc(read_image(tmp_path / name)), colours / 255, err_msg=name)


def test_black_and_white_png(tmp_path):
    pixels = np.array([[0, 255, 0], [255, 0, 255]], dtype=np.uint8)
    Image.fromarray(pixels).convert("1").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0].numpy(), pixels / 255)


def test_min_is_white_tiff_is_inverted(tmp_path):
    pixels = np.array([[0, 255, 100]], dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    np.testing.assert_allclose(read_image(tmp_path / "a.tif")[0].numpy(), (255 - pixels) / 255, atol=1e-7)


def test_compressed_tiff(tmp_path, rng):
    pixels = rng.integers(0, 256, (9, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_allclose(read_image(tmp_path / "a.tif")[0].numpy(), pixels / 255, atol=1e-7)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_dropped_with_a_warning_where_it_matters(tmp_path, mode):
    image = Image.new(mode, (4, 3), (200,) * (len(mode) - 1) + (255,))
    image.save(tmp_path / "opaque.png")
    image.putalpha(100)
    image.save(tmp_path / "clear.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opaque = read_image(tmp_path / "opaque.png")
    with pytest.warns(UserWarning, match=r"clear\.png has transparent pixels"):
        clear = read_image(tmp_path / "clear.png")
    assert torch.equal(opaque, clear)
    assert opaque.shape == (len(mode) - 1, 3, 4)


def test_orientation_tag_is_applied(tmp_path, rng):
    pixels = np.zeros((16, 32), dtype=np.uint8)
    pixels[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    image = read_image(tmp_path / "a.jpg")[0]
    assert image.shape == (32, 16)
    assert image[:16].mean() > 0.9
    assert image[16:].mean() < 0.1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3])
def test_orientation_of_a_tiff_is_applied_as_pillow_applies_it(tmp_path, rng, orientation, channels):
    pixels = rng.integers(0, 256, (4, 6, channels), dtype=np.uint8).squeeze()
    options = {"photometric": "rgb" if channels == 3 else "minisblack", "compression": "zlib"}  # Pillow maps others
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[(274, "H", 1, orientation, True)], **options)
    with Image.open(tmp_path / "a.tif") as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened))
    np.testing.assert_allclose(hwc(read_image(tmp_path / "a.tif")), np.atleast_3d(upright) / 255, atol=1e-7)


@pytest.mark.parametrize("mode", ["I", "I;16"])
def test_sixteen_bit_grey_png_in_any_pillow(tmp_path, rng, monkeypatch, mode):
    """Pillow changed the mode in which it gives them."""
    pixels = rng.integers(0, 65536, (5, 7), dtype=np.uint16)
    write_deep_png(tmp_path / "a.png", pixels)

    def converted(path, real=Image.open):
        image = real(path)
        image.load()
        other = Image.fromarray(np.asarray(image).astype(np.int32 if mode == "I" else np.uint16))
        other.format = image.format
        assert other.mode == mode
        return other

    monkeypatch.setattr(Image, "open", converted)
    np.testing.assert_allclose(read_image(tmp_path / "a.png")[0].numpy(), pixels / 65535, atol=1e-7)


def test_byte_order_does_not_matter(tmp_path, rng):
    pixels = rng.integers(0, 65536, (5, 7), dtype=np.uint16)
    for order in "<>":
        np.save(tmp_path / "a.npy", pixels.astype(f"{order}u2"))
        np.testing.assert_allclose(read_image(tmp_path / "a.npy")[0].numpy(), pixels / 65535, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_taken_as_they_are(tmp_path, rng, dtype):
    pixels = rng.random((4, 6)).astype(dtype)
    np.save(tmp_path / "a.npy", pixels)
    np.testing.assert_allclose(read_image(tmp_path / "a.npy")[0].numpy(), pixels.astype(np.float64), atol=1e-7)


def test_float_tiff_outside_the_unit_range_needs_a_window(tmp_path):
    pixels = np.array([[-5.0, 0.0, 5.0, 20.0]], dtype=np.float32)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    with pytest.raises(MeasurementError, match=r"a\.tif holds floating-point values from -5 to 20.*data\.window: \[-5"):
        read_image(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif", window=(0, 10))
    np.testing.assert_allclose(image[0].numpy(), [[0, 0, 0.5, 1]])


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32, np.int64])
def test_integers_without_a_full_scale_need_a_window(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.array([[0, 30000]], dtype=dtype))
    with pytest.raises(MeasurementError, match=f"{np.dtype(dtype)} values from 0 to 30000.*full scale"):
        read_image(tmp_path / "a.npy")


def test_window_arithmetic_does_not_overflow_int16(tmp_path):
    """32767 - (-32768) is -1 in int16."""
    np.save(tmp_path / "a.npy", np.array([[-32768, 0, 32767]], dtype=np.int16))
    image = read_image(tmp_path / "a.npy", window=(-32768, 32767))
    np.testing.assert_allclose(image[0].numpy(), [[0, 32768 / 65535, 1]], atol=1e-7)


def test_npy_axes(tmp_path, rng):
    pixels = rng.random((3, 8, 9)).astype(np.float32)
    np.save(tmp_path / "chw.npy", pixels)
    np.save(tmp_path / "hwc.npy", np.moveaxis(pixels, 0, -1))
    assert torch.equal(read_image(tmp_path / "chw.npy"), torch.from_numpy(pixels))
    assert torch.equal(read_image(tmp_path / "hwc.npy"), torch.from_numpy(pixels))


def test_gray_is_the_luma_that_pillow_uses(tmp_path, rng):
    pixels = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    gray = read_image(tmp_path / "a.png", gray=True)
    assert gray.shape == (1, 6, 5)
    pillow = np.asarray(Image.fromarray(pixels).convert("L")) / 255
    np.testing.assert_allclose(gray[0].numpy(), pillow, atol=1 / 255)


def unreadable_files(tmp_path):
    """Every file that must be refused, with a piece of the message."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "tif"):
        Image.fromarray(noise).save(tmp_path / f"whole.{suffix}")
        content = (tmp_path / f"whole.{suffix}").read_bytes()
        (tmp_path / f"cut.{suffix}").write_bytes(content[: len(content) // 2])
        yield f"cut.{suffix}", "truncated"
        (tmp_path / f"text.{suffix}").write_text("not an image")
        yield f"text.{suffix}", "not what its name says"
    write_deep_png(tmp_path / "deep.png", noise.astype(np.uint16))
    yield "deep.png", "16-bit colours"
    Image.fromarray(noise[..., 0].astype(np.uint16)).save(tmp_path / "key.png", transparency=5)
    yield "key.png", "16-bit colours or transparency"
    np.save(tmp_path / "whole.npy", noise)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:1000])
    yield "cut.npy", "truncated"
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    yield "objects.npy", "cannot be read"
    np.save(tmp_path / "nan.npy", np.array([[0.5, np.nan], [np.inf, 0.1]]))
    yield "nan.npy", "holds 2 NaN or infinite values of 4"
    np.save(tmp_path / "complex.npy", np.ones((4, 4), dtype=complex))
    yield "complex.npy", "needs real numbers"
    np.save(tmp_path / "text.npy", np.array([["a"]]))
    yield "text.npy", "needs real numbers"
    np.save(tmp_path / "volume.npy", np.zeros((8, 8, 8)))
    yield "volume.npy", r"shape \[8, 8, 8\]"
    np.save(tmp_path / "none.npy", np.zeros((0, 4)))
    yield "none.npy", "empty image"
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((5, 8, 8), dtype=np.uint8), photometric="minisblack")
    yield "stack.tif", "holds 5 images"
    (tmp_path / "zero.png").touch()
    yield "zero.png", "empty"
    (tmp_path / "a.xyz").write_text("x")
    yield "a.xyz", "no known kind"
    yield "absent.png", "does not exist"
    (tmp_path / "folder.png").mkdir()
    yield "folder.png", "is a folder"


def test_what_cannot_be_used_is_refused_by_name(tmp_path):
    for name, message in unreadable_files(tmp_path):
        with pytest.raises(MeasurementError, match=message) as caught:
            read_image(tmp_path / name)
        assert name in str(caught.value)


@pytest.mark.parametrize("window", [(1, 1), (5, -5), (0, float("nan")), (0, 1, 2)])
def test_bad_window(tmp_path, window):
    with pytest.raises(ConfigurationError, match="window="):
        read_image(tmp_path / "a.png", window=window)
