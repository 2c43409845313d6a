"""Risk estimates against true errors, and divergences against Jacobians written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dip_lightning.functional.random import MemberGenerators
from dip_lightning.functional.sure import (
    draw_probe,
    product_by_difference,
    product_with_jacobian,
    risk_terms,
)

SIZE = 8


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, padding_mode="reflect"), nn.Softplus(), nn.Conv2d(6, 1, 3, padding=1)
    ).double()


def jacobian(function: nn.Module, x: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(function, x).reshape(x.numel(), x.numel())


def image(seed: int = 0) -> Tensor:
    return torch.rand(1, 1, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def estimate(kind: str, f: nn.Module, x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    if kind == "exact":
        point = x.clone().requires_grad_()
        return product_with_jacobian(f(point), point, left, right)
    step = torch.full((len(x),), 1e-6, dtype=x.dtype)
    return product_by_difference(f(x), f(x + 1e-6 * right), left, step)


@pytest.mark.parametrize("kind", ["exact", "difference"])
def test_products_over_a_basis_are_the_trace(kind: str) -> None:
    f, x = network(), image()
    basis = torch.eye(SIZE**2, dtype=x.dtype).reshape(SIZE**2, 1, SIZE, SIZE)
    parts = estimate(kind, f, x.expand(SIZE**2, -1, -1, -1), basis, basis)
    diagonal = jacobian(f, x).diagonal()
    assert torch.allclose(parts, diagonal, rtol=1e-4, atol=1e-6)
    assert parts.sum().item() == pytest.approx(diagonal.sum().item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["exact", "difference"])
@pytest.mark.parametrize("probe", ["gaussian", "rademacher"])
def test_probes_estimate_the_trace(kind: str, probe: str) -> None:
    f, x, draws = network(), image(), 4000
    b = draw_probe(probe, MemberGenerators(range(draws)), (1, SIZE, SIZE), torch.float64)
    values = estimate(kind, f, x.expand(draws, -1, -1, -1), b, b).detach()
    standard_error = values.std().item() / draws**0.5
    assert values.mean().item() == pytest.approx(jacobian(f, x).trace().item(), abs=4 * standard_error)
    assert standard_error < 0.05 * jacobian(f, x).trace().abs().item()


def test_the_exact_product_can_be_differentiated() -> None:
    f, x = network(), image()
    b = draw_probe("gaussian", MemberGenerators([0]), (1, SIZE, SIZE), torch.float64)
    (by_autograd,) = torch.autograd.grad(estimate("exact", f, x, b, b), f[0].weight)
    weight, h = f[0].weight, 1e-6
    with torch.no_grad():
        weight[2, 0, 1, 1] += h
    above = estimate("exact", f, x, b, b)
    with torch.no_grad():
        weight[2, 0, 1, 1] -= 2 * h
    below = estimate("exact", f, x, b, b)
    assert by_autograd[2, 0, 1, 1].item() == pytest.approx(((above - below) / (2 * h)).item(), rel=1e-5)


def smoother() -> nn.Module:
    f = nn.Conv2d(1, 1, 3, padding=1, bias=False).double()
    kernel = torch.tensor([1.0, 2, 1], dtype=torch.float64)
    f.weight.data = (kernel[:, None] * kernel / 16)[None, None]
    return f


@pytest.mark.parametrize("kind", ["exact", "difference"])
def test_sure_is_within_three_percent_of_the_error_of_a_smoother(kind: str) -> None:
    f, sigma, draws, size = smoother(), 0.2, 200, 16
    ramp = torch.linspace(0, 1, size, dtype=torch.float64)
    clean = (torch.sin(6 * ramp)[:, None] * torch.cos(4 * ramp))[None, None]
    generators = MemberGenerators(range(draws))
    y = clean + sigma * generators.normal((1, size, size), torch.float64)
    b = draw_probe("gaussian", generators, (1, size, size), torch.float64)
    variance = torch.full_like(y, sigma**2)
    divergence = estimate(kind, f, y, variance * b, b)
    terms = risk_terms(f(y) - y, variance, divergence, torch.full((draws,), float(size**2)))
    risk = (terms["data"] + terms["divergence"]).mean().item()
    true = (f(y) - clean).square().mean().item()
    assert risk == pytest.approx(true, rel=0.03)


def test_pure_is_within_three_percent_of_the_error_under_poisson_noise() -> None:
    f, gain, draws, size = smoother(), 1 / 30, 200, 16
    ramp = torch.linspace(0, 1, size, dtype=torch.float64)
    clean = (0.5 + 0.4 * torch.sin(6 * ramp)[:, None] * torch.cos(4 * ramp))[None, None]
    generator = torch.Generator().manual_seed(0)
    y = gain * torch.poisson(clean.expand(draws, -1, -1, -1) / gain, generator=generator)
    b = draw_probe("rademacher", MemberGenerators(range(draws)), (1, size, size), torch.float64)
    divergence = estimate("exact", f, y, gain * y * b, b)
    terms = risk_terms(f(y) - y, gain * y, divergence, torch.full((draws,), float(size**2)))
    risk = (terms["data"] + terms["divergence"]).mean().item()
    assert risk == pytest.approx((f(y) - clean).square().mean().item(), rel=0.03)


def test_rademacher_probes_are_signs() -> None:
    b = draw_probe("rademacher", MemberGenerators([0]), (1, 64, 64), torch.float64)
    assert b.abs().eq(1).all()
    assert b.mean().abs() < 0.06
