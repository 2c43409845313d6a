"""The command line as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from dip_lightning.cli import main

CONFIG = Path(__file__).parents[1] / "configs" / "demo.yaml"
SMALL = [f"--config={CONFIG}", "--data.size=32", "--model.outer_steps=2", "--model.inner_steps=2"]


def test_fit_test_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = [*SMALL, f"--trainer.default_root_dir={tmp_path}"]
    assert main(["fit", *small]) == 0
    run = tmp_path / "aseqdip_ct" / "shepp_logan_32" / "seed0"
    assert f"Results: {run}" in capsys.readouterr().out
    assert {path.name for path in run.iterdir()} == {
        *("config.yaml", "metrics.csv", "reconstruction.h5", "summary.json", "preview.png", "checkpoints")
    }
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["method"], summary["task"], summary["iterations"]) == ("aseqdip", "ct", 4)
    assert (summary["metrics"]["data_range"], summary["metrics"]["clipped_to"]) == (1.0, [0.0, 1.0])
    assert summary["nmse"].keys() == summary["psnr"].keys()
    header, *rows = (run / "metrics.csv").read_text().splitlines()
    assert header.split(",")[:3] == ["iteration", "seconds", "loss"]
    assert [row.split(",")[0] for row in rows] == ["2", "4"]

    assert main(["test", *small]) == 0
    scored = capsys.readouterr().out
    assert f"{summary['psnr']['estimate']:.4f}"[:5] in scored

    assert main(["predict", *small]) == 0
    with h5py.File(run / "reconstruction.h5") as file:
        assert np.array_equal(np.load(run / "prediction.npy"), file["estimate"])


def test_a_run_repeats_from_its_own_config(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["fit", *SMALL, f"--record.run_dir={first}", "--seed_everything=4"]) == 0
    assert main(["fit", f"--config={first / 'config.yaml'}", f"--record.run_dir={second}"]) == 0
    with h5py.File(first / "reconstruction.h5") as a, h5py.File(second / "reconstruction.h5") as b:
        assert np.array_equal(a["estimate"], b["estimate"])
    resolved = yaml.safe_load((second / "config.yaml").read_text())
    assert resolved["seed_everything"] == 4


def test_a_fit_without_a_progress_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = [*SMALL, f"--record.run_dir={tmp_path}", "--trainer.enable_progress_bar=false"]
    assert main(["fit", *small]) == 0
    assert "stopped by" not in capsys.readouterr().out
    assert (tmp_path / "summary.json").exists()
    assert main(["test", *small]) == 0


def test_a_finished_run_is_not_replaced_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = [*SMALL, f"--record.run_dir={tmp_path}", "--record.preview=false"]
    assert main(["fit", *small]) == 0
    before = (tmp_path / "summary.json").read_bytes()
    capsys.readouterr()
    assert main(["fit", *small]) == 2
    assert "finished run" in capsys.readouterr().err
    assert (tmp_path / "summary.json").read_bytes() == before
    assert main(["fit", *small, "--record.overwrite=true"]) == 0
    assert main(["fit", *small, "--ckpt_path=last", "--model.outer_steps=3"]) == 0
    assert json.loads((tmp_path / "summary.json").read_text())["iterations"] == 6
    # A continued run is repeated from its beginning.
    assert "ckpt_path" not in yaml.safe_load((tmp_path / "config.yaml").read_text())
    again = tmp_path / "again"
    assert main(["fit", f"--config={tmp_path / 'config.yaml'}", f"--record.run_dir={again}"]) == 0
    assert len((again / "metrics.csv").read_text().splitlines()) == 1 + 3


def test_repeating_a_run_that_replaced_another_does_not_replace_it(tmp_path: Path) -> None:
    assert main(["fit", *SMALL, f"--record.run_dir={tmp_path}", "--record.overwrite=true"]) == 0
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["record"]["overwrite"] is False
    before = (tmp_path / "summary.json").read_bytes()
    assert main(["fit", f"--config={tmp_path / 'config.yaml'}"]) == 2
    assert (tmp_path / "summary.json").read_bytes() == before
    assert main(["test", f"--config={tmp_path / 'config.yaml'}"]) == 0


@pytest.mark.parametrize("command", [["--version"], ["fit", "--help"], ["fit", *SMALL, "--print_config"]])
def test_help_version_and_print_config(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(command)
    assert exit_.value.code in (0, None)
    assert capsys.readouterr().out


def test_another_class_keeps_the_options_that_it_has_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", *SMALL, "--data=ImageFile", "--data.path=image.png", "--print_config"])
    options = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]
    assert options["size"] == 32
    assert options["acquisition"]["init_args"]["views"] == 30
    assert "kind" not in options


def test_the_module_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dip_lightning", "fit", "--config=nowhere.yaml"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_an_unreadable_output_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    assert main(["fit", *SMALL, f"--record.run_dir={blocker / 'run'}"]) == 2
    assert "Cannot write" in capsys.readouterr().err
    assert blocker.read_text() == "in the way"


def test_an_image_too_small_for_the_network_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = CONFIG.with_name("dip_ct.yaml")
    assert main(["fit", f"--config={config}", "--data.size=32", f"--record.run_dir={tmp_path}"]) == 2
    assert "too small for the network" in capsys.readouterr().err


def test_a_module_in_the_working_directory_is_found(tmp_path: Path) -> None:
    """Also by the installed script, whose own folder Python puts first in the path."""
    (tmp_path / "beside.py").write_text(
        "from dip_lightning.methods import DIP\n\n\nclass Mine(DIP):\n    name = 'mine'\n"
    )
    script = "import sys; sys.path[0] = '/nowhere'; from dip_lightning.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "fit", f"--config={CONFIG}", "--model=beside.Mine", "--print_config"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "class_path: beside.Mine" in run.stdout
