"""Jobs: which there are, what they are called, and what makes another job of one."""

from __future__ import annotations

import copy
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from dip_lightning.cli import main
from dip_lightning.compare.check import check_jobs
from dip_lightning.compare.command import expected_seconds, unique
from dip_lightning.compare.config_tree import content_hash, get_key, load_tree, set_key
from dip_lightning.compare.jobs import Job, expand, shard, state, write_json
from dip_lightning.compare.plan import load_plan
from dip_lightning.errors import ConfigurationError
from dip_lightning.run_folder import SUMMARY
from tests.compare.conftest import ROOT
from tests.compare.small import DATA, METHOD, write_plan


def jobs_of(folder: Path, **changes: object) -> list[Job]:
    return list(expand(load_plan(write_plan(folder, **changes))))


def test_every_method_on_every_measurement_with_every_seed(tmp_path):
    plan = write_plan(
        tmp_path,
        methods=[{"name": "a", "config": METHOD}, {"name": "b", "config": METHOD, "seeds": [7]}],
        data=[{"name": "ct", "config": load_plan(write_plan(tmp_path)).data[0].tree, "indices": "0-2,5"}],
        seeds=3,
    )
    jobs = list(expand(load_plan(plan)))
    assert {(job.method, job.index, job.seed) for job in jobs} == {
        *(("a", index, seed) for index in (0, 1, 2, 5) for seed in range(3)),
        *(("b", index, 7) for index in (0, 1, 2, 5)),
    }
    assert len({job.key for job in jobs if job.method == "a"}) == 12
    assert all(get_key(job.tree, "data.index") == job.index for job in jobs)


def test_grid_over_method_and_data(tmp_path):
    grid = {"model.outer_steps": [2, 4], "data.acquisition.views": [5, 6, 7]}
    jobs = jobs_of(tmp_path, grid=grid, baselines=["Initial"])
    fits = [job for job in jobs if job.kind == "fit"]
    assert {(job.method, job.data) for job in fits} == {
        (f"dip[outer_steps={steps}]", f"ct[views={views}]") for steps in (2, 4) for views in (5, 6, 7)
    }
    assert [get_key(job.tree, "data.acquisition.views") for job in jobs if job.kind == "baseline"] == [5, 6, 7]
    assert len({job.key for job in jobs}) == len(jobs)


def test_a_baseline_is_run_once_on_each_of_the_methods_own_data(tmp_path):
    method = {"config": {**METHOD, "data": DATA}, "data": "own"}
    methods = [
        {"name": "a", **method, "grid": {"data.acquisition.views": [6, 9]}},
        {"name": "b", **method, "overrides": {"data.acquisition.views": 9}},
        {"name": "elsewhere", "config": METHOD, "data": "other"},
    ]
    sources = [{"name": "own", "indices": [0, 1]}, {"name": "other", "config": DATA}]
    jobs = jobs_of(tmp_path, methods=methods, baselines=["Initial"], data=sources)
    views = [
        (job.data, job.index, get_key(job.tree, "data.acquisition.views")) for job in jobs if job.kind == "baseline"
    ]
    assert views == [("own", 0, 6), ("own", 0, 9), ("own", 1, 6), ("own", 1, 9), ("other", None, 6)]
    fitted = {content_hash({"data": job.tree["data"]}) for job in jobs if job.kind == "fit"}
    assert {content_hash({"data": job.tree["data"]}) for job in jobs if job.kind == "baseline"} == fitted


@pytest.mark.parametrize(
    ("baseline", "drawn"),
    [
        ({"class_path": "DPS", "init_args": {"weights": "untrained", "denoiser": "torch.nn.Identity"}}, True),
        ({"class_path": "dip_lightning.compare.baselines.DeepinvDIP"}, True),
        ({"class_path": "TotalVariation", "init_args": {"rule": "held_out"}}, True),
        ({"class_path": "TotalVariation"}, False),
        ({"class_path": "Initial"}, False),
        ({"class_path": "absent.Baseline"}, False),
    ],
)
def test_baselines_that_draw_are_run_with_every_seed(tmp_path, baseline, drawn):
    jobs = jobs_of(tmp_path, methods=[], baselines=[{"name": "b", **baseline}], seeds=[5, 6, 7])
    assert [job.seed for job in jobs] == ([5, 6, 7] if drawn else [5])


def test_hash_depends_on_what_changes_the_result_alone(tmp_path):
    job = jobs_of(tmp_path)[0]
    shuffled = dict(reversed(list(job.tree.items())))
    assert content_hash(shuffled) == job.key
    assert content_hash(set_key(job.tree, "trainer.logger", "WandbLogger")) == job.key
    assert content_hash({**job.tree, "progress": {"seconds": 1}}) == job.key
    assert content_hash(set_key(job.tree, "model.optimizer.lr", 0.02)) != job.key
    assert content_hash(set_key(job.tree, "data.noise_seed", 1)) != job.key
    assert content_hash({"a": 1.0}) == content_hash({"a": 1}) != content_hash({"a": True})


def test_hash_is_the_same_in_every_process(tmp_path):
    # Written down once: a release that changes it would repeat everybody's finished work.
    assert content_hash({"model": {"class_path": "DIP", "init_args": {"lr": 1e-4}}, "seed_everything": 0}) == (
        "69d1c2ba10a8"
    )


def test_referenced_files_are_part_of_the_job(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "data.yaml").write_text("class_path: Phantom\n")
    (tmp_path / "method.yaml").write_text("model: {class_path: DIP}\ndata: parts/data.yaml\n")
    assert load_tree(tmp_path / "method.yaml")["data"] == {"class_path": "Phantom"}


def test_files_named_in_settings_are_part_of_the_job_relative_to_the_comparison(tmp_path):
    (tmp_path / "parts").mkdir()
    network = {"class_path": "tests.support.TinyNetwork", "init_args": {"in_channels": 1}}
    (tmp_path / "parts" / "network.yaml").write_text(yaml.safe_dump(network))
    key, name = "model.network", "parts/network.yaml"
    inline = set_key(METHOD, key, name)
    for changes in (
        {"overrides": {key: name}},
        {"grid": {key: [name]}},
        {"methods": [{"config": METHOD, "overrides": {key: name}}]},
        {"methods": [{"config": METHOD, "grid": {key: [name]}}]},
        {"methods": [{"config": inline}]},
    ):
        (job,) = jobs_of(tmp_path, **changes)
        assert get_key(job.tree, key) == network
    baseline = {"class_path": "DPS", "init_args": {"denoiser": name}}
    (job,) = jobs_of(tmp_path, methods=[], baselines=[baseline])
    assert get_key(job.tree, "baseline.denoiser") == network


def test_keys_lead_through_classes_and_lists():
    tree = {"model": {"class_path": "DIP", "init_args": {"network": "UNet"}}, "trainer": {"callbacks": [{"a": 1}]}}
    changed = set_key(tree, "model.network.width", 8)
    assert changed["model"]["init_args"]["network"] == {"class_path": "UNet", "init_args": {"width": 8}}
    assert tree["model"]["init_args"]["network"] == "UNet"
    assert set_key(tree, "trainer.callbacks.0.a", 2)["trainer"]["callbacks"] == [{"a": 2}]
    assert set_key(tree, "trainer.callbacks+", {"b": 1})["trainer"]["callbacks"] == [{"a": 1}, {"b": 1}]
    with pytest.raises(ConfigurationError, match=r"trainer\.callbacks\.3\.a"):
        set_key(tree, "trainer.callbacks.3.a", 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": []}, "Did you mean 'methods'"),
        ({"methods": [{"config": METHOD, "nme": "x"}]}, "Did you mean 'name'"),
        ({"methods": [{"config": "absent.yaml"}]}, "absent.yaml does not exist"),
        ({"methods": []}, "neither methods nor baselines"),
        ({"methods": [{"name": "a", "config": METHOD}] * 2}, "given twice"),
        ({"seeds": 0}, "seeds=0"),
        ({"seeds": [0, 5_000_000_000]}, "seeds=5000000000 must be from 0 to"),
        ({"seeds": [-1]}, "seeds=-1 must be from 0 to"),
        ({"methods": [{"config": METHOD, "seeds": [2**32]}]}, "seeds=4294967296 must be"),
        ({"grid": {"model.lr": 1}}, "list of values"),
        ({"grid": {"seed_everything": [0, 1]}}, "grid: seed_everything is set from `seeds:`"),
        ({"overrides": {"model.init_args.seed": 1}}, "overrides: model.init_args.seed is set from `seeds:`"),
        ({"methods": [{"config": METHOD, "overrides": {"model.seed": 1}}]}, "overrides: model.seed is set"),
        ({"overrides": {"data": DATA}}, "overrides must not set all of `data`"),
        ({"grid": {"data": [DATA]}}, "grid must not set all of `data`"),
        ({"overrides": ["a"]}, r"overrides=\['a'\] must give a value for each key"),
        ({"methods": [{"config": METHOD, "overrides": [1]}]}, "must give a value for each key"),
        ({"data": [{"config": DATA, "overrides": 5}]}, "overrides=5 must give a value"),
        ({"root": 5}, "root=5 must be one text"),
        ({"reference": ["dip"]}, r"reference=.* must be one text"),
        ({"reference": "dipp"}, "Did you mean 'dip'"),
    ],
)
def test_errors_in_the_plan_say_what_is_wrong(tmp_path, changes, message):
    with pytest.raises(ConfigurationError, match=message):
        load_plan(write_plan(tmp_path, **changes))


@pytest.mark.parametrize("indices", ["5-3", "0-2,5-3", [], "", "a", ["0"], 1.5, True])
def test_indices_that_name_nothing_are_refused(tmp_path, indices):
    with pytest.raises(ConfigurationError, match="is neither a list of numbers nor a range"):
        load_plan(write_plan(tmp_path, data=[{"name": "ct", "config": DATA, "indices": indices}]))


@pytest.mark.parametrize("key", ["data.batch", "data.repeat", "trainer.devices"])
def test_each_measurement_and_seed_is_a_job_of_its_own(tmp_path, key):
    with pytest.raises(ConfigurationError, match=f"{key} must be 1"):
        jobs_of(tmp_path, overrides={key: 2})


@pytest.mark.parametrize(
    "changes",
    [
        {"overrides": {"data.size": 32}},
        {"grid": {"data.acquisition.views": [4, 8]}},
        {"grid": {"data": [set_key({"data": DATA}, "data.size", 32)["data"]]}},
    ],
)
def test_data_of_a_method_are_refused_where_the_comparisons_replace_them(tmp_path, changes):
    key = next(iter(next(iter(changes.values()))))
    with pytest.raises(ConfigurationError, match=rf"dip sets {key}, but `data: ct` replaces.*`grid:`"):
        jobs_of(tmp_path, methods=[{"name": "dip", "config": METHOD, **changes}])
    own = {"name": "dip", "config": {**METHOD, "data": DATA}, **changes}
    trees = [job.tree for job in jobs_of(tmp_path, methods=[own], data=[])]
    found = [(get_key(tree, "data.size"), get_key(tree, "data.acquisition.views")) for tree in trees]
    assert found in ([(32, 6)], [(16, 4), (16, 8)])


def test_callbacks_of_the_comparison_and_of_a_method_are_both_appended(tmp_path):
    method = {"name": "dip", "config": METHOD, "overrides": {"trainer.callbacks+": "OutputAverage"}}
    (job,) = jobs_of(tmp_path, methods=[method], overrides={"trainer.callbacks+": "EarlyStoppingWMV"})
    assert job.tree["trainer"]["callbacks"] == ["EarlyStoppingWMV", "OutputAverage"]


def test_shards_are_the_whole_list_without_overlap(tmp_path):
    jobs = jobs_of(tmp_path, seeds=11)
    parts = [shard(jobs, f"{part}/4") for part in range(1, 5)]
    assert sorted(job.name for part in parts for job in part) == sorted(job.name for job in jobs)
    for wrong in ("0/4", "5/4", "2", "a/b"):
        with pytest.raises(ConfigurationError, match="--shard"):
            shard(jobs, wrong)


def test_names_from_data_make_safe_folders(tmp_path):
    job = replace(jobs_of(tmp_path)[0], method="../a b<script>", data="x/../y")
    assert job.folder.parent.parent == Path(job.root)
    assert set(job.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_+=,-./[]")
    assert ".." not in job.name
    signs = replace(job, method="***", data="<>")
    assert signs.name.startswith("_/__seed")
    assert signs.folder.parent.parent == Path(job.root)


def test_time_is_estimated_from_finished_jobs(tmp_path):
    jobs = jobs_of(tmp_path, seeds=3)
    write_json(jobs[0].folder / SUMMARY, {"seconds": 12.0})
    states = {job.name: state(job) for job in jobs}
    assert expected_seconds(jobs, states) == {jobs[1].name: 12.0, jobs[2].name: 12.0}


def test_dry_run_lists_and_does_nothing(tmp_path, capsys):
    path = write_plan(tmp_path, seeds=2)
    assert main(["compare", "--config", str(path), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.count("new ") == 2
    assert not (tmp_path / "root").exists()


def test_command_refuses_in_one_line(tmp_path, capsys):
    assert main(["compare", "--config", str(tmp_path / "absent.yaml")]) == 2
    assert "absent.yaml does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "mistakes"),
    [
        ({"overrides": {"model.outr_steps": 3}}, ["dip on ct: model: DIP has no option 'outr_steps'. Did you mean"]),
        ({"overrides": {"trainer.max_epoch": 3}}, ["option 'trainer.max_epoch'"]),
        ({"overrides": {3: 3}}, ["option '3'"]),
        ({"baselines": ["TotalVariaton"]}, ["TotalVariaton on ct: baseline: there is no class 'TotalVariaton'."]),
        (
            {"baselines": ["Initial"], "grid": {"data.kind": ["elipses", "ellipses"], "model.inner_steps": [1, "two"]}},
            [
                "dip[inner_steps=1] on ct[kind=elipses] and 1 more: data.kind: 'elipses' is unknown. Did you mean",
                "dip[inner_steps=two] on ct[kind=elipses] and 1 more: model.inner_steps: expected int, got 'two'.",
            ],
        ),
    ],
)
@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_wrong_configurations_are_refused_before_anything_starts(tmp_path, capsys, changes, mistakes, options):
    path = write_plan(tmp_path, seeds=2, **changes)
    assert main(["compare", "--config", str(path), *options]) == 2
    error = capsys.readouterr().err
    for mistake in mistakes:
        assert mistake in error
    assert len(error.strip().splitlines()) == 1 + len(mistakes)
    assert not (tmp_path / "root").exists()


def test_what_is_finished_is_not_checked(tmp_path):
    path = write_plan(tmp_path, overrides={"model.outr_steps": 3})
    (job,) = expand(load_plan(path))
    write_json(job.folder / SUMMARY, {"seconds": 1.0})
    assert main(["compare", "--config", str(path), "--dry-run"]) == 0


@pytest.mark.slow
def test_hundred_thousand_jobs(tmp_path):
    config = yaml.safe_load(yaml.safe_dump(METHOD))
    config["trainer"]["callbacks"] = [{"class_path": "EarlyStoppingWMV", "init_args": {"window": 100}}] * 4
    path = write_plan(
        tmp_path,
        methods=[{"name": f"m{number}", "config": config} for number in range(10)],
        data=[{"name": "ct", "config": load_plan(write_plan(tmp_path)).data[0].tree, "indices": "0-999"}],
        seeds=10,
    )
    plan = load_plan(path)
    for job in list(expand(replace(plan, data=(replace(plan.data[0], indices=(0,)),)))):
        write_json(job.folder / SUMMARY, {"seconds": 1.0})
    started = time.perf_counter()
    jobs = unique(expand(plan))
    states = [state(job) for job in jobs]
    seconds = time.perf_counter() - started
    assert len(jobs) == 100_000
    assert states.count("finished") == 100
    assert seconds / len(jobs) < 1e-3
    tracemalloc.start()
    kept = unique(expand(replace(plan, data=(replace(plan.data[0], indices=tuple(range(100))),))))
    per_job = tracemalloc.get_traced_memory()[0] / len(kept)
    tracemalloc.stop()
    assert per_job * 100_000 < 1e9
    print(f"{1e3 * seconds / len(jobs):.3f} ms and {per_job / 1024:.1f} KiB a job")


def test_method_of_its_own_for_each_task(tmp_path):
    data = load_plan(write_plan(tmp_path)).data[0].tree
    methods = [
        {"name": "dip", "config": METHOD, "data": "a"},
        {"name": "dip", "config": METHOD, "overrides": {"model.outer_steps": 3}, "data": "b"},
    ]
    sources = [{"name": "a", "config": data}, {"name": "b", "config": data}]
    jobs = jobs_of(tmp_path, methods=methods, data=sources)
    assert [(job.method, job.data, get_key(job.tree, "model.outer_steps")) for job in jobs] == [
        ("dip", "a", 6),
        ("dip", "b", 3),
    ]
    methods[1]["data"] = ["a", "b"]
    with pytest.raises(ConfigurationError, match="the name dip is given twice"):
        load_plan(write_plan(tmp_path, methods=methods, data=sources))
    methods[1]["data"] = "c"
    with pytest.raises(ConfigurationError, match="is for data 'c'"):
        load_plan(write_plan(tmp_path, methods=methods, data=sources))


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "compare").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_comparisons_are_understood(path):
    jobs = unique(expand(load_plan(path)))
    before = copy.deepcopy([job.tree for job in jobs])
    check_jobs(jobs)
    assert [job.tree for job in jobs] == before
    assert len({job.name for job in jobs}) == len(jobs)
