"""Which data are held out, counted."""

from __future__ import annotations

import pytest
import torch

from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.held_out import fill_from_neighbours, held_out_mask
from dip_lightning.functional.random import MemberGenerators


def sampled(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, dtype=torch.bool)


def test_pixels_are_held_out_with_all_their_channels() -> None:
    held = held_out_mask(sampled(2, 3, 20, 10), 0.05, "element", MemberGenerators([0, 1]))
    assert held.flatten(1).sum(1).tolist() == [30, 30]
    assert torch.equal(held[:, 0], held[:, 2])
    assert not torch.equal(held[0], held[1])
    alone = held_out_mask(sampled(1, 3, 20, 10), 0.05, "element", MemberGenerators([1]))
    assert torch.equal(held[1:], alone)


def test_views_are_rows_and_lines_are_columns_of_all_coils() -> None:
    views = held_out_mask(sampled(1, 1, 20, 30), 0.1, "view", MemberGenerators([0]))[0, 0]
    assert views.all(1).sum() == views.any(1).sum() == 2
    lines = held_out_mask(sampled(1, 2, 4, 16, 40), 0.1, "line", MemberGenerators([0]))[0]
    assert lines.all((0, 1, 2)).sum() == lines.any((0, 1, 2)).sum() == 4


def test_only_measured_data_outside_the_centre_are_held_out() -> None:
    known = torch.zeros(1, 2, 8, 40, dtype=torch.bool)
    known[..., ::4] = True
    known[..., 18:22] = True
    for seed in range(20):
        held = held_out_mask(known, 0.4, "line", MemberGenerators([seed]), keep_centre=0.1)
        assert not (held & ~known).any()
        assert not held[..., 18:22].any()
        assert held[0, 0, 0].sum() == round(0.4 * 9)


def test_plain_vectors_have_elements_alone() -> None:
    assert held_out_mask(sampled(1, 40), 0.1, "element", MemberGenerators([0])).sum() == 4
    with pytest.raises(ConfigurationError, match="take 'element'"):
        held_out_mask(sampled(1, 40), 0.1, "view", MemberGenerators([0]))


def test_something_is_held_out_and_something_is_left() -> None:
    for fraction, count in ((1e-6, 1), (0.999, 3)):
        assert held_out_mask(sampled(1, 1, 4, 9), fraction, "view", MemberGenerators([0]))[..., 0].sum() == count
    with pytest.raises(ConfigurationError, match="Nothing can be held out of 1"):
        held_out_mask(sampled(1, 1, 1, 9), 0.5, "view", MemberGenerators([0]))


def test_neighbours_fill_the_gaps() -> None:
    y = torch.arange(25.0).view(1, 1, 5, 5)
    held = torch.zeros_like(y, dtype=torch.bool)
    held[..., 2, 2] = held[..., 0, 0] = True
    known = torch.ones_like(held)
    filled = fill_from_neighbours(y + 100 * held, held, known)
    assert filled[0, 0, 2, 2] == pytest.approx(12)
    assert filled[0, 0, 0, 0] == pytest.approx((1 + 5 + 6) / 3)
    assert torch.equal(filled[~held], y[~held])
    assert not fill_from_neighbours(y, torch.ones_like(held), known).any()


def test_holes_stand_in_for_nothing() -> None:
    y = torch.tensor([[[[0.0, 3.0, 9.0, 0.0, 0.0, 9.0]]]])
    held = torch.tensor([[[[False, False, True, False, False, True]]]])
    filled = fill_from_neighbours(y, held, y > 0)
    assert filled.flatten().tolist() == [0, 3, 3, 0, 0, 3]  # beside the one known value, and far from it
