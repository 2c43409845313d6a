"""What several seeds of one measurement say together: their mean, and how far they are apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from dip_lightning.functional.metrics import Scorer, score
from dip_lightning.measurement import Measurement
from dip_lightning.members import take_rows
from dip_lightning.methods.base import BaseDIP
from dip_lightning.records import circumstances, image_attributes
from dip_lightning.run_folder import RunFolder


def write_repetitions(method: BaseDIP, folders: list[RunFolder]) -> list[RunFolder]:
    """Write a run folder for each measurement that was reconstructed from several seeds.

    It stands beside those of the seeds, as ``seeds<first>-<last>``. Its ``reconstruction.h5`` holds the mean of the
    estimates as ``estimate`` and their pixelwise standard deviation (dividing by the number of seeds less one) as
    ``uncertainty``. Seeds whose fit broke down are left out. ``docs/uncertainty.md`` says what the two mean.

    Args:
        method: The method, at the end of its fit.
        folders: Run folder of each member; empty where nothing is kept.

    Returns:
        The folders written.
    """
    measurement = method.measurement
    if measurement.repetitions is None or not folders:
        return []
    written = []
    for name in dict.fromkeys(measurement.ids):
        members = [
            member
            for member, own in enumerate(measurement.ids)
            if own == name and method.ending(member).reason != "nan"
        ]
        if len(members) > 1:
            folder = RunFolder(folders[members[0]].path.parent / _folder(method, members))
            _write(folder, method, members)
            written.append(folder)
    return written


def _write(folder: RunFolder, method: BaseDIP, members: list[int]) -> None:
    measurement = replace(take_rows(method.measurement, [members[0]], method.measurement.physics), repetitions=None)
    estimates = method.estimate[members].double()
    mean, deviation = estimates.mean(0, keepdim=True), estimates.std(0)
    images: dict[str, Any] = {
        "estimate": mean[0],
        "uncertainty": deviation,
        "initial": measurement.initial[0],
        "target": None if measurement.target is None else measurement.target[0],
    }
    arrays = {name: np.asarray(image.float().cpu()) for name, image in images.items() if image is not None}
    folder.write_images(arrays, image_attributes(measurement, 0))
    folder.write_summary(_summary(method, measurement, members, mean, deviation))


def _summary(
    method: BaseDIP, measurement: Measurement, members: list[int], mean: Any, deviation: Any
) -> dict[str, Any]:
    seeds = method.member_seeds(method.measurement)
    scores: dict[str, Any] = {"psnr": None, "ssim": None, "nmse": None}
    if measurement.target is not None:
        images = {"initial": measurement.initial, "estimate": mean}
        found = {name: score(measurement, image) for name, image in images.items()}
        scores = {metric: {name: float(found[name][metric][0]) for name in images} for metric in found["initial"]}
        scores["metrics"] = Scorer(measurement).definition()
    return {
        "method": method.name,
        "task": measurement.task,
        "measurement": measurement.ids[0],
        "seed": None,
        "seeds": [seeds[member] for member in members],
        "iterations": method.iteration,
        "stopped_by": method.stopped_by,
        "seconds": round(method.seconds, 3),
        **scores,
        "mean_uncertainty": float(deviation.mean()),
        **circumstances(measurement, method.device),
    }


def _folder(method: BaseDIP, members: list[int]) -> str:
    seeds = [method.member_seeds(method.measurement)[member] for member in members]
    return f"seeds{seeds[0]}-{seeds[-1]}"
