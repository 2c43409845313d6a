"""What the documentation says is true: its code runs, and what it refers to exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from dip_lightning.cli import main
from dip_lightning.data.htc2022 import FIELD_MM
from dip_lightning.inputs import InitialEstimate
from dip_lightning.methods import DIP
from tests.support import TinyNetwork, fit, matrix_measurement

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
METHODS = sorted((ROOT / "docs" / "methods").glob("*.md"))
#: Put behind the commands of the pages: a few steps, small images and networks. Later options win.
SHORT = {
    "fit": ["--model.outer_steps=2", "--model.inner_steps=1", "--record.preview=false", "--record.overwrite=true"],
    "pretrain": ["--data.images=8", "--data.batch_size=2", "--data.validation_images=1", "--trainer.max_epochs=1"],
}
SHORTER = {
    "edip": ["--data.size=64", "--model.network.channels=[4,4,4,4,4]"],
    "mask_steps": ["--model.mask_steps=1"],
    "--model.dim": ["--model.dim=2"],
    "pretrain ": ["--data.workers=0", "--trainer.callbacks.every=1", "--trainer.enable_progress_bar=false"],
}


def code_of(page: Path, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def test_the_method_and_the_callback_of_the_extending_page_run() -> None:
    names: dict[str, Any] = {}
    for block in code_of(ROOT / "docs" / "extending.md"):
        exec(block, names)
    callback = names["LargestChange"]()
    method = names["EdgeDIP"](weight=0.2, network=TinyNetwork(), initial_input=InitialEstimate(), outer_steps=3)
    rule = names["LeastVariation"]()
    fit(method, matrix_measurement(), [callback, rule])
    assert set(method.terms) == {"data", "edges"}
    edges = method.last_output.diff(dim=-1).abs().sum()
    assert method.terms["edges"].item() == pytest.approx(0.2 * edges.item())
    assert method.record["largest_change"].item() == callback.change.item() > 0
    assert method.name == "edgedip"
    assert rule.summary()["rule"] == "least_variation"
    assert rule.summary()["iteration"]


def test_the_acquisition_and_the_images_of_the_extending_page_are_a_measurement() -> None:
    names: dict[str, Any] = {}
    for block in code_of(ROOT / "docs" / "extending.md"):
        exec(block, names)
    data = names["Ramps"](names["Shade"](noise=0.1), index=2)
    data.setup("fit")
    measurement = data.measurement
    assert measurement.task == "shade"
    assert measurement.ids == ("ramp_2",)
    clean = torch.linspace(0, 1, 64) ** 3 * torch.linspace(0.2, 1.0, 64)
    assert (measurement.y - clean).std().item() == pytest.approx(0.1, rel=0.1)
    assert (measurement.initial * torch.linspace(0.2, 1.0, 64) - measurement.y).abs().max() < 1e-5


def test_the_baseline_of_the_comparing_page_runs() -> None:
    names: dict[str, Any] = {}
    for block in code_of(ROOT / "docs" / "comparing.md"):
        exec(block, names)
    measurement = matrix_measurement()
    assert names["Zero"]().reconstruct(measurement, 0, lambda *_: None).abs().max() == 0


def test_the_code_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in code_of(ROOT / "README.md"):
        exec(block, names)
    assert names["image"].shape == (1, 1, 64, 64)
    assert (tmp_path / "aseqdip_ct" / "shepp_logan_64" / "seed0" / "summary.json").exists()
    scan = names["scan"]
    assert scan.pixel_size == FIELD_MM / 256  # the geometry of the block is that of the Helsinki scans
    y = scan.physics((1, 16, 16)).A(torch.rand(1, 1, 16, 16))
    data = names["InMemory"](scan.accept(y, ids=["mine"], image_shape=(1, 16, 16)))
    recorded = names["Residual"]()
    dip = DIP(network=TinyNetwork(), initial_input=InitialEstimate(), outer_steps=2)
    fit(dip, data.measurement, [recorded])
    expected = (data.measurement.physics.A(dip.last_output) - y).norm()
    assert dip.record["residual"].item() == pytest.approx(expected.item())


def test_penalties_on_the_pages_of_methods_can_be_given(tmp_path: Path) -> None:
    given = [value for page in METHODS for value in re.findall(r"`penalties: (\[.*?\])`", page.read_text())]
    assert given
    small = ["--data.size=64", "--model.outer_steps=1", "--model.inner_steps=1", "--record.preview=false"]
    for number, value in enumerate(given):
        options = [*small, f"--record.run_dir={tmp_path / str(number)}", f"--model.penalties={value}"]
        assert main(["fit", f"--config={ROOT / 'configs' / 'dip_ct.yaml'}", *options]) == 0


def test_the_new_method_on_the_page_is_short() -> None:
    assert len(code_of(ROOT / "docs" / "extending.md")[0].splitlines()) < 40


def commands_of(page: Path) -> list[str]:
    text = "".join(code_of(page, "bash")).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.startswith("dip-lightning ")]


@pytest.mark.parametrize("page", METHODS, ids=lambda page: page.stem)
def test_the_examples_of_the_method_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, on embedded images; only shorter."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    commands = commands_of(page)
    assert commands, f"{page.name} has no example"
    for command in commands:
        arguments = shlex.split(command)[1:]
        where = f"{page.stem} {command}"
        more = [option for key, options in SHORTER.items() if key in where for option in options]
        assert main([*arguments, *SHORT[arguments[0]], "--trainer.accelerator=cpu", *more]) == 0, command
    if "fit" in commands[-1]:
        assert list(tmp_path.glob("runs/**/summary.json"))


def test_the_other_fits_are_understood(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Their configurations and options exist; nothing is fitted."""
    monkeypatch.chdir(ROOT)
    pages = [page for page in PAGES if page not in METHODS]
    commands = {command for page in pages for command in commands_of(page) if " fit --config configs/" in command}
    commands = {command for command in commands if " my_" not in command}  # classes of the pages, tested above
    ours = [shlex.split(command, comments=True)[1:] for command in sorted(commands) if not command.endswith("...")]
    assert len(ours) > 20
    for arguments in ours:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--print_config"])
        assert ended.value.code in (0, None), f"{arguments}: {capsys.readouterr().err}"
        capsys.readouterr()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_configs_exist(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
    for config in re.findall(r"\bconfigs/[\w/]+\.yaml", text):
        assert (ROOT / config).exists(), f"{page.name} names {config}"
