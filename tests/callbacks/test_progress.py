"""The progress bar: lines outside a terminal, a bar inside, nothing in between refreshes."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from dip_lightning.callbacks import DIPProgress, ReconstructionMetrics
from dip_lightning.callbacks.progress import duration
from dip_lightning.errors import ConfigurationError
from tests.callbacks.scripted import constant_images, denoising, scripted
from tests.support import fit

IMAGES = constant_images([0.1 * step for step in range(8)])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(bar: DIPProgress, callbacks: list[Any] | None = None, **options: Any) -> Any:
    dip = scripted(IMAGES, inner_steps=2)
    measurement = denoising(IMAGES, target=torch.full_like(IMAGES[0], 0.5))
    fit(dip, measurement, [*(callbacks or []), bar], **{"enable_progress_bar": True, **options})
    return dip


def test_plain_lines_say_how_far_and_how_good(capsys: pytest.CaptureFixture[str]) -> None:
    run(DIPProgress(seconds=0), [ReconstructionMetrics()])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    pattern = r"dip: 4/8, [\d.]+ it/s, \d+:\d\d left, loss [\d.e-]+, PSNR 13.98 dB"
    assert re.fullmatch(pattern, lines[1])
    assert re.match(r"dip: stopped by outer_steps after 8 of 8 iterations, 0:\d\d, loss", lines[-1])


def test_lines_come_by_time_not_by_step(capsys: pytest.CaptureFixture[str]) -> None:
    run(DIPProgress(seconds=1000))
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_without_a_target_there_is_no_psnr(capsys: pytest.CaptureFixture[str]) -> None:
    run(DIPProgress(seconds=0))
    assert "PSNR" not in capsys.readouterr().out


def test_disabled_it_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    bar = DIPProgress(seconds=0)
    bar.disable()
    run(bar)
    assert capsys.readouterr().out == ""
    bar.enable()
    run(bar)
    assert capsys.readouterr().out


def test_a_resumed_fit_goes_on_counting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            if pl_module.outer_step == 2:
                trainer.save_checkpoint(tmp_path / "last.ckpt")

    run(DIPProgress(seconds=1000), [Save()])
    capsys.readouterr()
    run(DIPProgress(seconds=0), ckpt_path=str(tmp_path / "last.ckpt"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines[:2]] == ["dip: 6/8", "dip: 8/8"]
    assert "after 8 of 8" in lines[2]


@pytest.mark.parametrize("resumed", [False, True])
def test_members_that_have_stopped_are_left_out(
    resumed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class StopSecond(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            if pl_module.outer_step == 1:
                pl_module.stop_members([1], "test")
            if pl_module.outer_step == 2:
                trainer.save_checkpoint(tmp_path / "last.ckpt")

    images = constant_images([0.4] * 3, [0.9] * 3)
    measurement = denoising(images, target=torch.full_like(images[0], 0.5))
    for ckpt_path in (None, str(tmp_path / "last.ckpt"))[: 1 + resumed]:
        capsys.readouterr()
        callbacks = [ReconstructionMetrics(), StopSecond(), DIPProgress(seconds=1000)]
        fit(scripted(images), measurement, callbacks, enable_progress_bar=True, ckpt_path=ckpt_path)
    assert capsys.readouterr().out.endswith(", loss 0.16, PSNR 20.00 dB\n")


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("dip_lightning.callbacks.progress._BAR_SECONDS", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    bar = DIPProgress()
    run(bar, [ReconstructionMetrics()])
    shown = terminal.getvalue()
    assert "8/8" in shown
    assert "PSNR" in shown
    assert "stopped by outer_steps" in shown
    assert bar._bar is None


def test_the_terminal_is_given_back_when_a_fit_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fails(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise RuntimeError("broken")

    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    bar = DIPProgress()
    with pytest.raises(RuntimeError, match="broken"):
        run(bar, [Fails()])
    assert bar._bar is None


def test_durations() -> None:
    assert [duration(s) for s in (0, 59.6, 3599, 36000, float("inf"), float("nan"))] == [
        "0:00",
        "1:00",
        "59:59",
        "10:00:00",
        "?",
        "?",
    ]


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="seconds=-1"):
        DIPProgress(-1)
