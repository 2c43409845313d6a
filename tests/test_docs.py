"""What the documentation says is true: its code runs, and what it refers to exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from dip_lightning.inputs import InitialEstimate
from dip_lightning.methods import DIP
from tests.support import TinyNetwork, fit, matrix_measurement

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def code_of(page: Path, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def test_the_method_and_the_callback_of_the_extending_page_run() -> None:
    names: dict[str, Any] = {}
    for block in code_of(ROOT / "docs" / "extending.md"):
        exec(block, names)
    callback = names["LargestChange"]()
    method = names["EdgeDIP"](weight=0.2, network=TinyNetwork(), initial_input=InitialEstimate(), outer_steps=3)
    fit(method, matrix_measurement(), [callback])
    assert set(method.terms) == {"data", "edges"}
    edges = method.last_output.diff(dim=-1).abs().sum()
    assert method.terms["edges"].item() == pytest.approx(0.2 * edges.item())
    assert method.record["largest_change"].item() == callback.change.item() > 0
    assert method.name == "edgedip"


def test_the_code_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in code_of(ROOT / "README.md"):
        exec(block, names)
    assert names["image"].shape == (1, 1, 64, 64)
    assert (tmp_path / "aseqdip_ct" / "shepp_logan_64" / "seed0" / "summary.json").exists()
    scan = names["scan"]
    y = scan.physics((1, 16, 16)).A(torch.rand(1, 1, 16, 16))
    data = names["InMemory"](scan.accept(y, ids=["mine"], image_shape=(1, 16, 16)))
    recorded = names["Residual"]()
    dip = DIP(network=TinyNetwork(), initial_input=InitialEstimate(), outer_steps=2)
    fit(dip, data.measurement, [recorded])
    expected = (data.measurement.physics.A(dip.last_output) - y).norm()
    assert dip.record["residual"].item() == pytest.approx(expected.item())


def test_the_new_method_on_the_page_is_short() -> None:
    assert len(code_of(ROOT / "docs" / "extending.md")[0].splitlines()) < 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_configs_exist(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
    for config in re.findall(r"\bconfigs/[\w/]+\.yaml", text):
        assert (ROOT / config).exists(), f"{page.name} names {config}"
