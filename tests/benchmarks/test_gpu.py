"""The program for a GPU: nothing that was measured is lost, and nothing that failed is passed over."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import _gpu_rates, gpu, profile, table
from benchmarks._gpu_rates import Case, cases, rate


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmarks gpu", "--quick", *arguments])
    return gpu.main()


def imitate(monkeypatch: pytest.MonkeyPatch, failing: str = "nothing") -> list[Case]:
    """Rates without fits; of one engine each is an error."""
    measured: list[Case] = []

    def imitated(case: Case, steps: int, deadline: float) -> dict[str, Any]:
        measured.append(case)
        if case.engine == failing:
            raise RuntimeError("out | of memory\nand more")
        return {"member_steps_per_s": 10.0 * case.members, "timed_steps": steps, "fell_back": False}

    monkeypatch.setattr(gpu, "rate", imitated)
    return measured


def test_a_rate_that_fails_costs_no_other_and_the_program_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured = imitate(monkeypatch, failing="cuda_graph")
    assert run(monkeypatch, "--sections", "stacked", "engines", "--out", str(tmp_path)) == 1
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert len(measured) == 9
    assert result["stacked"]["ct 32x32, small, compile, 2 at once, vmap"]["times_faster"] == 2
    assert len(result["failed"]) == 3
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    assert "failed: RuntimeError: out / of memory |" in table.gpu()
    assert run(monkeypatch, "--sections", "large", "--out", str(tmp_path)) == 1
    imitate(monkeypatch)
    assert run(monkeypatch, "--sections", "large", "--out", str(tmp_path)) == 0


def test_every_rate_is_written_as_soon_as_it_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured = imitate(monkeypatch)
    written: list[int] = []
    write = gpu.write_result
    monkeypatch.setattr(gpu, "write_result", lambda *a: (written.append(len(measured)), write(*a))[1])
    run(monkeypatch, "--sections", "engines", "--out", str(tmp_path))
    assert written == [1, 2, 3, 3]


def test_what_there_is_no_time_for_is_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured = imitate(monkeypatch)
    assert run(monkeypatch, "--seconds", "0", "--sections", "engines", "--out", str(tmp_path)) == 0
    assert not measured
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    assert "skipped: out of time" in table.gpu()


def test_compilation_comes_last() -> None:
    engines = [case.engine for case in cases(quick=False)]
    assert engines == sorted(engines, key=lambda engine: engine == "compile")
    assert len(set(cases(quick=False))) == len(engines)


def test_a_child_writes_nothing_and_tells_its_minutes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = imitate(monkeypatch)
    monkeypatch.setattr(gpu, "write_result", lambda *_: pytest.fail("written"))
    assert run(monkeypatch, "--child") == 0
    assert {case.engine for case in measured} == {"eager", "cuda_graph"}
    assert json.loads(capsys.readouterr().out)["minutes_for_20"] == pytest.approx(20 * 20_000 / 20 / 60)


@pytest.mark.parametrize(("second", "rc"), [('{"minutes_for_20": 6.0}\n', 0), ("", 1), ('{"minutes_for_20": null}', 1)])
def test_devices_share_the_reconstructions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, second: str, rc: int
) -> None:
    said, environments = iter(['{"minutes_for_20": 3.0}\n', second]), []

    def popen(command: list[str], env: dict[str, str], **_: Any) -> Any:
        environments.append(env["CUDA_VISIBLE_DEVICES"])
        return SimpleNamespace(communicate=lambda timeout: (next(said), None), kill=lambda: None)

    imitate(monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    monkeypatch.setattr(gpu.subprocess, "Popen", popen)
    assert run(monkeypatch, "--devices", "2", "--sections", "engines", "--out", str(tmp_path)) == rc
    figure = json.loads((tmp_path / "gpu.json").read_text())["devices"]["2 devices"]
    assert environments == ["5", "7"]
    assert (figure["minutes_for_20"] == 2) if rc == 0 else ("device 1 of 2" in figure["failed"])


def test_a_rate_counts_from_the_start_of_the_fit_and_heeds_the_deadline() -> None:
    case = Case("engines", "small", 32, "eager", members=2, evaluation="loop", channels_last=True)
    figure = rate(case, 20, time.perf_counter() + 100)
    assert figure["timed_steps"] == 20
    assert figure["first_outer_steps_s"] > 0.2 * 10 * _gpu_rates.WARM_UP / figure["steps_per_s"]
    assert figure["member_steps_per_s"] == 2 * figure["steps_per_s"]
    assert rate(case, 100, time.perf_counter())["timed_steps"] == 10


def test_waits_are_those_for_a_stream() -> None:
    counts = {"cudaStreamSynchronize": 3, "aten::_local_scalar_dense": 2, "cudaLaunchKernel": 50}
    assert profile._waits([SimpleNamespace(key=key, count=count) for key, count in counts.items()]) == 3
