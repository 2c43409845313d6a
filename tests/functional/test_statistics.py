"""Running statistics against the naive float64 computation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.statistics import ExponentialMovingVariance, RunningStatistic, WindowedMovingVariance

WINDOW = 100


def iterates(spread: float, dtype: torch.dtype, drift: float = 0.0, count: int = 1000) -> Tensor:
    """Images around 0.5, two members, with noise and a drift; the spread of the second member is twice as large."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(count, 2, 1, 6, 5, generator=generator, dtype=torch.float64)
    noise[:, 1] *= 2
    ramp = torch.linspace(0, drift, count, dtype=torch.float64)[:, None, None, None, None]
    return (0.5 + ramp + spread * noise).to(dtype)


def naive_windowed(images: Tensor) -> Tensor:
    """Mean over the window of the mean square distance to the window's mean, ``[B]``."""
    images = images.double().flatten(2)
    return (images - images.mean(0)).square().mean(2).mean(0)


CASES = [(0.1, torch.float32, 0.0), (1e-6, torch.float32, 0.0), (1e-5, torch.float32, 0.4), (1e-9, torch.float64, 0.0)]


@pytest.mark.parametrize(("spread", "dtype", "drift"), CASES)
def test_windowed_variance_is_the_naive_one(spread: float, dtype: torch.dtype, drift: float) -> None:
    images = iterates(spread, dtype, drift)
    statistic = WindowedMovingVariance(WINDOW)
    for number, image in enumerate(images, start=1):
        statistic.update(image)
        value = statistic.compute()
        if number < WINDOW:
            assert value is None
        else:
            assert value is not None
            assert value.dtype == torch.float64
            torch.testing.assert_close(value, naive_windowed(images[number - WINDOW : number]), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("spread", "dtype", "drift"), CASES)
def test_exponential_variance_is_the_naive_one(spread: float, dtype: torch.dtype, drift: float) -> None:
    images, alpha = iterates(spread, dtype, drift), 0.1
    statistic = ExponentialMovingVariance(alpha)
    mean, variance = images[0].double(), torch.zeros(2, dtype=torch.float64)
    statistic.update(images[0])
    assert statistic.compute() is None
    for image in images[1:]:
        difference = image.double() - mean
        mean = mean + alpha * difference
        variance = (1 - alpha) * (variance + alpha * difference.flatten(1).square().mean(1))
        statistic.update(image)
        torch.testing.assert_close(statistic.compute(), variance, rtol=1e-6, atol=0)


def test_constant_iterates_have_no_variance() -> None:
    image = torch.rand(1, 1, 8, 8)
    for statistic in (WindowedMovingVariance(5), ExponentialMovingVariance()):
        for _ in range(17):
            statistic.update(image)
        assert statistic.compute() == 0


def test_members_do_not_mix() -> None:
    images = iterates(0.1, torch.float32, count=30)
    together, alone = WindowedMovingVariance(7), WindowedMovingVariance(7)
    for image in images:
        together.update(image)
        alone.update(image[1:])
    both, one = together.compute(), alone.compute()
    assert both is not None
    assert one is not None
    torch.testing.assert_close(both[1:], one, rtol=1e-12, atol=0)


def test_iterates_are_not_kept_by_reference() -> None:
    for statistic in (WindowedMovingVariance(3), ExponentialMovingVariance()):
        image = torch.rand(1, 1, 4, 4, dtype=torch.float64)
        for _ in range(4):
            statistic.update(image)
        image += torch.rand_like(image)
        assert statistic.compute() == 0


@pytest.mark.parametrize("cut", [1, 37, 100, 111])
@pytest.mark.parametrize("make", [lambda: WindowedMovingVariance(20), ExponentialMovingVariance])
def test_saved_and_restored_goes_on_to_the_last_bit(make: type[RunningStatistic], cut: int) -> None:
    images = iterates(0.1, torch.float32, count=150)
    through, before, after = make(), make(), make()
    for image in images:
        through.update(image)
    for image in images[:cut]:
        before.update(image)
    after.load_state_dict(before.state_dict())
    before.update(torch.full_like(images[0], 9.0))  # what was saved is a copy
    for image in images[cut:]:
        after.update(image)
    assert torch.equal(through.compute(), after.compute())
    after.reset()
    assert after.compute() is None


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="window=1"):
        WindowedMovingVariance(1)
    with pytest.raises(ConfigurationError, match="alpha=1"):
        ExponentialMovingVariance(1.0)


def test_a_not_finite_iterate_is_forgotten_with_its_window() -> None:
    statistic, images = WindowedMovingVariance(5), iterates(0.1, torch.float32, count=15)
    statistic.update(torch.full_like(images[0], torch.nan))
    for image in images:
        statistic.update(image)
    torch.testing.assert_close(statistic.compute(), naive_windowed(images[-5:]), rtol=1e-6, atol=0)


class Elements(TorchDispatchMode):
    """Counts the elements that operations give."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        self.count += given.numel() if isinstance(given, Tensor) else 0
        return given


def test_an_update_costs_a_few_passes_over_one_image_whatever_the_window() -> None:
    image, passes = torch.rand(1, 1, 32, 32), []
    for window in (10, WINDOW):
        statistic = WindowedMovingVariance(window)
        statistic.update(image)
        with Elements() as elements:
            for _ in range(2 * window):
                statistic.update(image)
                statistic.compute()
        passes.append(elements.count / (2 * window * image.numel()))
    assert passes[1] == pytest.approx(passes[0], rel=0.1)
    assert passes[1] < 20
