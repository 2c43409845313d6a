"""Educated DIP and subspace DIP: what pretraining is worth, what is trained, and wrong checkpoints."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dip_lightning.callbacks import HeldOutStopping
from dip_lightning.data import ImageFile, Phantom
from dip_lightning.data.base import MeasurementDataModule
from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.metrics import score
from dip_lightning.functional.subspace import principal_directions
from dip_lightning.inputs import InitialEstimate
from dip_lightning.measurement import Measurement
from dip_lightning.members import repeat_measurement
from dip_lightning.methods import DIP, EDIP, BaseDIP, SubspaceDIP
from dip_lightning.networks import UNet
from dip_lightning.networks.weights import load_weights
from dip_lightning.physics import ParallelBeamCT
from tests.pretrained import SIZE, pretrain
from tests.support import TinyNetwork, fit, matrix_measurement

adam = partial(torch.optim.Adam, lr=1e-3)


def network(**options: Any) -> UNet:
    return UNet(**{"channels": (16, 32, 32), "norm": "group", "activation": "leaky_relu", "init": "default", **options})


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretraining")
    pretrain(folder, "--trainer.max_epochs=10")
    return folder


@pytest.fixture(name="checkpoint")
def _checkpoint(folder: Path) -> str:
    return str(folder / "checkpoints" / "best.ckpt")


def measurement_of(data: MeasurementDataModule) -> Measurement:
    data.setup("fit")
    return data.measurement


def psnr_after(method: BaseDIP, measurement: Measurement) -> float:
    """PSNR of the output of the last step; after one step, that of the start."""
    fit(method, measurement)
    return float(score(measurement, method.last_output)["psnr"])


def assert_starts_and_stays_higher(measurement: Measurement, checkpoint: str) -> None:
    for steps, margin in ((1, 6), (30, 1.5)):
        options = {"optimizer": adam, "outer_steps": steps}
        educated = psnr_after(EDIP(pretrained=checkpoint, network=network(), **options), measurement)
        random = psnr_after(DIP(network=network(), initial_input=InitialEstimate(), **options), measurement)
        assert educated > random + margin, f"{educated:.1f} dB after {steps} steps, {random:.1f} dB from a random start"


@pytest.mark.parametrize("index", [0, 1, 2])
def test_pretrained_starts_higher_on_unseen_ellipses(index: int, checkpoint: str) -> None:
    data = Phantom(ParallelBeamCT(views=8), kind="ellipses", size=SIZE, index=index)
    assert_starts_and_stays_higher(measurement_of(data), checkpoint)


def test_pretrained_starts_higher_on_a_chest_slice(data_root: Path, checkpoint: str) -> None:
    path = data_root / "ct_clinical_slices" / "lungmask_chest_512.dcm"
    data = ImageFile(ParallelBeamCT(views=8), path=str(path), window=(-1000, 1000), size=SIZE)
    assert_starts_and_stays_higher(measurement_of(data), checkpoint)


def test_a_wrong_checkpoint_says_what_differs(checkpoint: str) -> None:
    for wrong, said in (
        (
            network(channels=(16, 32, 64)),
            r"of another shape \(down.1.0.weight \[32, 32, 3, 3\] instead of \[64, 32, 3, 3",
        ),
        (network(channels=(16, 32)), r"unexpected \("),
        (network(channels=(16, 32, 32, 32)), r"missing \(down.2.0.weight"),
    ):
        before = copy.deepcopy(wrong.state_dict())
        with pytest.raises(ConfigurationError, match=said):
            load_weights(wrong, checkpoint)
        assert all(torch.equal(value, before[name]) for name, value in wrong.state_dict().items())


def test_other_files_are_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    torch.save([1, 2], tmp_path / "list.ckpt")
    for path in (tmp_path / "absent.ckpt", tmp_path / "text.ckpt", tmp_path / "list.ckpt", folder / "trajectory.pt"):
        with pytest.raises(ConfigurationError, match=path.name):
            load_weights(network(), path)


def test_a_state_dict_of_the_network_itself_loads(tmp_path: Path) -> None:
    saved, loaded = network(), network()
    torch.save(saved.state_dict(), tmp_path / "weights.pt")
    load_weights(loaded, tmp_path / "weights.pt")
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), loaded.parameters(), strict=True))


def test_a_frozen_encoder_stays_and_the_rest_moves(checkpoint: str) -> None:
    method = EDIP(pretrained=checkpoint, freeze_encoder=True, network=network(), optimizer=adam, outer_steps=3)
    fit(method, measurement_of(Phantom(ParallelBeamCT(views=8), size=SIZE)))
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    for name, value in method.network.named_parameters():
        encoder = name.startswith(("entry", "down"))
        assert torch.equal(value, saved[f"network.{name}"]) == encoder, name


def test_two_rates(checkpoint: str) -> None:
    """With SGD, the first step is the gradient times the rate of its part."""
    steps = {}
    measurement = measurement_of(Phantom(ParallelBeamCT(views=8), size=SIZE))
    for rates in ((1e-4, 3e-3), (3e-3, 1e-4)):
        method = EDIP(
            pretrained=checkpoint,
            encoder_lr=rates[0],
            decoder_lr=rates[1],
            network=network(),
            optimizer=partial(torch.optim.SGD, lr=1.0),
            outer_steps=1,
        )
        fit(method, measurement)
        start = torch.load(checkpoint, weights_only=True)["state_dict"]
        steps[rates] = {n: p.detach() - start[f"network.{n}"] for n, p in method.network.named_parameters()}
    low, high = steps.values()
    for name, step in low.items():
        ratio = step.norm() / high[name].norm()
        assert ratio == pytest.approx(1 / 30 if name.startswith(("entry", "down")) else 30, rel=0.02), name


def assert_fits_again_as_before(method: BaseDIP, measurement: Measurement) -> None:
    fit(method, measurement)
    first = method.last_output
    fit(method, measurement)
    assert torch.equal(method.last_output, first)


def test_a_frozen_encoder_and_a_rate_of_the_decoder(checkpoint: str) -> None:
    """One group, with its own rate: the one of the optimiser would not have moved anything."""
    method = EDIP(
        pretrained=checkpoint,
        freeze_encoder=True,
        decoder_lr=1e-3,
        network=network(),
        optimizer=partial(torch.optim.SGD, lr=0.0),
        outer_steps=2,
    )
    assert_fits_again_as_before(method, measurement_of(Phantom(ParallelBeamCT(views=8), size=SIZE)))
    groups = method.optimizers(use_pl_optimizer=False).param_groups
    assert [group["lr"] for group in groups] == [1e-3]
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    moved = {name for name, value in method.network.named_parameters() if not value.equal(saved[f"network.{name}"])}
    assert moved
    assert not any(name.startswith(("entry", "down")) for name in moved)


@pytest.mark.parametrize("freeze", [False, True])
def test_several_members_are_fitted_again_also_in_another_number(freeze: bool, checkpoint: str) -> None:
    measurement = measurement_of(Phantom(ParallelBeamCT(views=8), size=SIZE))
    method = EDIP(pretrained=checkpoint, freeze_encoder=freeze, network=network(), optimizer=adam, outer_steps=2)
    assert_fits_again_as_before(method, repeat_measurement(measurement, 2))
    two = method.last_output
    fit(method, repeat_measurement(measurement, 3))
    torch.testing.assert_close(method.last_output[:2], two, rtol=0, atol=1e-3)


def test_impossible_rates_and_encoders_are_refused(checkpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="frozen encoder"):
        EDIP(pretrained=checkpoint, freeze_encoder=True, encoder_lr=1e-4, network=network())
    with pytest.raises(ConfigurationError, match="positive"):
        EDIP(pretrained=checkpoint, decoder_lr=0.0, network=network())
    method = EDIP(pretrained=checkpoint, freeze_encoder=True, encoder=("head",), network=network())
    with pytest.raises(ConfigurationError, match="pool, upsample, entry, down, up, exit"):
        fit(method, measurement_of(Phantom(ParallelBeamCT(views=8), size=SIZE)))


def test_edip_equals_the_direct_loop(tmp_path: Path) -> None:
    measurement, start = matrix_measurement(), TinyNetwork().double()
    torch.save(start.state_dict(), tmp_path / "start.pt")
    method = EDIP(
        pretrained=str(tmp_path / "start.pt"),
        network=TinyNetwork().double(),
        optimizer=partial(torch.optim.SGD, lr=0.1),
        outer_steps=2,
    )
    fit(method, measurement)
    matrix, y, z = measurement.physics.matrix, measurement.y[0], measurement.initial
    for _ in range(2):
        loss = (matrix @ start(z).reshape(-1) - y).square().mean()
        gradients = torch.autograd.grad(loss, list(start.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(start.parameters(), gradients, strict=True):
                parameter -= 0.1 * gradient
    for ours, theirs in zip(method.network.parameters(), start.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)


# Subspace DIP ------------------------------------------------------------------------------------------------------


def test_principal_directions_are_the_singular_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(6, 40, generator=generator, dtype=torch.float64)
    basis = principal_directions(samples, 4)
    expected = torch.linalg.svd(samples.T, full_matrices=False)[0][:, :4]
    assert torch.allclose(basis.T @ basis, torch.eye(4, dtype=torch.float64), atol=1e-12)
    assert torch.allclose((basis.T @ expected).abs(), torch.eye(4, dtype=torch.float64), atol=1e-10)
    with pytest.raises(ValueError, match="span 2 dimensions"):
        principal_directions(samples[:2].repeat(2, 1), 3)


def trajectory_file(path: Path, net: nn.Module, samples: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    shapes = {name: list(parameter.shape) for name, parameter in net.named_parameters()}
    size = sum(parameter.numel() for parameter in net.parameters())
    drawn = torch.randn(samples, size, generator=generator, dtype=torch.float64)
    torch.save({"names": list(shapes), "shapes": list(shapes.values()), "samples": drawn, "steps": []}, path)
    return drawn


def test_subspace_dip_equals_gradient_descent_on_the_coefficients(tmp_path: Path) -> None:
    measurement, start = matrix_measurement(), TinyNetwork().double()
    torch.save(start.state_dict(), tmp_path / "start.pt")
    samples = trajectory_file(tmp_path / "trajectory.pt", start)
    method = SubspaceDIP(
        pretrained=str(tmp_path / "start.pt"),
        trajectory=str(tmp_path / "trajectory.pt"),
        dim=3,
        network=TinyNetwork().double(),
        optimizer=partial(torch.optim.SGD, lr=0.1),
        outer_steps=3,
    )
    fit(method, measurement)
    basis = principal_directions(samples, 3)
    matrix, y, z = measurement.physics.matrix, measurement.y[0], measurement.initial
    vector = nn.utils.parameters_to_vector(start.parameters()).detach()
    c, moving = torch.zeros(3, dtype=torch.float64), TinyNetwork().double()
    for _ in range(3):
        nn.utils.vector_to_parameters(vector + basis @ c, moving.parameters())
        loss = (matrix @ moving(z).reshape(-1) - y).square().mean()
        gradient = nn.utils.parameters_to_vector(torch.autograd.grad(loss, list(moving.parameters())))
        c = c - 0.1 * (basis.T @ gradient)
    assert [p.shape for p in method.trained_parameters()] == [(3,)]
    assert torch.allclose(method.network.coefficients, c, rtol=0, atol=1e-12)
    assert torch.allclose(method.loss, loss.detach(), rtol=1e-12)


def test_subspace_dip_starts_from_the_pretrained_weights_at_every_fit(tmp_path: Path) -> None:
    torch.save(TinyNetwork().state_dict(), tmp_path / "start.pt")
    trajectory_file(tmp_path / "trajectory.pt", TinyNetwork())
    files = {"pretrained": str(tmp_path / "start.pt"), "trajectory": str(tmp_path / "trajectory.pt")}
    method = SubspaceDIP(**files, dim=3, network=TinyNetwork(), optimizer=adam, outer_steps=3)
    assert_fits_again_as_before(method, matrix_measurement())


def test_subspace_dip_starts_from_the_pretrained_weights_at_a_refit(tmp_path: Path) -> None:
    torch.save(TinyNetwork().state_dict(), tmp_path / "start.pt")
    trajectory_file(tmp_path / "trajectory.pt", TinyNetwork())
    files = {"pretrained": str(tmp_path / "start.pt"), "trajectory": str(tmp_path / "trajectory.pt")}

    def build(steps: int) -> SubspaceDIP:
        return SubspaceDIP(**files, dim=3, network=TinyNetwork(), optimizer=adam, outer_steps=steps)

    refitted, rule = build(4), HeldOutStopping(fraction=0.2, refit=True)
    fit(refitted, matrix_measurement(), [rule])
    fresh = build(rule.summary()["iteration"])
    fit(fresh, matrix_measurement())
    assert rule.summary()["refitted"]
    assert torch.equal(refitted.network.coefficients, fresh.network.coefficients)
    assert torch.equal(refitted.last_output, fresh.last_output)


def test_subspace_dip_after_pretraining(folder: Path, checkpoint: str) -> None:
    """Coefficients alone, by L-BFGS, reduce the loss; the pretrained weights stay."""
    measurement = measurement_of(Phantom(ParallelBeamCT(views=8), kind="ellipses", size=SIZE, index=5))
    losses = []
    for steps in (1, 5):
        method = SubspaceDIP(
            pretrained=checkpoint,
            trajectory=str(folder / "trajectory.pt"),
            dim=8,
            network=network(),
            optimizer=partial(torch.optim.LBFGS, line_search_fn="strong_wolfe", max_iter=4),
            outer_steps=steps,
        )
        fit(method, measurement)
        losses.append(float(method.loss))
    assert losses[1] < 0.9 * losses[0]
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(p, saved[f"network.{n}"]) for n, p in method.network.network.named_parameters())


def test_a_trajectory_of_another_network_or_too_short_is_refused(folder: Path, checkpoint: str) -> None:
    files = {"pretrained": checkpoint, "trajectory": str(folder / "trajectory.pt")}
    measurement = measurement_of(Phantom(ParallelBeamCT(views=8), size=SIZE))
    with pytest.raises(ConfigurationError, match=r"dim=500: .* span"):
        fit(SubspaceDIP(**files, dim=500, network=network()), measurement)
    with pytest.raises(ConfigurationError, match="ParameterTrajectory"):
        fit(SubspaceDIP(**{**files, "trajectory": checkpoint}, network=network()), measurement)
