"""Stopping rules on outputs whose statistics are computed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from dip_lightning.callbacks import EarlyStoppingEMV, EarlyStoppingWMV, OutputAveraging, StoppingRule
from dip_lightning.errors import ConfigurationError
from tests.callbacks.scripted import constant_images, denoising, scripted
from tests.support import fit

# Differences 4, 2, 1, 0.5, 1.5, 3, 4, ...: with a window of 2 the variance is (difference / 2)^2, smallest at the
# fifth output, 0.0625.
LEVELS = [0, 4, 6, 7, 7.5, 9, 12, 16, 21, 27, 34, 42]
OTHER = [0, 8, 14, 18, 21, 23, 24, 24.5, 26, 29, 34, 42]  # smallest at the eighth


class Values(pl.Callback):
    """Keep a column of the record."""

    def __init__(self, column: str = "stop_statistic") -> None:
        self.column = column
        self.values: dict[int, float] = {}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if self.column in pl_module.record:
            self.values[pl_module.iteration] = pl_module.record[self.column][0].item()


class ScriptedRule(StoppingRule):
    """A rule with a statistic that is written down."""

    rule = "scripted"

    def __init__(self, values: Sequence[float], patience: int, warmup: int = 0, **options: Any) -> None:
        super().__init__(patience, warmup, options.get("min_improvement", 0.0), options.get("action", "stop"))
        self.values = values

    def statistic(self, pl_module: Any) -> Tensor:
        return torch.tensor([self.values[pl_module.iteration - 1]])


def test_a_rule_without_a_name_is_told_so_when_it_is_made() -> None:
    class Nameless(StoppingRule):
        def statistic(self, pl_module: Any) -> Tensor:
            return pl_module.loss

    with pytest.raises(ConfigurationError, match="Nameless has no rule: write"):
        Nameless(4, 0, 0.0, "stop")


def test_stops_where_the_hand_says() -> None:
    images = constant_images(LEVELS)
    dip, rule, values = scripted(images), EarlyStoppingWMV(window=2, patience=3), Values()
    fit(dip, denoising(images), [rule, values])
    assert (dip.stopped_by, dip.iteration) == ("early_stopping_wmv", 8)
    assert torch.equal(dip.estimate, images[4])
    assert torch.equal(dip.last_output, images[7])
    assert rule.summary() == {
        "rule": "wmv_2",
        "action": "stop",
        "iteration": 5,
        "statistic": pytest.approx(0.0625),
        "stopped_at": 8,
    }
    assert values.values == pytest.approx({2: 4, 3: 1, 4: 0.25, 5: 0.0625, 6: 0.5625, 7: 2.25, 8: 4})


def test_sees_every_output_and_decides_once_in_an_outer_step() -> None:
    images = constant_images(LEVELS)
    dip, rule, values = scripted(images, inner_steps=2), EarlyStoppingWMV(window=2, patience=3), Values()
    fit(dip, denoising(images), [rule, values])
    assert values.values == pytest.approx({2: 4, 4: 0.25, 6: 0.5625, 8: 4})
    assert (dip.iteration, rule.summary()["iteration"]) == (8, 4)
    assert torch.equal(dip.estimate, images[3])


def test_without_enough_patience_spent_the_minimum_so_far_is_selected() -> None:
    images = constant_images(LEVELS)
    dip, rule = scripted(images), EarlyStoppingWMV(window=2, patience=100)
    fit(dip, denoising(images), [rule])
    assert dip.stopped_by == "outer_steps"
    assert torch.equal(dip.estimate, images[4])
    assert rule.summary()["stopped_at"] is None


def test_a_window_that_never_fills_selects_nothing() -> None:
    images = constant_images(LEVELS)
    dip, rule = scripted(images), EarlyStoppingWMV(window=50)
    fit(dip, denoising(images), [rule])
    assert torch.equal(dip.estimate, images[-1])
    assert rule.summary() == {"rule": "wmv_50", "action": "stop", "iteration": None, "statistic": None} | {
        "stopped_at": None
    }


def test_record_only_leaves_the_fit_and_its_estimate_alone() -> None:
    images = constant_images(LEVELS)
    dip, rule = scripted(images), EarlyStoppingWMV(window=2, patience=3, action="record")
    fit(dip, denoising(images), [rule])
    assert (dip.stopped_by, dip.iteration) == ("outer_steps", len(LEVELS))
    assert torch.equal(dip.estimate, images[-1])
    assert "selected" not in dip.reports
    assert torch.equal(dip.reports["recorded_wmv_2"], images[4])
    assert rule.summary()["iteration"] == 5
    assert rule.summary()["stopped_at"] == 8


def test_what_is_recorded_is_what_stopping_would_have_given() -> None:
    # A deeper minimum comes after patience has run out: a stopped fit would not have seen it.
    images = constant_images([*LEVELS[:9], 21, 21])
    dip, rule = scripted(images), EarlyStoppingWMV(window=2, patience=3, action="record")
    fit(dip, denoising(images), [rule])
    assert rule.summary()["iteration"] == 5


def test_exponential_variance_selects_its_smallest() -> None:
    images = constant_images(LEVELS)
    dip, rule, values = scripted(images), EarlyStoppingEMV(alpha=0.5, patience=2, warmup=4), Values()
    fit(dip, denoising(images), [rule, values])
    mean, variance, expected = 0.0, 0.0, {}
    for iteration, level in enumerate(LEVELS[1:], start=2):
        difference = level - mean
        mean += 0.5 * difference
        variance = 0.5 * (variance + 0.5 * difference**2)
        expected[iteration] = variance
    chosen = min((i for i in expected if i > 4), key=lambda i: expected[i])
    assert values.values == pytest.approx({i: v for i, v in expected.items() if i <= chosen + 2})
    assert (rule.summary()["iteration"], dip.iteration) == (chosen, chosen + 2)
    assert (dip.stopped_by, rule.summary()["rule"]) == ("early_stopping_emv", "emv_0.5")


def test_a_minimum_must_be_deeper_by_the_improvement_asked_for() -> None:
    images = constant_images([0.0] * 8)
    values = [10, 8, 7.9, 7.3, 7.3, 7.3, 7.3, 7.3]
    for improvement, chosen in ((0.0, 4), (0.05, 4), (0.1, 2), (0.5, 1)):
        rule = ScriptedRule(values, patience=100, min_improvement=improvement)
        fit(scripted(images), denoising(images), [rule])
        assert rule.summary()["iteration"] == chosen


@pytest.mark.parametrize("improvement", [0.0, 0.5])
def test_below_zero_only_what_is_lower_is_a_new_minimum(improvement: float) -> None:
    images = constant_images([0.0] * 6)
    rule = ScriptedRule([2.0, -1.0, -0.6, -0.9, -1.1, -1.05], patience=100, min_improvement=improvement)
    fit(scripted(images), denoising(images), [rule])
    assert rule.summary()["iteration"] == 5


def test_a_statistic_that_is_not_finite_neither_selects_nor_stops() -> None:
    nan, inf = float("nan"), float("inf")
    images = constant_images(range(8))
    dip, rule = scripted(images), ScriptedRule([nan, 3, -inf, nan, inf, nan, 4, 5], patience=3)
    fit(dip, denoising(images), [rule])
    assert rule.summary()["iteration"] == 2
    assert rule.summary()["stopped_at"] == 7  # the first finite value after patience ran out
    assert torch.equal(dip.estimate, images[1])


def test_warmup_is_left_out() -> None:
    images = constant_images(range(6))
    rule = ScriptedRule([0.1, 0.2, 5, 4, 6, 7], patience=100, warmup=2)
    fit(scripted(images), denoising(images), [rule])
    assert rule.summary()["iteration"] == 4


def test_each_member_has_its_own_minimum_and_the_fit_waits_for_all() -> None:
    images = constant_images(LEVELS, OTHER)
    dip, rule = scripted(images), EarlyStoppingWMV(window=2, patience=3)
    fit(dip, denoising(images), [rule])
    assert dip.iteration == 11
    assert [rule.summary(member)["iteration"] for member in range(2)] == [5, 8]
    assert [rule.summary(member)["stopped_at"] for member in range(2)] == [8, 11]
    for member, levels in enumerate((LEVELS, OTHER)):
        alone = scripted(constant_images(levels))
        fit(alone, denoising(images[:, member : member + 1]), [EarlyStoppingWMV(window=2, patience=3)])
        assert torch.equal(dip.estimate[member], alone.estimate[0])


def test_a_member_without_a_finite_statistic_keeps_the_last_output() -> None:
    class OneMember(ScriptedRule):
        def statistic(self, pl_module: Any) -> Tensor:
            return torch.cat([super().statistic(pl_module), torch.tensor([float("nan")])])

    images = constant_images(range(4), range(10, 14))
    dip, rule = scripted(images), OneMember([3, 2, 1, 0.5], patience=100)
    fit(dip, denoising(images), [rule])
    assert torch.equal(dip.estimate, images[3])
    assert rule.summary(1)["iteration"] is None


def test_with_averaging_the_average_is_selected() -> None:
    images = constant_images(LEVELS)
    dip = scripted(images)
    fit(dip, denoising(images), [OutputAveraging(0.5), EarlyStoppingWMV(window=2, patience=3)])
    average = LEVELS[0]
    for level in LEVELS[1:5]:
        average = 0.5 * (average + level)
    torch.testing.assert_close(dip.estimate, torch.full_like(dip.estimate, average))


def test_only_one_rule_can_stop() -> None:
    images = constant_images(LEVELS)
    with pytest.raises(ConfigurationError, match="action: record"):
        fit(scripted(images), denoising(images), [EarlyStoppingWMV(window=2), EarlyStoppingEMV()])


def test_rules_that_record_run_side_by_side() -> None:
    images = constant_images(LEVELS)
    rules = [EarlyStoppingWMV(window=2, patience=50), EarlyStoppingWMV(window=3, action="record")]
    columns = [Values(), Values("stop_statistic_wmv_3")]
    fit(scripted(images), denoising(images), [*rules, *columns])
    assert min(columns[0].values) == 2
    assert min(columns[1].values) == 3


class SaveAtEnd(pl.Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("patience", [3, 100])
def test_continued_after_a_stop(tmp_path: Path, patience: int) -> None:
    """A fit that was stopped stays stopped, unless it is given more patience."""
    images = constant_images(LEVELS)
    stopped = EarlyStoppingWMV(window=2, patience=3)
    fit(scripted(images), denoising(images), [stopped, SaveAtEnd(tmp_path / "end.ckpt")])
    dip, rule = scripted(images), EarlyStoppingWMV(window=2, patience=patience)
    fit(dip, denoising(images), [rule], ckpt_path=str(tmp_path / "end.ckpt"))
    expected = (8, "early_stopping_wmv", 8) if patience == 3 else (len(LEVELS), "outer_steps", None)
    assert (dip.iteration, dip.stopped_by, rule.summary()["stopped_at"]) == expected
    assert torch.equal(dip.estimate, images[4])


def test_more_patience_is_for_members_that_are_still_fitted(tmp_path: Path) -> None:
    images, path = constant_images(LEVELS, OTHER), tmp_path / "end.ckpt"
    fit(scripted(images), denoising(images), [EarlyStoppingWMV(window=2, patience=3), SaveAtEnd(path)])
    dip, rule = scripted(images), EarlyStoppingWMV(window=2, patience=100)
    fit(dip, denoising(images), [rule], ckpt_path=str(path))
    ends = [(dip.ending(member).reason, dip.ending(member).iteration) for member in range(2)]
    assert ends == [("early_stopping_wmv", 8), ("outer_steps", len(LEVELS))]
    assert [rule.summary(member)["iteration"] for member in range(2)] == [5, 8]
    assert [rule.summary(member)["stopped_at"] for member in range(2)] == [8, None]


@pytest.mark.parametrize(
    "options",
    [{"patience": 0}, {"min_improvement": 1.0}, {"min_improvement": -0.1}, {"window": 1}, {"action": "stopp"}],
)
def test_wrong_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        EarlyStoppingWMV(**options)
