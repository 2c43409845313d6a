"""The quality benchmark on made-up run folders: what it collects, concludes, writes and draws."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmarks import _pages, _quality_checks, _quality_tables, table
from benchmarks._quality_checks import difference, entry_of, order_checks
from benchmarks._quality_collect import record
from benchmarks._quality_settings import described, settings
from benchmarks._quality_stopping import regrets
from benchmarks.quality import collect
from dip_lightning.compare.jobs import Job, expand
from dip_lightning.compare.plan import Plan, load_plan
from dip_lightning.compare.report.collect import Run
from tests.compare.small import DATA, METHOD
from tests.compare.synthetic import write_run

#: PSNR of the estimate, which falls by 0.1 dB from one measurement to the next.
LEVELS = {"DIP": 27.0, "TV-DIP": 28.0, "ES-DIP": 26.5, "Self-Guided DIP": 29.0, "aSeqDIP": 30.0, "Recommended": 31.0}
PROBLEMS = {"ct 30": 3, "ct 18": 3}
PAGE = "before\n\n<!-- table: {} -->\nold\n<!-- end -->\n\nafter | <!-- a comment --> \n"


def plan_of(folder: Path) -> Plan:
    """A comparison of all methods and two baselines on two problems of three measurements each."""
    content = {
        "root": str(folder / "root"),
        "methods": [{"name": name, "config": METHOD} for name in LEVELS],
        "baselines": [{"name": "Input", "class_path": "Initial"}, {"name": "TV", "class_path": "TotalVariation"}],
        "data": [
            {"name": name, "config": DATA, "indices": f"0-{count - 1}", "overrides": {"data.acquisition.views": views}}
            for views, (name, count) in enumerate(PROBLEMS.items(), 6)
        ],
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_plan(path)


def finish(job: Job, psnr: float | None = None, **changes: Any) -> None:
    """Write a job's run folder; the regret of its rule is what the made-up oracle makes it."""
    fit = job.kind == "fit"
    level = {**LEVELS, "TV": 28.5, "Input": 20.0}[job.method] - 0.1 * (job.index or 0) if psnr is None else psnr
    rule = {"rule": "wmv_100", "action": "stop", "iteration": 480}
    known = {"regret_db": 1.0, "callbacks": {"EarlyStoppingWMV": rule}} if fit else {"settings": {"baseline": "TV"}}
    measurement = f"m{job.index}"
    task = changes.pop("task", "ct")
    made = write_run(
        Path(job.root) / "made", job.method, task, measurement, psnr=level, oracle=level + 1 if fit else None,
        image=np.tile(np.linspace(0, 1, 32), (32, 1)), job=job.as_dict(), **{**known, **changes},
    )  # fmt: skip
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(made, job.folder)


def finish_all(plan: Plan) -> list[Job]:
    """Finish every job of a comparison."""
    jobs = list(expand(plan))
    for job in jobs:
        finish(job)
    return jobs


def test_collected_figures_are_those_of_the_run_folders(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    jobs = finish_all(plan)
    content = record(plan)
    assert [problem["name"] for problem in content["problems"]] == list(PROBLEMS)
    assert not content["missing"]
    for problem in content["problems"]:
        assert [entry["method"] for entry in problem["entries"]] == [*LEVELS, "Input", "TV"]
        for entry in problem["entries"]:
            own = [job for job in jobs if (job.data, job.method) == (problem["name"], entry["method"])]
            summaries = [json.loads((job.folder / "summary.json").read_text()) for job in own]
            for image in ("initial", "last", "estimate"):
                values = [summary["psnr"][image] for summary in summaries]
                assert entry["psnr"][image]["mean"] == pytest.approx(statistics.fmean(values), abs=1e-3)
                error = statistics.stdev(values) / len(values) ** 0.5
                assert entry["psnr"][image]["error"] == pytest.approx(error, abs=1e-3)
            assert entry["seconds"]["mean"] == pytest.approx(summaries[0]["seconds"])


def test_curves_are_thinned_and_run_from_the_first_to_the_last_iterate(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    job = next(expand(plan))
    finish(job)
    (entry,) = record(plan)["problems"][0]["entries"]
    with (job.folder / "metrics.csv").open() as file:
        rows = [(int(row["iteration"]), float(row["psnr"])) for row in csv.DictReader(file)]
    curve = list(zip(entry["curve"]["iteration"], entry["curve"]["psnr"], strict=True))
    assert len(curve) <= 40
    for end in (0, -1):
        assert curve[end] == (rows[end][0], pytest.approx(rows[end][1], abs=0.006))


def test_runs_that_the_comparison_does_not_name_are_left_alone(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    job = next(expand(plan))
    finish(job)
    finish(Job.from_dict({**job.as_dict(), "key": "older"}), psnr=50.0)
    (entry,) = record(plan)["problems"][0]["entries"]
    assert [run["psnr"]["estimate"] for run in entry["runs"]] == [LEVELS["DIP"]]


def test_the_published_order_is_decided_by_the_runs(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    finish_all(plan)
    problem = record(plan)["problems"][0]
    checks = {check.claim: check for check in order_checks(problem)}
    above = checks["aSeqDIP above DIP: estimates"]
    assert above.holds
    assert above.difference == pytest.approx(3.0)
    assert checks["aSeqDIP above DIP: its estimate, DIP's last iterate"].difference == pytest.approx(3.5)
    between = {method: next(c for claim, c in checks.items() if claim.startswith(method)) for method in ("TV", "ES")}
    assert between["TV"].holds
    assert between["TV"].text == "+1.0 to DIP, -2.0 to the better"
    assert not between["ES"].holds
    assert between["ES"].difference == pytest.approx(-0.5)
    assert checks["every method's estimate above the initial image"].text == "ES-DIP +6.4"
    assert checks["recommended above all other methods: estimates"].difference == pytest.approx(1.0)
    assert checks["recommended above all baselines: estimates"].difference == pytest.approx(2.5)


def test_methods_are_compared_on_the_measurements_that_both_have() -> None:
    runs = [{"measurement": f"m{k}", "seed": s, "psnr": {"estimate": 30.0 + k + s}} for k in range(3) for s in range(2)]
    one, other = {"runs": runs}, {"runs": [{"measurement": "m2", "psnr": {"estimate": 30.0}}]}
    assert difference(one, "estimate", other, "estimate") == pytest.approx(2.5)
    assert difference(one, "estimate", {"runs": []}, "estimate") is None


def test_no_claim_is_made_of_what_was_not_run(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    finish(next(job for job in expand(plan) if job.method == "aSeqDIP"), psnr=19.0)
    (problem,) = record(plan)["problems"]
    (check,) = order_checks(problem)
    assert check.text == "aSeqDIP -1.0"
    assert not check.holds


def test_regret_of_rules_that_stop_record_or_never_choose(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    job, *_ = (job for job in expand(plan) if job.method == "DIP")
    rules = [
        {"rule": "heldout", "action": "stop", "iteration": 300},
        {"rule": "sure", "action": "record", "iteration": 200},
        {"rule": "discrepancy", "action": "record", "iteration": None},
    ]
    callbacks = {rule["rule"]: rule for rule in rules} | {"PosteriorSamples": {"samples": 3}}
    scores = {"initial": 20.0, "estimate": 29.0, "oracle": 29.5, "last": 30.0}  # the last iterate is the best image
    recorded = {"sure": {"psnr": 28.75, "regret_db": 0.75}, "discrepancy": {"psnr": 28.0, "regret_db": 1.5}}
    finish(job, psnr=29.0, callbacks=callbacks, recorded=recorded, regret_db=0.5)
    path = job.folder / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "psnr": scores}))
    found = {row.rule: row for row in regrets(record(plan)["problems"])}
    assert list(found) == ["heldout", "sure", "discrepancy"]
    assert (found["discrepancy"].fits, found["discrepancy"].silent) == (0, 1)
    text = _quality_tables.makers(record(plan))["quality_stopping"][0]()
    assert "| `discrepancy` | yes | 0, and 1 in which it chose nothing | – | – |  | – | – |" in text
    assert found["heldout"].mean == pytest.approx(1.0)
    assert found["sure"].worst == pytest.approx(1.25)
    assert found["sure"].where == "DIP, ct 30"
    assert found["sure"].needs_noise
    assert not found["heldout"].needs_noise
    assert found["heldout"].end_mean == pytest.approx(0.0)


def test_fits_without_a_rule_stand_apart(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    finish(next(expand(plan)), callbacks={})
    (row,) = regrets(record(plan)["problems"])
    assert (row.rule, row.fits) == ("none", 1)
    assert (row.mean, row.end_mean) == pytest.approx((1.0, 1.5))


def test_tables_are_written_between_their_markers(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    finish_all(plan)
    names = ("quality_ct", "quality_stopping", "quality_missing")
    page = tmp_path / "page.md"
    page.write_text("".join(PAGE.format(name) for name in names))
    content = collect(plan, tmp_path, tmp_path / "pictures", page)
    text = page.read_text()
    assert _pages.MARKED.sub(r"\1old\n\3", text) == "".join(PAGE.format(name) for name in names)
    assert "| aSeqDIP | 29.9 (29.4 / 30.9) | 29.9 (29.4 / 30.9) |" in text
    assert "| Recommended | **30.9** (30.4 / 31.9) |" in text
    assert "| initial image (filtered back-projection) | 20.0 | 20.0 |" in text
    assert "| TV (baseline) | 28.4 | 28.4 |" in text
    assert "images/quality/ct_curves.png" in text
    assert "| `wmv_100` | no | 36 | 1.00 | 1.00 |" in text
    assert "All jobs of the comparison are finished." in text
    assert json.loads((tmp_path / "quality.json").read_text())["problems"] == content["problems"]


def test_what_is_missing_is_a_dash_and_listed(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    jobs = list(expand(plan))
    for job in jobs:
        if job.data == "ct 30" and (job.method == "aSeqDIP" or (job.method == "DIP" and job.index)):
            finish(job)
    failed = next(job for job in jobs if job.method == "TV")
    failed.folder.mkdir(parents=True)
    (failed.folder / "failure.json").write_text(json.dumps({"error": "broken\nmore"}))
    makers = _quality_tables.makers(record(plan))
    text = makers["quality_ct"][0]()
    assert "| DIP | 26.9\\* (26.4 / 27.9) |" in text
    assert "| aSeqDIP | **29.9** (29.4 / 30.9) |" in text
    assert "| TV (baseline) | – |" in text
    missing = makers["quality_missing"][0]()
    assert f"Jobs that are not finished: {len(jobs) - 5}." in missing
    assert "- TV: ct 30: failed: broken\n" in missing
    assert "- DIP: ct 30, ct 18 (3): not run\n" in missing
    assert "Not measured yet" in _pages.render(PAGE.format("quality_mri"), makers)


def test_pictures_are_small(tmp_path: Path) -> None:
    from PIL import Image

    plan = plan_of(tmp_path)
    finish_all(plan)
    page = tmp_path / "page.md"
    page.write_text("")
    collect(plan, tmp_path, tmp_path / "pictures", page)
    pictures = sorted((tmp_path / "pictures").glob("*.png"))
    assert [path.name for path in pictures] == ["ct_curves.png", "ct_images.png"]
    for path in pictures:
        assert path.stat().st_size < 400_000
        with Image.open(path) as picture:
            assert 600 <= picture.width <= 1200


def test_settings_come_from_the_resolved_configuration(tmp_path: Path) -> None:
    network = {"class_path": "dip_lightning.networks.SmallUNet", "init_args": {"in_channels": 2, "norm": "batch"}}
    optimiser = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.001, "eps": 1e-8, "weight_decay": 0.0}}
    model = {"network": network, "optimizer": optimiser, "outer_steps": 60, "inner_steps": 10, "reduction": "norm"}
    callback = {"class_path": "dip_lightning.callbacks.OutputAveraging", "init_args": {"weight": 0.99}}
    config = {"model": {"class_path": "ASeqDIP", "init_args": model}, "trainer": {"callbacks": [callback]}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    found = settings(Run(tmp_path, "aSeqDIP", "ct", "m0", 0, {}))
    assert found["network"] == "SmallUNet(in_channels=2, norm=batch)"
    assert (found["optimizer"], found["lr"], found["steps"]) == ("Adam", 0.001, 600)
    assert found["callbacks"] == ["OutputAveraging(weight=0.99)"]
    assert found["reduction"] == "norm"
    assert "eps" not in found
    assert settings(Run(tmp_path, "TV", "ct", "m0", 0, {"settings": {"weight": 0.1}})) == {"weight": 0.1}
    assert described("torch.optim.Adam") == "Adam"


def test_every_table_of_the_page_on_results_is_known() -> None:
    page = _quality_tables.PAGE.read_text(encoding="utf-8")
    makers = _quality_tables.makers({})
    assert {match[2] for match in _pages.MARKED.finditer(page)} == set(makers)
    assert _quality_checks.VANILLA in LEVELS
    assert table.PAGE != _quality_tables.PAGE


def test_an_entry_without_runs_is_none() -> None:
    assert entry_of({"entries": []}, "DIP") is None
