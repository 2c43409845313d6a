"""The report: what its tables say, and what they must not mix."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from dip_lightning.cli import main
from dip_lightning.compare.config_tree import set_key
from dip_lightning.compare.report.collect import collect, read_curve
from dip_lightning.compare.report.command import write_report
from dip_lightning.compare.report.curves import average, task_curves
from dip_lightning.compare.report.images import colour, task_strips
from dip_lightning.compare.report.statistics import difference, tables
from dip_lightning.compare.report.tables import task_csv, task_latex, tex
from dip_lightning.errors import RunFolderError
from tests.compare.small import DATA, METHOD, write_plan
from tests.compare.synthetic import write_failure, write_run

NASTY = '<img src=x onerror="alert(1)"> & "Zoë" </script>'


def test_means_errors_and_paired_differences(tmp_path):
    ours, theirs = [30.0, 31.0, 35.0], [29.0, 31.5, 32.0]
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        write_run(tmp_path, "A", measurement=f"m{number}", psnr=a, oracle=a + number)
        for seed, shift in ((0, -1.0), (1, 1.0)):
            write_run(tmp_path, "B", measurement=f"m{number}", seed=seed, psnr=b + shift)
    (table,) = tables(collect(tmp_path)[0], reference="B")
    a, b = table.rows
    assert table.unit == "measurements"
    assert a.scores["psnr_estimate"].mean == pytest.approx(32.0)
    assert a.scores["psnr_estimate"].error == pytest.approx(stats.sem(ours))
    assert b.scores["psnr_estimate"].error == pytest.approx(stats.sem(theirs))  # over measurements, not over runs
    test = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (a.difference.low, a.difference.high) == (pytest.approx(test.low), pytest.approx(test.high))
    assert b.difference is None
    assert (a.wins, b.wins) == (2, 1)
    assert a.regret.mean == pytest.approx(1.0)
    assert a.worst_regret == pytest.approx(2.0)


def test_one_measurement_is_averaged_over_seeds_and_a_baseline_stands_for_all(tmp_path):
    fit = {"tree": {"model": {"class_path": "DIP"}}}
    for seed in range(3):
        write_run(tmp_path, "A", seed=seed, psnr=30.0 + seed, job=fit)
    write_run(tmp_path, "FBP", psnr=25.0, oracle=None, job={"tree": {"baseline": {"class_path": "Initial"}}})
    write_run(tmp_path, "once", psnr=40.0, job=fit)  # what other seeds would have given is unknown
    (table,) = tables(collect(tmp_path)[0], reference="FBP")
    a, fbp, once = table.rows
    assert table.unit == "seeds"
    assert a.scores["psnr_estimate"].count == 3
    assert (a.difference.mean, a.difference.count) == (pytest.approx(6.0), 3)
    assert (a.wins, fbp.wins, once.wins) == (2, 0, 1)
    assert (once.difference.mean, once.difference.count, once.units) == (pytest.approx(15.0), 1, 1)
    assert fbp.regret is None


def test_one_pair_has_no_interval():
    gap = difference({"m": 31.0}, {"m": 30.0, "n": 3.0})
    assert (gap.mean, gap.low, gap.count) == (1.0, None, 1)
    assert difference({"m": 1.0}, {"n": 1.0}) is None


def test_runs_without_target_and_with_infinite_scores(tmp_path):
    write_run(tmp_path, "A", psnr=30.0)
    write_run(tmp_path, "B").joinpath("summary.json").write_text(
        json.dumps({"method": "B", "task": "ct", "measurement": "m0", "seed": 0, "psnr": None, "seconds": 1.0})
    )
    (table,) = tables(collect(tmp_path)[0])
    b = next(row for row in table.rows if row.method == "B")
    assert b.scores["psnr_estimate"] is None
    assert b.seconds.mean == 1.0
    assert "nan" not in task_csv(table).lower()
    write_report(tmp_path)


def test_changed_settings_are_never_averaged(tmp_path):
    for steps in (100, 200):
        job = {"method": "A", "data": "d", "tree": {"model": {"outer_steps": steps}, "data": {"class_path": "P"}}}
        write_run(tmp_path, "dip", psnr=30.0 + steps / 100, job=job)
    (table,) = tables(collect(tmp_path)[0])
    assert len(table.rows) == 2
    assert all(re.fullmatch(r"A #[0-9a-f]{4}", row.method) for row in table.rows)


def bold(text: str) -> set[str]:
    """Methods with a bold mean in a page or in a LaTeX table."""
    rows = re.findall(r'<tr data-method="(\w+)"[^>]*>(.*?)</tr>', text) or re.findall(r"(?m)^ +(\w+).*? & (.*)$", text)
    return {method for method, cells in rows if re.search(r'class="best"|mathbf', cells)}


def test_only_means_over_the_same_measurements_compete_for_the_best(tmp_path):
    for number, psnr in enumerate((40.0, 20.0)):
        write_run(tmp_path, "Whole", measurement=f"m{number}", psnr=psnr, oracle=psnr)
        write_run(tmp_path, "Worse", measurement=f"m{number}", psnr=psnr - 1, oracle=psnr)
    write_run(tmp_path, "Part", psnr=39.0, oracle=39.0)  # failed on m1, the difficult one
    (table,) = tables(collect(tmp_path)[0])
    latex, page = task_latex(table), write_report(tmp_path).read_text(encoding="utf-8")
    assert bold(latex) == {"Whole", "Worse"}  # Worse has the same oracle
    assert bold(page) == {"Whole"}
    assert "Part ($n = 1$)" in latex
    assert page.count("n = 1</span>") == 2
    assert "n = 2</span>" not in page


def test_a_baseline_that_draws_nothing_competes_for_the_best_over_seeds(tmp_path):
    for seed in range(2):
        write_run(tmp_path, "A", seed=seed, psnr=30.0, job={"tree": {"model": {"class_path": "DIP"}}})
    write_run(tmp_path, "FBP", psnr=35.0, oracle=None, job={"tree": {"baseline": {"class_path": "Initial"}}})
    (table,) = tables(collect(tmp_path)[0])
    assert "FBP & $\\mathbf{35.00}$" in task_latex(table)


def test_where_every_method_failed_somewhere_none_is_best(tmp_path):
    write_run(tmp_path, "A", measurement="m0", psnr=30.0)
    write_run(tmp_path, "B", measurement="m1", psnr=20.0)
    (table,) = tables(collect(tmp_path)[0])
    assert not bold(task_latex(table))
    assert not bold(write_report(tmp_path).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [("DIP", "DIP[lr=0.001]"), ("DIP[lr=0.01]", "DIP[lr=0.01] #"), ("A", "A"), ("absent", "A"), (None, "A")],
)
def test_the_reference_of_several_variants_is_the_first(tmp_path, asked, chosen):
    for method, steps in (("A", 1), ("DIP[lr=0.001]", 1), ("DIP[lr=0.01]", 1), ("DIP[lr=0.01]", 2)):
        write_run(tmp_path, method, job={"method": method, "tree": {"model": {"outer_steps": steps}}})
    (table,) = tables(collect(tmp_path)[0], order=["A", "DIP"], reference=asked)
    assert re.fullmatch(re.escape(chosen) + ("[0-9a-f]{4}" if chosen.endswith("#") else ""), table.reference)


def write_fit(folder: Path, changes: dict[str, object], **run: object) -> None:
    """A run folder as ``dip-lightning fit`` leaves it: with its configuration, and no job."""
    tree = {**METHOD, "data": DATA, "seed_everything": 0}
    for key, value in changes.items():
        tree = set_key(tree, key, value)
    path = write_run(folder, "dip", **run)  # type: ignore[arg-type]
    (path / "config.yaml").write_text(yaml.safe_dump(tree))


def test_single_fits_of_other_settings_are_never_averaged(tmp_path):
    write_fit(tmp_path / "a", {"model.optimizer.lr": 0.01}, psnr=30.0)
    write_fit(tmp_path / "b", {"model.optimizer.lr": 0.001}, psnr=20.0)
    write_fit(tmp_path / "c", {"model.optimizer.lr": 0.001, "data.size": 32}, psnr=10.0)
    found = tables(collect(tmp_path)[0])
    assert sorted(row.scores["psnr_estimate"].mean for table in found for row in table.rows) == [10.0, 20.0, 30.0]
    assert all(re.fullmatch(r"ct #[0-9a-f]{4}", table.task) for table in found)


def test_single_fits_of_several_measurements_and_seeds_are_one_method(tmp_path):
    for index in range(2):
        for seed in range(2):
            own = {"data.index": index, "data.repeat": 1 + seed, "data.path": f"images/{index}.png", "model.seed": seed}
            places = {"trainer.devices": [seed], "trainer.default_root_dir": str(tmp_path), "record.run_dir": "x"}
            changes = {**own, **places, "seed_everything": seed}
            write_fit(tmp_path, changes, measurement=f"m{index}", seed=seed)
    (table,) = tables(collect(tmp_path)[0])
    assert (table.task, [row.method for row in table.rows], table.rows[0].runs) == ("ct", ["dip"], 4)


def test_mean_of_several_seeds_is_no_run_of_one(tmp_path):
    for seed in range(2):
        write_run(tmp_path, "dip", seed=seed).rename(tmp_path / f"seed{seed}")
        (tmp_path / f"seed{seed}" / "config.yaml").write_text(yaml.safe_dump({**METHOD, "data": DATA}))
    write_run(tmp_path, "dip", seed=9, psnr=33.0, seeds=[0, 1]).rename(tmp_path / "seeds0-1")
    (table,) = tables(collect(tmp_path)[0])
    assert {row.method: row.runs for row in table.rows} == {"dip": 2, "dip, mean of 2 seeds": 1}


def test_seed_of_the_model_is_no_setting(tmp_path):
    for seed in range(3):
        tree = {**set_key(METHOD, "model.seed", seed), "data": DATA, "seed_everything": seed}
        write_run(tmp_path, "dip", seed=seed, job={"method": "A", "data": "d", "tree": tree})
    (table,) = tables(collect(tmp_path)[0])
    assert [(row.method, row.runs) for row in table.rows] == [("A", 3)]


def test_measurements_of_one_source_are_one_task(tmp_path):
    for index in range(2):
        data = {"class_path": "P", "init_args": {"index": index, "size": 8}}
        job = {"method": "A", "data": "d", "tree": {"model": {}, "data": data}}
        write_run(tmp_path, "dip", measurement=f"m{index}", job=job)
    (table,) = tables(collect(tmp_path)[0])
    assert table.task == "ct: d"


def test_broken_and_foreign_folders_are_told_not_hidden(tmp_path):
    write_run(tmp_path, "A")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "summary.json").write_text("{")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "photo.jpg").write_bytes(b"\xff\xd8")
    write_failure(tmp_path, "B", "out of memory", "Traceback")
    runs, failures = collect(tmp_path)
    assert len(runs) == 1
    assert {failure.error for failure in failures} == {"summary.json cannot be read.", "out of memory"}
    (runs[0].folder / "reconstruction.h5").write_bytes(b"not HDF5")
    (runs[0].folder / "metrics.csv").write_text("iteration,sec")
    assert "out of memory" in write_report(tmp_path).read_text()


def test_empty_root_is_refused(tmp_path, capsys):
    with pytest.raises(RunFolderError, match="no finished runs"):
        collect(tmp_path)
    assert main(["report", str(tmp_path / "absent")]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_csv_and_latex(tmp_path):
    for number in range(3):
        write_run(tmp_path, "A_50%", measurement=f"m{number}", psnr=30.0 + number)
        write_run(tmp_path, "B", measurement=f"m{number}", psnr=28.0 + number)
    (table,) = tables(collect(tmp_path)[0])
    rows = list(csv.DictReader(io.StringIO(task_csv(table))))
    assert float(rows[0]["psnr_estimate_mean"]) == pytest.approx(31.0)
    assert float(rows[1]["difference"]) == pytest.approx(-2.0)
    text = task_latex(table)
    assert r"A\_50\% & $\mathbf{31.00} \pm 0.58$" in text
    assert text.count("&") == 6 * 3
    assert tex("a&b~c\\d^{e}") == r"a\&b\textasciitilde{}c\textbackslash{}d\textasciicircum{}\{e\}"


def test_curves_are_averaged_where_half_of_the_runs_are():
    line = average([[(x, x, 2.0 * x) for x in (1.0, 50.0, 100.0)], [(x, x, 2.0 * x + 2) for x in (1.0, 100.0)]])
    assert all(y == pytest.approx(2 * x + 1, abs=2e-3) for x, y, _ in line)
    assert all(spread == pytest.approx(1.0, abs=1e-3) for _, _, spread in line)
    uneven = average([[(x, x, 1.0) for x in (1.0, 10.0)]] * 3 + [[(x, x, 5.0) for x in (1.0, 1000.0)]])
    assert max(x for x, _, _ in uneven) == pytest.approx(10.0)
    assert average([]) == []


def test_long_curves_are_thinned_and_sparse_scores_found(tmp_path):
    folder = write_run(tmp_path, "A", rows=5000)
    run = collect(tmp_path)[0][0]
    points = read_curve(run)
    assert 200 < len(points) < 300
    lines = (folder / "metrics.csv").read_text().splitlines()
    sparse = [
        line if number % 50 == 7 else ",".join([*line.split(",")[:3], "", "", ""]) for number, line in enumerate(lines)
    ]
    (folder / "metrics.csv").write_text("\n".join([lines[0], *sparse[1:]]))
    assert len(read_curve(run)) == 100
    assert task_curves([run])["A"]["stops"] == [[40000, 400.0, 30.0]]


def test_errors_share_one_scale(tmp_path):
    image = np.full((8, 8), 0.5)
    write_run(tmp_path, "good", psnr=40.0, image=image)
    write_run(tmp_path, "bad", psnr=10.0, image=image)
    strips = task_strips(collect(tmp_path)[0], ["good", "bad"], 1, 1e9)
    assert [tile.name for tile in strips[0].tiles] == ["target", "initial", "good", "bad"]
    assert 0.3 < strips[0].scale <= 0.5
    assert colour(np.array([[0.0, 1.0, 9.0]]), 1.0)[0, 1].tolist() == colour(np.array([[9.0]]), 1.0)[0, 0].tolist()


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_names_from_data_are_text_and_no_host_is_asked(tmp_path):
    job = {"method": NASTY, "data": NASTY, "tree": {"model": {NASTY: NASTY}, "data": {}}}
    write_run(tmp_path, NASTY, measurement=NASTY, job=job, stopped_by=NASTY, device=NASTY)
    write_failure(tmp_path, NASTY, NASTY, NASTY)
    page = write_report(tmp_path, title=NASTY).read_text()
    parser = _Elements()
    parser.feed(page)
    assert not [attributes for _, attributes in parser.found if "onerror" in attributes]
    assert [tag for tag, _ in parser.found].count("script") == 2
    for _, attributes in parser.found:
        for name in ("src", "href", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#")), value
    assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg|http-equiv", "", page)


def test_report_of_a_real_comparison(tmp_path):
    plan = write_plan(tmp_path, baselines=[{"name": "FBP", "class_path": "Initial"}], seeds=2, reference="FBP")
    assert main(["compare", "--config", str(plan), "--workers", "0", "--quiet"]) == 0
    assert main(["report", str(tmp_path / "root")]) == 0
    page = (tmp_path / "root" / "report.html").read_text()
    assert "Difference to FBP" in page
    assert (tmp_path / "root" / "report" / "ct_ct.csv").exists() or (tmp_path / "root" / "report" / "ct.csv").exists()


def test_tables_are_never_written_over_each_other(tmp_path):
    tasks = ["runs", "a: b", "a_b", *("long" * 30 + end for end in "xy"), "plain: task"]
    for number, task in enumerate(tasks):
        write_run(tmp_path / "root", "A", task=task, psnr=20.0 + number)
    write_report(tmp_path / "root")
    written = sorted(path.name for path in (tmp_path / "root" / "report").glob("*.csv"))
    assert len(written) == len(tasks) + 1
    assert "plain_task.csv" in written
    assert (tmp_path / "root" / "report" / "runs.csv").read_text().count("\n") == len(tasks) + 1


def test_each_page_has_its_own_tables(tmp_path, capsys):
    for name in ("x", "y"):
        write_run(tmp_path / name, name)
        assert main(["report", str(tmp_path / name), "--output", str(tmp_path / "pages" / f"{name}.html")]) == 0
        assert f"{name}_tables" in capsys.readouterr().out
    for name in ("x", "y"):
        rows = csv.DictReader((tmp_path / "pages" / f"{name}_tables" / "runs.csv").open())
        assert [row["method"] for row in rows] == [name]


@pytest.mark.slow
def test_five_thousand_runs(tmp_path):
    image = np.random.default_rng(0).random((256, 256))
    for method in range(10):
        for task in ("ct", "mri"):
            for measurement in range(50):
                for seed in range(5):
                    shown = image if measurement < 8 else None
                    write_run(
                        tmp_path, f"m{method}", task, f"i{measurement}", seed, 30.0 + method, image=shown, rows=300
                    )
    started = time.perf_counter()
    page: Path = write_report(tmp_path, images=8)
    seconds = time.perf_counter() - started
    size = page.stat().st_size / 1e6
    print(f"5,000 runs: {seconds:.1f} s, {size:.1f} MB")
    assert seconds < 60
    assert size < 30
    assert math.isfinite(size)


def test_comparisons_of_several_tasks_share_a_root(tmp_path):
    first = {"methods": [], "baselines": [{"name": "FBP", "class_path": "Initial"}], "reference": "FBP"}
    second = {"methods": [], "baselines": [{"name": "Back-projection", "class_path": "Adjoint"}], "name": "both"}
    for changes in (first, second):
        assert main(["compare", "--config", str(write_plan(tmp_path, **changes)), "--workers", "0", "--quiet"]) == 0
    known = json.loads((tmp_path / "root" / "comparison.json").read_text())
    assert known == {"name": "both", "methods": ["Back-projection", "FBP"], "reference": "FBP"}
    assert {run.method for run in collect(tmp_path / "root")[0]} == {"FBP", "Back-projection"}
