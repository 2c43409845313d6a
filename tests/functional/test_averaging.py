"""Averages against their closed forms."""

from __future__ import annotations

import torch

from dip_lightning.functional.averaging import RunningMean, move_average


def test_exponential_average_is_the_geometric_sum() -> None:
    values, weight = torch.rand(20, 1, 1, 3, 3, dtype=torch.float64), 0.9
    average = values[0].clone()
    for value in values[1:]:
        assert move_average(average, value, weight) is average
    powers = weight ** torch.arange(19, -1, -1, dtype=torch.float64)
    powers[1:] *= 1 - weight  # the first value carries the whole past
    torch.testing.assert_close(average, torch.einsum("t,tbchw->bchw", powers, values))


def test_running_mean_is_the_mean_in_float64() -> None:
    values = 1000 + torch.rand(300, 2, 1, 3, 3)
    mean = RunningMean()
    assert mean.compute() is None
    for value in values:
        mean.update(value)
    torch.testing.assert_close(mean.compute(), values.double().mean(0), rtol=1e-14, atol=0)


def test_running_mean_continues_from_a_copy() -> None:
    mean, other = RunningMean(), RunningMean()
    value = torch.rand(1, 1, 2, 2, dtype=torch.float64)
    mean.update(value)
    state = mean.state_dict()
    mean.update(value + 1)
    other.load_state_dict(state)
    assert torch.equal(other.compute(), value)
