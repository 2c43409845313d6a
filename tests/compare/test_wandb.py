"""Weights & Biases, offline: what run files hold is read back."""

from __future__ import annotations

import csv
import http.server
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dip_lightning.callbacks import wandb_run
from dip_lightning.callbacks.wandb_run import is_wandb, unreachable, without_unreachable
from dip_lightning.cli import main
from dip_lightning.compare.jobs import COMPARISON, run_identity
from dip_lightning.compare.wandb_push import push, run_id
from dip_lightning.records import summary_row
from tests.compare.small import METHOD, with_class, write_plan
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
    assert (first.group, first.tags) == ("my comparison", ["ct"])  # data and task have one name here
    assert first.axes["*"] == "iteration"
    assert first.config["model"]["init_args"]["outer_steps"] == 30
    rows = [row for row in first.history if "psnr" in row]
    assert [row["iteration"] for row in rows] == [10, 20, 30]
    assert all({"loss", "data", "psnr", "seconds"} <= row.keys() for row in rows)
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


def test_csv_and_tensorboard_get_the_same_curves_and_pictures(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = {"class_path": "CSVLogger", "init_args": {"save_dir": str(tmp_path / "log"), "name": "n"}}
    board = {"class_path": "TensorBoardLogger", "init_args": {"save_dir": str(tmp_path / "board"), "name": "n"}}
    config = tmp_path / "fit.yaml"
    plan = write_plan(tmp_path)
    config.write_text(json.dumps({**with_logger([logger, board]), "data": plan_data(plan)}))
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

    board_folder = next((tmp_path / "board").rglob("events.*")).parent
    events = accumulator.EventAccumulator(str(board_folder), {"images": 0, "scalars": 0})  # all of them
    events.Reload()
    for name in ("loss", "psnr"):
        values = {event.step: event.value for event in events.Scalars(name)}
        assert values == pytest.approx({step: float(recorded[step][name]) for step in (10, 20, 30)}, rel=1e-5)
    pictures = [path.stem for path in sorted((tmp_path / "log").rglob("pictures/*.png"))]
    assert pictures == [f"estimate_{image.step:06d}" for image in events.Images("estimate")]
    assert pictures[-1] == "estimate_000030"


def test_a_single_fit_is_labelled_too(wandb: Any, tmp_path: Path) -> None:
    logger = {"class_path": "WandbLogger", "init_args": {"save_dir": str(tmp_path / "wb"), "offline": True}}
    (tmp_path / "wb").mkdir()
    config = tmp_path / "fit.yaml"
    config.write_text(json.dumps({**with_logger(logger, 2), "data": plan_data(write_plan(tmp_path))}))
    assert main(["fit", "--config", str(config), "--record.run_dir", str(tmp_path / "run")]) == 0
    (run,) = read_runs(tmp_path / "wb")
    assert (run.job_type, run.tags) == ("dip", ["ct"])


def plan_data(plan: Path) -> Any:
    import yaml

    return yaml.safe_load(plan.read_text())["data"][0]["config"]


@pytest.fixture
def wandb() -> Iterator[Any]:
    """The package, which reads its environment once: before the test and after it, anew."""
    package = pytest.importorskip("wandb")
    package.teardown()
    yield package
    package.teardown()


def test_a_fit_that_fails_leaves_its_run_to_itself(wandb: Any, tmp_path: Path) -> None:
    logger = {"class_path": "WandbLogger", "init_args": {"save_dir": str(tmp_path / "wb"), "offline": True}}
    (tmp_path / "wb").mkdir()
    configs = [
        {**config, "trainer": {**METHOD["trainer"], "logger": logger}} for config in (with_class("Failing"), METHOD)
    ]
    methods = [{"name": name, "config": config} for name, config in zip(("fails", "works"), configs, strict=True)]
    assert main(["compare", "--config", str(write_plan(tmp_path, methods=methods)), "--workers", "0", "--quiet"]) == 1
    runs = {run.job_type: run for run in read_runs(tmp_path / "wb")}
    assert {name: run.exit_code for name, run in runs.items()} == {"fails": 1, "works": 0}
    assert runs["fails"].id != runs["works"].id


@pytest.fixture
def silent_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a port that is closed, or that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        if request.param == "black hole":
            server.listen(16)
        else:
            server.close()
        yield url


@pytest.mark.parametrize("silent_server", ["closed port", "black hole"], indirect=True)
def test_a_server_that_does_not_answer_makes_the_run_offline(
    wandb: Any, silent_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from pytorch_lightning.loggers import WandbLogger

    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_BASE_URL", silent_server)
    logger = WandbLogger(project="p", save_dir=tmp_path)
    modes, init = [], wandb.init
    monkeypatch.setattr(wandb, "init", lambda **options: modes.append(options.get("mode")) or init(**options))
    assert without_unreachable([logger]) == [logger]
    assert modes == ["offline"]  # W&B's own waiting, far longer, has not begun
    assert "WANDB_MODE" not in os.environ  # the next fit asks for itself
    logger.log_metrics({"loss": 1.0}, step=1)
    folder = Path(logger.experiment.settings.sync_dir)
    logger.experiment.finish()
    assert folder.is_relative_to(tmp_path)
    assert f"wandb sync {folder}" in caplog.text
    (run,) = read_runs(tmp_path)
    assert [row["loss"] for row in run.history] == [1.0]
    asked: list[Any] = []
    monkeypatch.setattr(wandb_run, "_ask", lambda *arguments: asked.append(arguments))
    assert unreachable(silent_server) is not None
    assert not asked  # a list of jobs waits once


@pytest.mark.parametrize("silent_server", ["black hole"], indirect=True)
def test_pushing_to_a_silent_server_is_refused_at_once(
    wandb: Any, silent_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", silent_server)
    write_run(tmp_path / "root", "A")
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("a run was opened"))
    assert main(["wandb", str(tmp_path / "root")]) == 2
    assert "--mode offline" in capsys.readouterr().err


def test_any_answer_is_an_answer() -> None:
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(403)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        assert unreachable(f"http://127.0.0.1:{server.server_port}") is None
        thread.join(5)


def test_offline_runs_ask_no_server(wandb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytorch_lightning.loggers import WandbLogger

    monkeypatch.setattr("dip_lightning.callbacks.wandb_run.unreachable", lambda *_: pytest.fail("asked"))
    for options in ({}, {"mode": "offline"}, {"offline": True}):
        if options:
            monkeypatch.delenv("WANDB_MODE", raising=False)
            wandb.teardown()
        logger = WandbLogger(project="p", save_dir=tmp_path, **options)
        assert without_unreachable([logger]) == [logger]
        assert logger.experiment.settings.mode in ("offline", "dryrun")
        logger.experiment.finish()


def test_wandb_that_opens_no_run_at_all_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    class WandbLogger:
        @property
        def experiment(self) -> Any:
            raise ConnectionError("no route to host")

    other = object()
    assert is_wandb(WandbLogger())
    assert without_unreachable([WandbLogger(), other]) == [other]
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


def test_each_run_is_pushed_once_for_each_entity_whichever_comparison_was_last(tmp_path, monkeypatch):
    pushed: list[tuple[str, str, str]] = []
    monkeypatch.setattr(
        "dip_lightning.compare.wandb_push._push_run",
        lambda run, identity, digest, common: pushed.append((run.method, identity, common["group"])),
    )
    monkeypatch.setattr("dip_lightning.compare.wandb_push._push_table", lambda *_: None)
    ids = {}
    for number, name in enumerate(("first", "second")):
        job = {"method": name, "comparison": name, "tree": {"model": name}}
        ids[name] = run_identity(name, write_run(tmp_path, name, job=job))
        (tmp_path / COMPARISON).write_text(json.dumps({"name": name}))
        assert push(tmp_path, "p", mode="offline") == (1, number)
    assert pushed == [(name, ids[name], name) for name in ("first", "second")]
    assert push(tmp_path, "p", entity="another", mode="offline") == (2, 0)
    assert push(tmp_path, "p", entity="another", mode="offline", name="all") == (0, 2)


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
