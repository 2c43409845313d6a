"""Quick variants of the configurations of every task: the commands of docs/configuration.md, run as they stand."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from dip_lightning.cli import main

ROOT = Path(__file__).parents[1]
SECTION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").split("## Quick variants")[1]
COMMANDS = re.search(r"```bash\n(.*?)```", SECTION, flags=re.DOTALL)[1].splitlines()
TASKS = ("ct", "mri", "denoising", "inpainting", "deblurring")
STEPS = 300


def config_of(command: str) -> str:
    return Path(shlex.split(command)[3]).stem


def test_every_task_has_one() -> None:
    expected = {f"{method}_{task}" for method in ("aseqdip", "dip") for task in TASKS}
    assert {config_of(command) for command in COMMANDS} == expected | {"dip_superresolution", "dip_compressedsensing"}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=config_of)
def test_it_takes_less_than_a_minute(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    _, *arguments = shlex.split(command)
    assert main([*arguments, "--trainer.accelerator=cpu", f"--record.run_dir={tmp_path}"]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["iterations"] == STEPS
    assert summary["seconds"] < 60
