"""The proximal map of total variation against what characterises it."""

from __future__ import annotations

import pytest
import torch

from dip_lightning.functional.total_variation import total_variation
from dip_lightning.functional.tv_prox import divergence_adjoint, gradient, tv_prox


def image(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_the_two_operators_are_adjoint() -> None:
    x, p = image(2, 3, 5, 7), image(2, 2, 3, 5, 7)
    assert (gradient(x) * p).sum().item() == pytest.approx((x * divergence_adjoint(p)).sum().item(), rel=1e-12)


@pytest.mark.parametrize("isotropic", [True, False])
def test_no_other_image_is_better(isotropic: bool) -> None:
    x, gamma = image(1, 2, 8, 9), 0.1

    def objective(w: torch.Tensor) -> float:
        return (0.5 * (w - x).square().sum() + gamma * total_variation(w, isotropic, smoothing=0.0).sum()).item()

    best = tv_prox(x, gamma, isotropic, iterations=2000)
    generator = torch.Generator().manual_seed(1)
    for scale in (1e-1, 1e-2, 1e-3):
        for _ in range(5):
            change = scale * torch.randn(x.shape, dtype=x.dtype, generator=generator)
            assert objective(best + change) > objective(best)
        assert objective(best + scale * (x - best)) > objective(best)
        assert objective(best + scale * (x.mean() - best)) > objective(best)


def test_a_step_edge_moves_by_what_the_formula_says() -> None:
    # Where every row is the same, a step of height h between plateaus of a and b columns loses gamma/a and gamma/b.
    x = torch.zeros(1, 1, 4, 10, dtype=torch.float64)
    x[..., 4:] = 1.0
    expected = x.clone()
    expected[..., :4] += 0.2 / 4
    expected[..., 4:] -= 0.2 / 6
    for isotropic in (True, False):
        assert torch.allclose(tv_prox(x, 0.2, isotropic, iterations=5000), expected, atol=1e-5)


def test_it_converges_by_the_published_momentum() -> None:
    """A gradient step leaves 3/4 of a step between two pixels; (t - 1) / t' of Beck and Teboulle's t go ahead of it."""
    x, left, ahead = torch.tensor([[[[0.0, 1.0]]]], dtype=torch.float64), 1.0, 1.0
    for iterations, momentum in enumerate((0.0, 0.2817535, 0.4340428, 0.5310638, 0.5987786), start=1):
        before, left = left, 0.75 * ahead
        ahead = left + momentum * (left - before)
        assert tv_prox(x, 10.0, iterations=iterations).diff().item() == pytest.approx(left, abs=1e-6)


def test_limits_and_members() -> None:
    x = image(2, 1, 6, 6)
    assert torch.equal(tv_prox(x, 0.0), x)
    flat = tv_prox(x, 1e3, iterations=5000)
    assert torch.allclose(flat, x.mean((1, 2, 3), keepdim=True).expand_as(x), atol=1e-6)
    both = tv_prox(x, torch.tensor([0.05, 0.2], dtype=x.dtype))
    assert torch.equal(both[:1], tv_prox(x[:1], 0.05))
    assert torch.equal(both[1:], tv_prox(x[1:], 0.2))
