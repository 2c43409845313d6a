"""The benchmark programs: they run, and what they count is right."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import _common, _pages, table
from benchmarks.__main__ import COMMANDS
from benchmarks._problems import bare_loop, ct_measurement, fit
from benchmarks.networks import Traffic
from dip_lightning.inputs import minmax
from dip_lightning.networks import UNet, reinitialise

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_program(command: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{command}").main)


def test_the_bare_loop_makes_the_steps_that_a_fit_makes() -> None:
    """What overhead and peers compare is the same computation."""
    measurement, network = ct_measurement(16, views=6), UNet(channels=(4, 4))
    output = fit(network, measurement, 20).last_output
    again = UNet(channels=(4, 4))
    reinitialise(again, 0)
    expected = bare_loop(again, measurement.physics, measurement.y, minmax(measurement.initial), 20)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-4)


def test_traffic_counts_what_is_read_and_written() -> None:
    a, b = torch.rand(10, 10), torch.rand(10, 10)
    with Traffic() as traffic:
        (a + b).view(100)
    assert traffic.bytes == 3 * 100 * 4


def test_tables_say_what_was_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    page = "a\n<!-- table: scaling -->\nold\n<!-- end -->\nb\n"
    assert "python -m benchmarks scaling" in table.render(page)
    step = {"size": 64, "threads": 2, "median_ms": 12.345}
    (tmp_path / "scaling_cpu.json").write_text(json.dumps({"network": "small", "steps": {"x": step}}))
    rendered = table.render(page)
    assert "| small | 64 | 2 | 12.3 |" in rendered
    assert table.render(rendered) == rendered
    assert rendered.startswith("a\n")
    assert rendered.endswith("\nb\n")


def test_every_table_of_the_page_is_known() -> None:
    page = table.PAGE.read_text(encoding="utf-8")
    assert {match[2] for match in _pages.MARKED.finditer(page)} == set(table.TABLES)
    table.render(page)


def test_results_carry_machine_and_versions(tmp_path: Path) -> None:
    result = json.loads(_common.write_result("x", {"figure": 1}, tmp_path).read_text())
    assert {"machine", "versions", "time", "figure"} <= result.keys()
    assert _common.peak_memory_mib() > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        *("overhead", "operators", "denoisers", "networks", "settings", "stacked", "peers", "scaling", "profile"),
        *("gpu", "loading"),
    ],
)
def test_programs_run(command: str, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-m", "benchmarks", command, "--quick"], cwd=ROOT, env=environment, check=True, timeout=600
    )
    assert list((tmp_path / "dip_lightning_benchmarks").glob("*.json"))
