"""Pretraining through the command line: it learns, continues where it was, and keeps a bounded trajectory."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from dip_lightning.cli import main
from dip_lightning.data import Phantom
from dip_lightning.errors import ConfigurationError
from dip_lightning.networks import UNet
from dip_lightning.physics import AdditiveGaussian, Denoising, ParallelBeamCT, RelativeGaussian
from dip_lightning.pretraining import EllipsePairs, ParameterTrajectory, SupervisedPretraining
from tests.pretrained import configuration, pretrain


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def test_validation_loss_falls(tmp_path: Path) -> None:
    losses = {}
    for epochs in (1, 4):
        pretrain(tmp_path, f"--trainer.max_epochs={epochs}", "--overwrite=true")
        best = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
        losses[epochs] = next(
            float(state["current_score"]) for name, state in best.items() if "ModelCheckpoint" in name
        )
    assert losses[4] < 0.8 * losses[1]


def test_the_last_checkpoint_is_that_of_the_last_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the validation loss has not fallen since the first."""
    pretrain(tmp_path, "--trainer.max_epochs=3", "--data.images=8", "--model.optimizer.init_args.lr=0")
    folder = tmp_path / "checkpoints"
    epochs = {path.name: torch.load(path, weights_only=True)["epoch"] for path in folder.iterdir()}
    assert epochs == {"best.ckpt": 0, "last.ckpt": 2}
    assert f"Weights: {folder / 'best.ckpt'} (best), {folder / 'last.ckpt'} (last)" in capsys.readouterr().out


def test_continued_equals_uninterrupted(tmp_path: Path) -> None:
    """Weights and trajectory, bit for bit: new images in every epoch come from their number alone."""
    through, stopped = tmp_path / "through", tmp_path / "stopped"
    through.mkdir(), stopped.mkdir()
    pretrain(through, "--trainer.max_epochs=3")
    pretrain(stopped, "--trainer.max_epochs=1")
    pretrain(stopped, "--trainer.max_epochs=3", "--ckpt_path=last")
    one, other = weights(through / "checkpoints" / "last.ckpt"), weights(stopped / "checkpoints" / "last.ckpt")
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    first, second = (torch.load(folder / "trajectory.pt", weights_only=True) for folder in (through, stopped))
    assert first["steps"] == second["steps"]
    assert torch.equal(first["samples"], second["samples"])


@pytest.mark.parametrize("place", ["moved", "spelt otherwise", "without its best"])
def test_the_best_is_known_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """At a rate of zero no epoch is better than the first."""
    short = ["--data.images=8", "--data.validation_images=1", "--model.optimizer.init_args.lr=0"]
    (tmp_path / "first").mkdir()
    pretrain(tmp_path / "first", *short, "--trainer.max_epochs=1")
    monkeypatch.chdir(tmp_path)
    folder = Path("first") if place == "spelt otherwise" else (tmp_path / "first").rename(tmp_path / "second")
    best = folder / "checkpoints" / "best.ckpt"
    if place == "without its best":
        best.unlink()
    pretrain(folder, *short, "--trainer.max_epochs=2", "--ckpt_path=last")
    assert torch.load(best, weights_only=True)["epoch"] == (1 if place == "without its best" else 0)


def test_last_without_a_checkpoint_starts_from_the_beginning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(tmp_path, "--trainer.max_epochs=1", "--data.images=8", "--ckpt_path=last")
    assert "starting from the beginning" in capsys.readouterr().err


def test_trained_weights_are_not_replaced_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--trainer.max_epochs=1", "--data.images=16"]
    folder = pretrain(tmp_path, *short)
    files = [folder / "best.ckpt", folder / "last.ckpt", tmp_path / "trajectory.pt", tmp_path / "config.yaml"]
    before = [path.read_bytes() for path in files]
    capsys.readouterr()
    arguments = ["pretrain", "--config", str(configuration(tmp_path)), *short, "--seed_everything=7"]
    for more in ([], [f"--trainer.default_root_dir={tmp_path / 'other'}", f"--checkpoint.dirpath={folder}"]):
        assert main([*arguments, *more]) == 2
        (error,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert error.startswith(f"dip-lightning: error: {folder} holds trained weights (best.ckpt, last.ckpt).")
        assert all(option in error for option in ("--overwrite true", "--ckpt_path last", "default_root_dir"))
    assert [path.read_bytes() for path in files] == before
    pretrain(tmp_path, *short, "--seed_everything=7", "--overwrite=true")
    assert (folder / "best.ckpt").read_bytes() != before[0]


def test_the_checkpoint_of_another_folder_replaces_weights_only_if_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Samples of the training that was there stay out of the new one's trajectory."""
    here, other = tmp_path / "here", tmp_path / "other"
    here.mkdir(), other.mkdir()
    short = ["--data.images=16", "--data.validation_images=1"]  # two steps in an epoch
    folder = pretrain(here, *short, "--trainer.max_epochs=2")
    checkpoint = pretrain(other, *short, "--trainer.max_epochs=1", "--seed_everything=7") / "last.ckpt"
    before = (folder / "last.ckpt").read_bytes()
    arguments = [*short, "--trainer.max_epochs=3", f"--ckpt_path={checkpoint}"]
    assert main(["pretrain", "--config", str(configuration(here)), *arguments]) == 2
    assert f"{folder} holds trained weights" in capsys.readouterr().err.splitlines()[-1]
    assert (folder / "last.ckpt").read_bytes() == before
    pretrain(here, *arguments, "--overwrite=true")
    assert torch.load(here / "trajectory.pt", weights_only=True)["steps"] == [4, 6]


def test_a_checkpoint_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["pretrain", "--config", str(configuration(tmp_path))]
    assert main([*arguments, f"--ckpt_path={tmp_path / 'nosuch.ckpt'}"]) == 2
    assert f"there is no checkpoint {tmp_path / 'nosuch.ckpt'}" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "checkpoints").exists()


def test_a_misspelt_option_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "--config", str(configuration(tmp_path, batchsize=3))]) == 2
    assert "batchsize" in capsys.readouterr().err


def test_images_are_decided_by_their_number_and_differ() -> None:
    def pairs() -> EllipsePairs:
        data = EllipsePairs(ParallelBeamCT(views=6, noise=RelativeGaussian(0.05)), size=16, images=4)
        data.setup("fit")
        return data

    data = pairs()
    first, image = data.pair(1, 2)
    again, same = pairs().pair(1, 2)
    assert torch.equal(first, again)
    assert torch.equal(image, same)
    assert first.shape == image.shape == (1, 16, 16)
    assert 0 <= image.min() <= image.max() <= 1


@pytest.mark.parametrize("seed", [0, 3])
def test_training_validation_and_phantoms_have_no_image_in_common(seed: int) -> None:
    acquisition = ParallelBeamCT(views=4)
    data = EllipsePairs(acquisition, size=16, images=5, validation_images=5, batch_size=5, seed=seed, samples=4)
    data.setup("fit")
    (training,), (validation,) = (list(loader) for loader in (data.train_dataloader(), data.val_dataloader()))
    phantoms = [Phantom(acquisition, kind="ellipses", size=16, seed=seed, index=i).image(i)[0] for i in range(5)]
    images = [*training[1], *validation[1], *phantoms]
    assert len({image.numpy().tobytes() for image in images}) == 15


def test_every_image_has_noise_of_its_own() -> None:
    data = EllipsePairs(Denoising(AdditiveGaussian(0.1)), size=16)
    data.setup("fit")
    noise = [(noisy - image).flatten() for noisy, image in (data.pair(1, index) for index in range(2))]
    assert torch.corrcoef(torch.stack(noise))[0, 1].abs() < 0.3


def test_psnr_of_the_validation_is_the_mean_over_images(monkeypatch: pytest.MonkeyPatch) -> None:
    module, logged = SupervisedPretraining(torch.nn.Identity()), {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: float(value)}))
    errors = torch.tensor([0.1, 0.01]).view(2, 1, 1, 1)  # 20 and 40 dB
    module.validation_step((errors.expand(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)), 0)
    assert logged["val_psnr"] == pytest.approx(30)


def test_minmax_pairs_are_those_of_the_fit() -> None:
    data = EllipsePairs(ParallelBeamCT(views=6), size=16, normalise="minmax")
    data.setup("fit")
    first, _ = data.pair(1, 0)
    assert (first.min(), first.max()) == (0, 1)


def test_batch_norm_over_many_images_is_refused() -> None:
    module = SupervisedPretraining(UNet(channels=(4, 4)))
    data = EllipsePairs(ParallelBeamCT(views=4), size=8, images=4, validation_images=1, batch_size=2)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=1)
    with pytest.raises(ConfigurationError, match="norm: group"):
        trainer.fit(module, datamodule=data)


def test_the_trajectory_is_bounded_and_evenly_spaced(tmp_path: Path) -> None:
    pretrain(
        tmp_path, "--trainer.max_epochs=12", "--data.validation_images=1"
    )  # 96 steps, every second one at first, at most 20 samples
    content = torch.load(tmp_path / "trajectory.pt", weights_only=True)
    steps = content["steps"]
    assert steps == list(range(steps[0], 97, steps[0]))
    assert 10 <= len(steps) < 20
    elements = sum(torch.Size(shape).numel() for shape in content["shapes"])
    assert content["samples"].shape == (len(steps), elements)
    assert content["samples"].dtype == torch.float16
    final = torch.cat(
        [weights(tmp_path / "checkpoints" / "last.ckpt")[f"network.{n}"].flatten() for n in content["names"]]
    )
    assert steps[-1] == 96
    assert torch.allclose(content["samples"][-1].float(), final, rtol=1e-3, atol=1e-6)


def test_a_full_trajectory_is_thinned_at_once() -> None:
    trajectory, module = ParameterTrajectory(every=1, samples=4), SupervisedPretraining(torch.nn.Conv2d(1, 1, 1))
    kept = []
    for step in range(1, 9):
        trajectory.on_train_batch_end(SimpleNamespace(global_step=step), module, None, None, 0)  # type: ignore[arg-type]
        kept.append(list(trajectory._kept))
    assert kept == [[1], [1, 2], [1, 2, 3], [2, 4], [2, 4], [2, 4, 6], [2, 4, 6], [4, 8]]


@pytest.mark.parametrize("wrong", [{"every": 0}, {"samples": 1}, {"precision": "float8"}])
def test_the_trajectory_checks_its_options(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        ParameterTrajectory(**wrong)  # type: ignore[arg-type]
