"""Another photograph as reference image."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dip_lightning.data import SampleImage, SimulatedMeasurements
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.physics import Denoising


def test_the_reference_is_the_other_photograph_framed_in_the_same_way() -> None:
    module = SampleImage(Denoising(), name="gravel", reference="grass", size=64, batch=2)
    module.setup("fit")
    alone = SampleImage(Denoising(), name="grass", size=64)
    alone.setup("fit")
    assert alone.measurement.target is not None
    assert torch.equal(module.measurement.reference, alone.measurement.target.expand(2, -1, -1, -1))
    assert module.measurement.metadata["reference"] == "grass"


def test_the_truth_is_no_reference() -> None:
    with pytest.raises(
        ConfigurationError, match=r"reference image grass is the ground truth of grass_64x64_0002 itself"
    ):
        SampleImage(Denoising(), name="grass", reference="grass", size=64, index=2).setup("fit")


def test_refuses_what_it_does_not_know_or_cannot_use() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 'grass'"):
        SampleImage(Denoising(), reference="gras")
    with pytest.raises(MeasurementError, match="reference"):
        SampleImage(Denoising(), name="astronaut", reference="camera", size=64).setup("fit")


@pytest.mark.parametrize("channels", [1, 2])
def test_an_image_without_a_name_is_refused(channels: int) -> None:
    class Nameless(SimulatedMeasurements):
        def image(self, index: int) -> Any:
            return torch.rand(channels, 8, 8)

    with pytest.raises(ConfigurationError, match=r"Nameless.image must return an image, \[C, H, W\], and its name"):
        Nameless(Denoising()).setup("fit")
