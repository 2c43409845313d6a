"""CBSD68: the files as published, and what goes wrong with them."""

import numpy as np
import pytest
import torch
from PIL import Image

from dip_lightning.data import CBSD68
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.physics import AdditiveGaussian, Denoising


def write(folder, count=3):
    folder.mkdir(parents=True)
    for number in range(count):
        shape = (41, 65, 3) if number % 2 == 0 else (65, 41, 3)
        pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")
    return folder


@pytest.mark.parametrize("inside", [".", "original_png", "CBSD68/original_png"])
def test_finds_the_files_in_the_folder_as_cloned(tmp_path, inside):
    write(tmp_path / "set" / inside)
    image, name = CBSD68(Denoising(), str(tmp_path / "set")).image(1)
    assert image.shape == (3, 64, 32)
    assert name == "cbsd68_0001"
    assert CBSD68(Denoising(), str(tmp_path / "set"), multiple=1).image(0)[0].shape == (3, 41, 65)
    gray, name = CBSD68(Denoising(), str(tmp_path / "set"), gray=True, size=32).image(0)
    assert gray.shape == (1, 32, 32)
    assert name == "cbsd68_0000_gray"


def test_noise_has_its_seed(tmp_path):
    write(tmp_path / "set")
    options = {"acquisition": Denoising(AdditiveGaussian(30)), "path": str(tmp_path / "set")}
    first = CBSD68(**options).load([2])
    assert torch.equal(first.y, CBSD68(**options).load([2]).y)
    assert not torch.equal(first.y, CBSD68(**options, noise_seed=1).load([2]).y)
    assert (first.y - first.target).std() == pytest.approx(30 / 255, rel=0.05)
    assert first.metadata["noise_seeds"] == [2]


def test_bad_sets(tmp_path):
    folder = write(tmp_path / "set")
    with pytest.raises(ConfigurationError, match=r"asks for photograph 3.*has 3 PNG files"):
        CBSD68(Denoising(), str(folder), index=3).load([3])
    (folder / "0001.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(MeasurementError, match=r"0001\.png"):
        CBSD68(Denoising(), str(folder)).load([1])
    assert CBSD68(Denoising(), str(folder)).load([2]).ids == ("cbsd68_0002",)
    with pytest.raises(MeasurementError, match="datasets check CBSD68"):
        CBSD68(Denoising(), str(tmp_path / "none")).load([0])


def test_published_set(data_root):
    module = CBSD68(Denoising(AdditiveGaussian(15)), str(data_root / "cbsd68"), index=67)
    module.setup("fit")
    assert module.measurement.image_shape in {(3, 320, 480), (3, 480, 320)}
    with pytest.raises(ConfigurationError, match="has 68 PNG files"):
        module.image(68)
    psnr = -10 * torch.log10((module.measurement.initial - module.measurement.target).square().mean())
    assert psnr == pytest.approx(24.61, abs=0.05)  # 20 log10(255 / 15)
