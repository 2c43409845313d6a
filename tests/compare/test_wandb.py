"""Weights & Biases, offline: what run files hold is read back."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

import pytest

from dip_lightning.callbacks.logger_record import without_unreachable
from dip_lightning.cli import main
from dip_lightning.compare.jobs import COMPARISON
from dip_lightning.compare.wandb_push import push, run_id
from dip_lightning.records import summary_row
from tests.compare.small import METHOD, write_plan
from tests.compare.synthetic import write_run
from tests.compare.wandb_files import read_runs

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))


def with_logger(logger: Any, steps: int = 30) -> dict[str, Any]:
    model = {**METHOD["model"], "init_args": {**METHOD["model"]["init_args"], "outer_steps": steps}}
    return {**METHOD, "model": model, "trainer": {**METHOD["trainer"], "logger": logger}}


def test_comparison_with_the_wandb_logger(tmp_path):
    pytest.importorskip("wandb")
    logger = {
        "class_path": "WandbLogger",
        "init_args": {"save_dir": str(tmp_path / "wb"), "project": "p", "offline": True},
    }
    (tmp_path / "wb").mkdir()
    methods = [{"name": name, "config": with_logger(logger)} for name in ("dip", "other")]
    plan = write_plan(tmp_path, name="my comparison", methods=methods)
    assert main(["compare", "--config", str(plan), "--workers", "0", "--quiet"]) == 0
    first, second = read_runs(tmp_path / "wb")
    assert first.id != second.id
    assert first.exited
    assert second.exited
    assert {run.job_type for run in (first, second)} == {"dip", "other"}
    assert (first.group, first.tags) == ("my comparison", ["ct"])
    assert first.axes["*"] == "iteration"
    assert first.config["model"]["init_args"]["outer_steps"] == 30
    rows = [row for row in first.history if "psnr" in row]
    assert [row["iteration"] for row in rows] == [10, 20, 30]
    assert all({"loss", "data", "psnr"} <= row.keys() for row in rows)
    assert any("estimate" in row for row in first.history)
    folders = sorted((tmp_path / "root").rglob("summary.json"))
    summaries = [json.loads(path.read_text()) for path in folders]
    scores = {round(summary["psnr"]["estimate"], 9) for summary in summaries}
    assert {round(run.summary["psnr_estimate"], 9) for run in (first, second)} == scores
    measurement = summaries[0]["measurement"]
    names = {name for run in (first, second) for row in [*run.history, run.summary] for name in row}
    assert not [name for name in names if measurement in name]
    for path in [*(tmp_path / "wb").rglob("*"), *(tmp_path / "root").rglob("*")]:
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_csv_and_tensorboard_get_the_same_curves(tmp_path):
    logger = {"class_path": "CSVLogger", "init_args": {"save_dir": str(tmp_path / "log"), "name": "n"}}
    config = tmp_path / "fit.yaml"
    plan = write_plan(tmp_path)
    config.write_text(json.dumps({**with_logger([logger]), "data": plan_data(plan)}))
    assert main(["fit", "--config", str(config), "--record.run_dir", str(tmp_path / "run")]) == 0
    logged: dict[int, dict[str, str]] = {}
    with next((tmp_path / "log").rglob("metrics.csv")).open() as file:
        for row in csv.DictReader(file):
            logged.setdefault(int(row["step"]), {}).update({name: value for name, value in row.items() if value})
    with (tmp_path / "run" / "metrics.csv").open() as file:
        recorded = {int(row["iteration"]): row for row in csv.DictReader(file)}
    for step in (10, 20, 30):
        for name in ("loss", "psnr"):
            assert float(logged[step][name]) == pytest.approx(float(recorded[step][name]), rel=1e-5)
    final = json.loads((tmp_path / "run" / "summary.json").read_text())["psnr"]["estimate"]
    assert float(logged[30]["final/psnr_estimate"]) == pytest.approx(final)
    assert "outer_steps" in next((tmp_path / "log").rglob("hparams.yaml")).read_text()


def plan_data(plan: Path) -> Any:
    import yaml

    return yaml.safe_load(plan.read_text())["data"][0]["config"]


def test_wandb_that_cannot_be_reached_is_left_out(caplog):
    class WandbLogger:
        @property
        def experiment(self) -> Any:
            raise ConnectionError("no route to host")

    other = object()
    started = time.monotonic()
    assert without_unreachable([WandbLogger(), other]) == [other]
    assert time.monotonic() - started < 1
    assert "no route to host" in caplog.text


def test_push_is_done_once(tmp_path):
    pytest.importorskip("wandb")
    root = tmp_path / "root"
    for seed in range(2):
        write_run(root, "A", seed=seed, psnr=30.0 + seed)
    (root / COMPARISON).write_text(json.dumps({"name": "mine"}))
    assert push(root, "p", mode="offline") == (2, 0)
    runs = {run.id: run for run in read_runs(root)}
    assert len(runs) == 3  # and the table
    table = next(run for run in runs.values() if run.job_type == "comparison")
    assert {"runs", "methods"} <= table.history[0].keys()
    pushed = [run for run in runs.values() if run.job_type == "A"]
    assert {run.group for run in runs.values()} == {"mine"}
    for run in pushed:
        assert run.summary["psnr_estimate"] == 30.0 + run.config["seed"]
        curve = [row["psnr"] for row in run.history if "psnr" in row]
        assert len(curve) == 60
        assert run.axes["*"] == "iteration"
    assert push(root, "p", mode="offline") == (0, 2)
    assert len(read_runs(root)) == 3
    write_run(root, "A", seed=2, psnr=33.0)
    assert push(root, "p", mode="offline") == (1, 2)
    assert len({run.id for run in read_runs(root)}) == 4  # the table's run is the same one, continued


def test_a_job_pushed_later_is_the_run_that_it_logged(tmp_path):
    from dip_lightning.compare.execute import with_wandb_labels
    from dip_lightning.compare.jobs import expand, write_json
    from dip_lightning.compare.plan import load_plan
    from dip_lightning.compare.report.collect import collect

    (job,) = expand(load_plan(write_plan(tmp_path, name="mine", overrides={"trainer.logger": "WandbLogger"})))
    logger = with_wandb_labels(job)["trainer"]["logger"]
    assert logger["dict_kwargs"] == {"group": "mine", "job_type": "dip", "tags": ["ct"]}
    write_json(job.folder / "job.json", job.as_dict())
    write_json(job.folder / "summary.json", {"method": "dip", "task": "ct"})
    (run,) = collect(Path(job.root))[0]
    assert run_id("mine", run) == logger["init_args"]["id"]


def test_ids_depend_on_what_a_run_is(tmp_path):
    from dip_lightning.compare.report.collect import collect

    write_run(tmp_path / "a", "A")
    write_run(tmp_path / "b", "A")
    write_run(tmp_path / "b", "B")
    (one,), (same, other) = collect(tmp_path / "a")[0], sorted(collect(tmp_path / "b")[0], key=lambda run: run.method)
    assert run_id("g", one) == run_id("g", same) != run_id("g", other)
    assert run_id("h", one) != run_id("g", one)


def test_row_leaves_out_what_is_unknown():
    row = summary_row({"psnr": {"estimate": 30.0, "oracle": 31.5, "last": None}, "seconds": 2.0, "stopped_by": "x"})
    assert row == {"psnr_estimate": 30.0, "psnr_oracle": 31.5, "seconds": 2.0, "stopped_by": "x", "regret": 1.5}


def test_workspace_compares_methods_by_task():
    pytest.importorskip("wandb_workspaces", reason="wandb-workspaces is in the wandb extra")
    from dip_lightning.compare.wandb_workspace import build_workspace

    workspace = build_workspace("p", "somebody", ["ct", "mri"])
    assert [section.name for section in workspace.sections] == ["PSNR over the fit", "Scores", "Images"]
