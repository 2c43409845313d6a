"""The Ray runner on a cluster of simulated nodes: what is lost is done again, each job once."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dip_lightning.cli import main
from dip_lightning.compare import ray_runner
from dip_lightning.compare.jobs import Job, expand, read_json, state
from dip_lightning.compare.plan import load_plan
from dip_lightning.compare.progress import Display
from dip_lightning.compare.ray_runner import RayRunner
from dip_lightning.errors import ConfigurationError
from dip_lightning.run_folder import RunFolder
from tests.compare.small import with_class, write_plan


def jobs_of(plan: Path) -> list[Job]:
    return list(expand(load_plan(plan)))


def test_without_ray_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r"dip_lightning\[ray\]"):
        RayRunner().run([], Display(0, quiet=True))


def test_files_come_back_where_the_root_is_not_shared(tmp_path):
    job = jobs_of(write_plan(tmp_path))[0]
    result = ray_runner._do(job.as_dict(), False, str(tmp_path / "no probe"))
    assert not job.folder.exists()
    assert {"summary.json", "reconstruction.h5", "metrics.csv", "config.yaml", "log.txt"} <= result["files"].keys()

    class Ray:
        @staticmethod
        def get(reference: Any) -> dict[str, Any]:
            return result

    assert ray_runner._take(Ray, None, job)[0] == "finished"
    assert state(job) == "finished"
    assert RunFolder(job.folder).read_image().shape == (1, 16, 16)


def test_lost_once_too_often_is_recorded(tmp_path):
    class Ray:
        @staticmethod
        def get(reference: Any) -> None:
            raise RuntimeError("The worker died unexpectedly.\nmore")

    job = jobs_of(write_plan(tmp_path))[0]
    assert ray_runner._take(Ray, None, job) == ("failed", 0.0)
    assert "The worker died unexpectedly." in json.loads((job.folder / "failure.json").read_text())["error"]


@pytest.fixture
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="ray is an extra")
    utilities = pytest.importorskip("ray.cluster_utils")
    nodes = utilities.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.mark.slow
def test_worker_and_node_lost_during_forty_jobs(tmp_path, cluster):
    methods = [{"name": "slow", "config": {**with_class("Slow", outer_steps=8), "checkpoint": {"seconds": 0.0}}}]
    alone = write_plan(tmp_path, root=str(tmp_path / "alone"), methods=methods, seeds=40)
    assert main(["compare", "--config", str(alone), "--workers", "0", "--quiet"]) == 0
    plan = write_plan(tmp_path, methods=methods, seeds=40)
    lost = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()

    def disturb() -> None:
        wait_until(lambda: done(plan) >= 4)
        os.kill(working(plan), signal.SIGKILL)
        wait_until(lambda: done(plan) >= 12)
        cluster.remove_node(lost)

    disturber = threading.Thread(target=disturb, daemon=True)
    disturber.start()
    command = ["compare", "--config", str(plan), "--quiet", "--runner", "ray", "--address", cluster.address]
    assert main(command) == 0
    disturber.join(timeout=5)
    assert not disturber.is_alive()
    jobs = jobs_of(plan)
    assert all(state(job) == "finished" for job in jobs)
    for job, other in zip(jobs, jobs_of(alone), strict=True):
        np.testing.assert_array_equal(RunFolder(job.folder).read_image(), RunFolder(other.folder).read_image())
        assert (job.folder / "log.txt").read_text().count("stopped by outer_steps") == 1


def done(plan: Path) -> int:
    return sum(state(job) == "finished" for job in jobs_of(plan))


def working(plan: Path) -> int:
    """Process that holds the lock of a job."""
    found: list[int] = []

    def look() -> bool:
        locks = [read_json(lock) for lock in (Path(jobs_of(plan)[0].root) / ".jobs").glob("*.lock")]
        found.extend(lock["pid"] for lock in locks if lock)
        return bool(found)

    wait_until(look)
    return found[0]


def wait_until(condition: Any, seconds: float = 240.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
