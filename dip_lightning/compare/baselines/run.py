"""Run a baseline and write the run folder that a fit would write."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser, Namespace
from torch import Tensor

from dip_lightning.callbacks.metric_rows import MetricRows
from dip_lightning.callbacks.preview import preview_figure
from dip_lightning.compare.baselines.base import Baseline
from dip_lightning.functional.metrics import Scorer
from dip_lightning.measurement import Measurement
from dip_lightning.records import circumstances, image_attributes
from dip_lightning.run_folder import CONFIG, PREVIEW, RunFolder


def run_baseline(tree: dict[str, Any], path: Path, name: str, seed: int, preview: bool = True) -> None:
    """Reconstruct a measurement with a baseline.

    Args:
        tree: ``baseline`` and ``data``, each with ``class_path`` and ``init_args``; ``accelerator`` if not the CPU.
        path: The run folder.
        name: Name of the baseline in tables.
        seed: Seed of whatever it draws.
        preview: Whether to draw ``preview.png``.

    Raises:
        DIPError: If the configuration is wrong or the baseline does not apply.
    """
    baseline, measurement = _build(tree)
    folder = RunFolder(path)
    folder.claim(overwrite=True, resume=False)
    folder.clear()
    folder.write_text(CONFIG, yaml.safe_dump(tree, sort_keys=False))
    device = _device(str(tree.get("accelerator", "cpu")))
    measurement = measurement.to(device)
    watch = _Watch(measurement)
    started = _now(device)
    with torch.no_grad():
        image = measurement.as_image(baseline.reconstruct(measurement, seed, watch))
    seconds = _now(device) - started - watch.seconds
    _write(folder, baseline, measurement, image, watch, {"method": name, "seed": seed, "seconds": seconds}, preview)


def parse_baseline(tree: dict[str, Any]) -> tuple[ArgumentParser, Namespace]:
    """Parse a baseline's configuration without building anything.

    Args:
        tree: See :func:`run_baseline`.

    Returns:
        The parser, and what it made of ``baseline`` and ``data``.

    Raises:
        ArgumentError: If the configuration is wrong.
    """
    import dip_lightning.cli  # noqa: F401  (importing a class makes its short name known)
    from dip_lightning.data.base import MeasurementDataModule

    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Baseline, "baseline")
    parser.add_subclass_arguments(MeasurementDataModule, "data")
    # A copy, for the parser puts its own objects into lists that it is given.
    return parser, parser.parse_object({key: copy.deepcopy(tree[key]) for key in ("baseline", "data")})


def _build(tree: dict[str, Any]) -> tuple[Baseline, Measurement]:
    parser, parsed = parse_baseline(tree)
    built = parser.instantiate_classes(parsed)
    built.data.setup("fit")
    return built.baseline, built.data.measurement


def _device(accelerator: str) -> torch.device:
    wanted = accelerator in {"gpu", "cuda", "auto"} and torch.cuda.is_available()
    return torch.device("cuda" if wanted else "cpu")


def _now(device: torch.device) -> float:
    """Seconds on a clock, once the device has done what it was given: a GPU is still at work when a call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class _Watch:
    """Scores every iterate that a baseline shows; the time that takes is not the baseline's."""

    def __init__(self, measurement: Measurement) -> None:
        self.rows = MetricRows(flush_seconds=float("inf"))
        self.scorer = Scorer(measurement) if measurement.target is not None else None
        self.measurement = measurement
        self.iterations = 0
        self.seconds = 0.0
        self.best: tuple[float, int, Tensor | None] = (-float("inf"), 0, None)
        self.device = measurement.y.device
        self._started = _now(self.device)

    def __call__(self, iteration: int, image: Tensor) -> None:
        now = _now(self.device)
        self.iterations = iteration
        image = self.measurement.as_image(image)  # zero where no coil sees it, as the images of the methods are
        residual = self.measurement.physics.A(image) - self.measurement.y
        record = {"loss": residual.abs().square().mean().reshape(1)}
        if self.scorer is not None:
            record["psnr"] = self.scorer.psnr(image)
            psnr = float(record["psnr"][0])
            if psnr > self.best[0]:
                self.best = psnr, iteration, image.clone()
        self.rows.add(iteration, now - self._started - self.seconds, record)
        self.seconds += _now(self.device) - now


def _write(
    folder: RunFolder,
    baseline: Baseline,
    measurement: Measurement,
    image: Tensor,
    watch: _Watch,
    known: dict[str, Any],
    preview: bool,
) -> None:
    shown = {"estimate": image, "last": image, "initial": measurement.initial, "target": measurement.target}
    arrays = {name: tensor[0].float().cpu().numpy() for name, tensor in shown.items() if tensor is not None}
    iterations = max(watch.iterations, 1)
    summary = {
        "method": known["method"],
        "task": measurement.task,
        "measurement": measurement.ids[0],
        "seed": known["seed"],
        "iterations": watch.iterations,
        "stopped_by": "baseline",
        "seconds": round(known["seconds"], 4),
        "seconds_per_iteration": known["seconds"] / iterations,
        **_scores(watch, measurement, image),
        "callbacks": {},
        "settings": {"baseline": type(baseline).__name__, **baseline.settings},
        **circumstances(measurement, image.device),
    }
    watch.rows.flush([folder])
    folder.write_images(arrays, image_attributes(measurement, 0))
    if preview:
        figure = preview_figure(arrays, measurement, summary, watch.rows.curves(0))
        with folder.writing(PREVIEW) as path:
            figure.savefig(path, dpi=110, format="png")
    folder.write_summary(summary)


def _scores(watch: _Watch, measurement: Measurement, image: Tensor) -> dict[str, Any]:
    if watch.scorer is None:
        return {"psnr": None, "ssim": None, "nmse": None, "oracle_iteration": None, "regret_db": None}
    images = {"initial": measurement.initial, "last": image, "estimate": image}
    if watch.best[2] is not None:
        images["oracle"] = watch.best[2]
    scored = {name: watch.scorer.all(item) for name, item in images.items()}
    psnr = {name: float(scores["psnr"][0]) for name, scores in scored.items()}
    return {
        **{metric: {name: float(scores[metric][0]) for name, scores in scored.items()} for metric in scored["initial"]},
        "metrics": watch.scorer.definition(),
        "oracle_iteration": watch.best[1] or None,
        "regret_db": psnr["oracle"] - psnr["estimate"] if "oracle" in psnr else None,
    }
