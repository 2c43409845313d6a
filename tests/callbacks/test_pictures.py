"""Pictures on disk and in loggers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.loggers.logger import DummyLogger

from dip_lightning.callbacks import Pictures
from dip_lightning.callbacks._image_logging import log_image, to_grey_levels
from dip_lightning.callbacks.pictures import log_spaced
from dip_lightning.errors import ConfigurationError
from tests.callbacks.scripted import constant_images, denoising, scripted
from tests.support import fit

LEVELS = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


class Folders(pl.Callback):
    """Stands for the callback that owns the run folders."""

    def __init__(self, *folders: Path) -> None:
        self.folders = list(folders)


class ImageLogger(DummyLogger):
    """Takes images as WandbLogger does."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[tuple[str, Any, int]] = []

    def log_image(self, key: str, images: list[Any], step: int | None = None, **_: Any) -> None:
        assert len(images) == 1
        assert step is not None
        self.images.append((key, images[0], step))


def grey(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_files_at_the_chosen_outer_steps(tmp_path: Path) -> None:
    images = constant_images(LEVELS)
    fit(scripted(images, inner_steps=2), denoising(images), [Pictures(at=[1, 3]), Folders(tmp_path)])
    folder = tmp_path / "pictures"
    assert sorted(path.name for path in folder.iterdir()) == ["iteration_000002.png", "iteration_000006.png"]
    assert (grey(folder / "iteration_000002.png") == 51).all()
    assert (grey(folder / "iteration_000006.png") == 255).all()


def test_without_run_folders_they_go_under_the_root(tmp_path: Path) -> None:
    images = constant_images(LEVELS)
    fit(scripted(images), denoising(images), [Pictures(at=[6])], default_root_dir=tmp_path)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["iteration_000006.png"]


def test_each_member_has_its_own(tmp_path: Path) -> None:
    images, logger = constant_images(LEVELS, LEVELS[::-1]), ImageLogger()
    folders = Folders(tmp_path / "a", tmp_path / "b")
    fit(scripted(images), denoising(images), [Pictures(at=[2]), folders], logger=logger)
    assert (grey(tmp_path / "a/pictures/iteration_000002.png") == 51).all()
    assert (grey(tmp_path / "b/pictures/iteration_000002.png") == 204).all()
    assert [(key, step) for key, _, step in logger.images] == [("estimate_0", 2), ("estimate_1", 2)]
    assert (logger.images[1][1] == 204).all()


def test_a_folder_that_cannot_be_written_costs_the_picture_alone(tmp_path: Path) -> None:
    (tmp_path / "pictures").write_text("a file where the folder should be")
    images = constant_images(LEVELS)
    dip = scripted(images)
    with pytest.warns(UserWarning, match="No picture of iteration 2"):
        fit(dip, denoising(images), [Pictures(at=[2]), Folders(tmp_path)])
    assert dip.stopped_by == "outer_steps"


def test_complex_images_by_magnitude(tmp_path: Path) -> None:
    image = torch.zeros(1, 1, 2, 2, 2)
    image[..., 0, 0, :] = torch.tensor([3.0, -1.5])
    image[..., 1, 0, :] = torch.tensor([4.0, 2.0])
    fit(scripted(image), denoising(image, value_range=None, magnitude=True), [Pictures([1]), Folders(tmp_path)])
    assert grey(tmp_path / "pictures/iteration_000001.png").tolist() == [[255, 128], [0, 0]]


def test_three_channels_are_colours(tmp_path: Path) -> None:
    image = torch.tensor([1.0, 0.5, 0.0])[None, None, :, None, None].expand(1, 1, 3, 4, 5).clone()
    fit(scripted(image), denoising(image), [Pictures([1]), Folders(tmp_path)])
    picture = grey(tmp_path / "pictures/iteration_000001.png")
    assert picture.shape == (4, 5, 3)
    assert picture[0, 0].tolist() == [255, 128, 0]


def test_grey_levels_of_what_is_not_finite_or_constant() -> None:
    assert to_grey_levels(np.array([[np.nan, np.inf, -np.inf, 2.0]]), None).tolist() == [[0, 0, 0, 255]]
    assert to_grey_levels(np.zeros((1, 2)), None).tolist() == [[0, 0]]
    assert to_grey_levels(np.full((1, 2), -3.0), None).tolist() == [[0, 0]]
    assert to_grey_levels(np.array([[-5.0, -3.0, -1.0]]), None).tolist() == [[0, 128, 255]]
    assert to_grey_levels(np.array([[-1.0, 0.0, 3.0]]), None).tolist() == [[0, 64, 255]]
    assert to_grey_levels(np.array([[-5.0, -1.0, 0.0, 3.0]]), (-1.0, 1.0)).tolist() == [[0, 0, 128, 255]]


def test_loggers_of_both_kinds_take_images_and_others_are_left_alone() -> None:
    seen: list[tuple[Any, ...]] = []
    board = SimpleNamespace(
        experiment=SimpleNamespace(add_image=lambda *a, dataformats: seen.append((*a, dataformats)))
    )
    grey_image, colour = np.zeros((2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)
    assert log_image(board, "x", grey_image, 7)
    assert log_image(board, "x", colour, 8)
    assert [(name, step, layout) for name, _, step, layout in seen] == [("x", 7, "HW"), ("x", 8, "HWC")]
    assert not log_image(SimpleNamespace(experiment=object()), "x", grey_image, 7)
    assert not log_image(SimpleNamespace(), "x", grey_image, 7)


@pytest.mark.parametrize(("count", "last"), [(10, 2000), (10, 5), (1, 9), (4, 1)])
def test_log_spaced_steps_have_both_ends(count: int, last: int) -> None:
    steps = log_spaced(count, last)
    assert max(steps) == last
    assert len(steps) <= count
    assert min(steps) == (1 if count > 1 else last)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="at="):
        Pictures(at=[0])
