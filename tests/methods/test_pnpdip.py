"""Plug-and-play DIP against its formula, with deepinv's denoisers, and what it refuses."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from deepinv.models import DRUNet, TVDenoiser, WaveletDenoiser
from torch import Tensor, nn

from dip_lightning.errors import ConfigurationError
from dip_lightning.inputs import InitialEstimate
from dip_lightning.methods import PnPDIP
from tests.methods.direct import REDUCTIONS, DirectAdam, double_network, same_parameters
from tests.support import Shrink, TinyNetwork, fit, matrix_measurement

LR = 1e-2


def method(**options: Any) -> PnPDIP:
    return PnPDIP(
        **{
            "denoiser": Shrink(),
            "network": TinyNetwork(),
            "initial_input": InitialEstimate(),
            "optimizer": partial(torch.optim.Adam, lr=LR),
            "outer_steps": 3,
            "inner_steps": 2,
            **options,
        }
    )


@pytest.mark.parametrize("splitting", ["admm", "hqs"])
@pytest.mark.parametrize("reduction", ["sum", "mse"])
def test_pnpdip_equals_the_direct_loop(splitting: str, reduction: str) -> None:
    measurement, rho, network = matrix_measurement(), 0.6, double_network()
    direct = copy.deepcopy(network)
    pnp = method(
        network=network,
        sigma=0.4,
        final_sigma=0.1,
        penalty=rho,
        splitting=splitting,
        reduction=reduction,
        reinitialise=False,
    )
    fit(pnp, measurement)

    z, matrix, y = measurement.initial, measurement.physics.matrix, measurement.y[0]
    denoise = Shrink()
    adam, w, u = DirectAdam([(list(direct.parameters()), LR)]), denoise(z, 0.4), torch.zeros_like(z)
    # geometric from 0.4 to 0.1; a denoising that follows the last step has the last strength
    for sigma in (0.2, 0.1, 0.1):
        for _ in range(2):
            f = direct(z)
            data = 0.5 * REDUCTIONS[reduction](matrix @ f.reshape(-1) - y)
            pull = 0.5 * rho * REDUCTIONS[reduction](f - (w - u))
            adam.step(data + pull)
        f = f.detach()
        w = denoise(f + u, sigma)
        if splitting == "admm":
            u = u + f - w
    assert torch.allclose(pnp.split_image, w, rtol=0, atol=1e-10)
    assert torch.allclose(pnp.dual, u, rtol=0, atol=1e-10)
    assert torch.allclose(pnp.terms["splitting"], pull.detach(), rtol=1e-10)
    assert torch.allclose(pnp.terms["data"], data.detach(), rtol=1e-10)
    assert pnp.denoiser.strengths == pytest.approx(denoise.strengths)
    same_parameters(network, direct)


@pytest.mark.parametrize("denoiser", [TVDenoiser(n_it_max=20), WaveletDenoiser(level=1, wv="haar")])
def test_denoisers_of_deepinv_fit_as_they_are(denoiser: nn.Module) -> None:
    pnp = method(denoiser=denoiser, sigma=0.05)
    fit(pnp, matrix_measurement())
    assert pnp.split_image.isfinite().all()
    assert not torch.equal(pnp.split_image, pnp.last_output)


def test_block_matching_fits_without_a_further_package() -> None:
    pytest.importorskip("ptwt", reason="ptwt is in the baselines extra")
    from deepinv.models import BM3D

    pnp = method(denoiser=BM3D(use_legacy=False), sigma=0.05, outer_steps=2)
    fit(pnp, matrix_measurement(size=16, rows=40).to(torch.device("cpu"), torch.float32))
    assert pnp.split_image.isfinite().all()


def test_a_trained_denoiser_takes_its_weights_from_a_file(tmp_path: Path) -> None:
    small = {"in_channels": 1, "out_channels": 1, "nc": (4, 4, 4, 4), "nb": 1}
    torch.manual_seed(0)
    torch.save(DRUNet(**small, pretrained=None).state_dict(), tmp_path / "drunet.pth")
    denoiser = DRUNet(**small, pretrained=str(tmp_path / "drunet.pth"))
    pnp = method(denoiser=denoiser, sigma=0.05)
    fit(pnp, matrix_measurement(size=8))
    assert pnp.split_image.isfinite().all()
    assert not any(p.requires_grad for p in denoiser.parameters())


def test_a_denoiser_with_memory_depends_on_its_image_alone() -> None:
    pnp = method(denoiser=TVDenoiser(n_it_max=5), sigma=0.05)
    image, other = torch.rand(2, 1, 1, 8, 8)
    first = pnp.denoise(image)
    pnp.denoise(other)
    assert torch.equal(pnp.denoise(image), first)
    assert torch.equal(pnp.denoise(torch.cat([other, image]))[1:], first)


def test_with_a_strong_penalty_admm_reaches_the_regularised_minimum() -> None:
    """A network that is the image itself: plug-and-play with a proximal map solves its variational problem.

    prox of sigma/2 ||x||^2 is x / (1 + sigma); ADMM minimises 1/2 ||A x - y||^2 + rho sigma / 2 ||x||^2.
    """
    measurement = matrix_measurement(size=3, rows=12)

    class Ridge(nn.Module):
        def forward(self, x: Tensor, sigma: float) -> Tensor:
            return x / (1 + sigma)

    class Free(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image = nn.Parameter(torch.zeros(1, 1, 3, 3, dtype=torch.float64))

        def forward(self, z: Tensor) -> Tensor:
            return self.image + 0 * z

    matrix, rho, sigma = measurement.physics.matrix, 0.5, 0.3
    pnp = method(
        denoiser=Ridge(),
        network=Free(),
        optimizer=partial(torch.optim.LBFGS, line_search_fn="strong_wolfe", max_iter=30),
        sigma=sigma,
        penalty=rho,
        outer_steps=120,
        inner_steps=1,
        reinitialise=False,
    )
    fit(pnp, measurement)
    identity = torch.eye(9, dtype=torch.float64)
    expected = torch.linalg.solve(matrix.T @ matrix + rho * sigma * identity, matrix.T @ measurement.y[0])
    assert torch.allclose(pnp.split_image.reshape(-1), expected, atol=1e-4)


def test_in_mixed_precision_the_denoiser_stays_in_single_precision() -> None:
    seen = []

    class Blur(nn.Module):
        def forward(self, x: Tensor, sigma: float) -> Tensor:
            seen.append(nn.functional.conv2d(x, x.new_full((1, 1, 3, 3), 1 / 9), padding=1))
            return seen[-1]

    fit(method(denoiser=Blur()), matrix_measurement().to("cpu", torch.float32), precision="bf16-mixed")
    assert len(seen) == 4
    assert {image.dtype for image in seen} == {torch.float32}


def test_the_denoiser_is_not_in_checkpoints() -> None:
    pnp = method(denoiser=nn.Conv2d(1, 1, 3))
    assert not [name for name in pnp.state_dict() if "denoiser" in name]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sigma": 0.0}, "sigma"),
        ({"penalty": -1.0}, "penalty"),
        ({"splitting": "admn"}, "Did you mean 'admm'"),
        ({"reduction": "norm"}, "sum or mse"),
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        method(**wrong)


def test_a_denoiser_for_other_channels_is_refused() -> None:
    class ToColour(nn.Module):
        def forward(self, x: Tensor, sigma: float) -> Tensor:
            return x.expand(-1, 3, -1, -1)

    with pytest.raises(ConfigurationError, match="1 channels"):
        fit(method(denoiser=ToColour()), matrix_measurement())
