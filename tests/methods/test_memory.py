"""The estimate of memory, and what is done with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dip_lightning.errors import ConfigurationError
from dip_lightning.members import repeat_measurement
from dip_lightning.methods import DIP, memory
from dip_lightning.networks import SkipNet, SmallUNet, UNet
from tests.support import TinyNetwork, fit, matrix_measurement


def test_activations_are_counted_once_and_weights_fourfold() -> None:
    """A convolution keeps its input, ``tanh`` its output, which is the next convolution's input."""
    network = TinyNetwork(width=4)
    weights = sum(parameter.numel() for parameter in network.parameters())
    kept = (1 + 4) * 32 * 32
    expected = 4 * (memory._MARGIN * kept + 4 * weights)
    assert memory.member_bytes(network, torch.zeros(1, 1, 32, 32)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("network", [SmallUNet(), SkipNet(1, channels=(8, 8)), UNet(norm="group", channels=(8, 8))])
def test_it_grows_with_the_image(network: nn.Module) -> None:
    small, large = (memory.member_bytes(network, torch.zeros(1, 1, n, n)) for n in (256, 512))
    assert small is not None
    assert large is not None
    assert 3 < large / small < 4.1


def test_a_network_that_needs_numbers_has_no_estimate() -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight if float(x.sum()) >= 0 else x

    assert memory.member_bytes(Looks(), torch.zeros(1, 1, 4, 4)) is None
    memory.check_memory(Looks(), torch.zeros(9, 1, 4, 4), torch.device("cpu"))


def test_free_memory_is_a_plausible_number() -> None:
    free = memory.free_bytes(torch.device("cpu"))
    if Path("/proc/meminfo").exists():
        assert free is not None
        assert 0 < free < 2**50


def test_what_does_not_fit_is_refused_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    each = memory.member_bytes(UNet(channels=(4, 4)), torch.zeros(1, 32, 6, 6, dtype=torch.float64))
    assert each is None  # the input has 32 channels, the network one
    each = memory.member_bytes(UNet(32, channels=(4, 4)), torch.zeros(1, 32, 6, 6))
    assert each is not None
    monkeypatch.setattr(memory, "free_bytes", lambda device: 3 * each)
    measurement = matrix_measurement()

    dip = DIP(network=UNet(32, channels=(4, 4)), outer_steps=2)
    with pytest.raises(ConfigurationError, match=r"5 members at once need about .* at most 3"):
        fit(dip, repeat_measurement(measurement, 5))
    assert dip.iteration == 0
    fit(dip, repeat_measurement(measurement, 3))
    assert dip.iteration == 2
