"""Measured brains: recognisable images, and the figures of direct loops reproduced."""

import json
from pathlib import Path

import pytest
import torch

from dip_lightning.cli import main
from dip_lightning.data import RawKSpace
from dip_lightning.data.kspace import crop_images
from dip_lightning.data.readers.kspace import read_kspace
from dip_lightning.functional.metrics import score
from dip_lightning.physics import CartesianMRI, ESPIRiT, RandomLines
from dip_lightning.physics.mri import root_sum_of_squares

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = ["--model.network=SmallUNet", "--model.network.in_channels=2", "--model.network.out_channels=2"]
FULL = ESPIRiT(calibration="full")
BRAINS = {
    "brain16": ("mri_brain16ch_sense_tutorial/kspace.npy", None),
    "brain8": ("mri_brain8ch_espirit/kspace_full.npy", (224, 176)),
}


@pytest.fixture
def brain(data_root):
    def load(name, acquisition, **kwargs):
        path, crop = BRAINS[name]
        if not (data_root / path).is_file():
            pytest.skip(f"no measured k-space: {data_root / path} does not exist")
        module = RawKSpace(acquisition, str(data_root / path), name=name, image_crop=crop, **kwargs)
        module.setup("fit")
        return module.measurement

    return load


def psnr(measurement):
    return float(score(measurement, measurement.initial)["psnr"])


@pytest.mark.parametrize("name", BRAINS)
def test_combination_by_espirit_is_the_root_sum_of_squares_inside_the_head(brain, name, data_root):
    measurement = brain(name, CartesianMRI(coils=FULL))
    path, crop = BRAINS[name]
    kspace = torch.from_numpy(read_kspace(data_root / path))
    kspace = kspace if crop is None else crop_images(kspace[0], crop, path)[None]
    rss = root_sum_of_squares(kspace)[0, 0] * measurement.metadata["scale"][0]
    combined = measurement.target.norm(dim=1)[0]
    head = rss > 0.1 * rss.max()
    assert (combined - rss)[head].norm() < 0.01 * rss[head].norm()


@pytest.mark.parametrize(
    ("name", "mask", "zero_filled", "cg_sense"),
    [
        ("brain16", RandomLines(4, 0.08), 21.6, 32.4),
        ("brain16", RandomLines(8, 0.04), 17.7, 24.9),
        ("brain8", RandomLines(4, 0.08), 22.6, 21.7),
    ],
)
def test_zero_filled_and_cg_sense_are_what_direct_loops_gave(brain, name, mask, zero_filled, cg_sense):
    assert psnr(brain(name, CartesianMRI(mask, FULL))) == pytest.approx(zero_filled, abs=0.1)
    assert psnr(brain(name, CartesianMRI(mask, FULL, initial="cg"))) == pytest.approx(cg_sense, abs=0.1)


def test_maps_from_the_sampled_centre_alone(brain):
    """Nearly as good where the centre is wide enough; with 7 lines a smaller kernel still gains 7 dB by CG-SENSE."""
    assert psnr(brain("brain8", CartesianMRI(coils=ESPIRiT(), initial="cg"))) == pytest.approx(21.8, abs=0.2)
    assert psnr(brain("brain16", CartesianMRI(coils=ESPIRiT(), initial="cg"))) > 28.5


def test_few_iterations_and_whitening_regularise(brain):
    """CG-SENSE to the end amplifies the noise of the 8-coil brain; stopped early it gains 6 dB."""
    few = brain("brain8", CartesianMRI(coils=FULL, initial="cg", cg_iterations=8, whiten=15))
    assert psnr(few) > 28
    assert few.noise_level == pytest.approx(0.0124, rel=0.05)


def test_data_that_were_measured_undersampled(data_root):
    path = data_root / "mri_brain8ch_poisson_sigpy" / "kspace.npy"
    if not path.is_file():
        pytest.skip(f"no measured k-space: {path} does not exist")
    module = RawKSpace(CartesianMRI(coils=ESPIRiT(), initial="cg"), str(path), retrospective=False)
    module.setup("fit")
    measurement = module.measurement
    assert measurement.target is None
    assert measurement.metadata["sampled_fraction"] == pytest.approx(0.124, abs=0.001)
    residual = measurement.physics.A(measurement.initial) - measurement.y
    assert residual.norm() < 0.2 * measurement.y.norm()


@pytest.mark.parametrize("data", ["mri_brain16", "mri_brain8", "mri_poisson8"])
def test_configuration_takes_measured_data_in_place_of_the_phantom(data, data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DIP_LIGHTNING_DATA", str(data_root))
    short = ["--model.outer_steps=1", "--model.inner_steps=1", "--trainer.accelerator=cpu", "--record.preview=false"]
    files = [f"--config={CONFIGS / 'aseqdip_mri.yaml'}", f"--data={CONFIGS / 'data' / f'{data}.yaml'}"]
    assert main(["fit", *files, *SMALL, *short, f"--record.run_dir={tmp_path}"]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["measurement"] == data.removeprefix("mri_")
    assert summary["metadata"]["coil_maps"]["class"] == "ESPIRiT"
    assert summary["metadata"]["noise"] == "measured"
    assert (summary["psnr"] is None) == (data == "mri_poisson8")


@pytest.mark.slow
def test_aseqdip_gains_six_decibels_over_its_zero_filled_start(data_root, tmp_path, monkeypatch):
    """300 steps, of the 60000 that the released settings make, at four times their step size."""
    monkeypatch.setenv("DIP_LIGHTNING_DATA", str(data_root))
    files = [f"--config={CONFIGS / 'aseqdip_mri.yaml'}", f"--data={CONFIGS / 'data' / 'mri_brain16.yaml'}"]
    short = ["--model.optimizer.lr=4e-4", "--model.outer_steps=30", "--trainer.accelerator=cpu"]
    assert main(["fit", *files, *SMALL, *short, f"--record.run_dir={tmp_path}"]) == 0
    psnr = json.loads((tmp_path / "summary.json").read_text())["psnr"]
    assert psnr["estimate"] > psnr["initial"] + 6
