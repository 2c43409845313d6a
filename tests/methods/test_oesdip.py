"""Optimal Eye Surgeon: masks of exact size, weights that stay zero, both phases against their formulas, reuse."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.func import functional_call

from dip_lightning.callbacks import OutputAveraging, PosteriorSamples, ResultWriter, UniformAveraging
from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.masks import bernoulli_divergence, largest, soft_mask
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.inputs import InitialEstimate
from dip_lightning.measurement import Measurement
from dip_lightning.methods import OESDIP
from dip_lightning.methods.start import NOISE_STREAM
from dip_lightning.networks import SkipNet
from dip_lightning.networks.masked import load_mask, trained
from tests.callbacks.test_early_stopping import ScriptedRule
from tests.methods.direct import DirectAdam, double_network, same_parameters
from tests.support import TinyNetwork, fit, matrix_measurement

KEEP, MASK_STEPS, OUTER = 0.3, 3, 7


def method(**options: Any) -> OESDIP:
    return OESDIP(
        **{
            "network": TinyNetwork(),
            "initial_input": InitialEstimate(),
            "optimizer": partial(torch.optim.Adam, lr=1e-2),
            "keep": KEEP,
            "mask_steps": MASK_STEPS,
            "outer_steps": OUTER,
            "inner_steps": 2,
            "seed": 5,
            **options,
        }
    )


def flat(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trained(network).values()])


class At(pl.Callback):
    """Remember the weights at the end of an outer step; save a checkpoint there if asked to."""

    def __init__(self, outer_step: int, path: Path | None = None) -> None:
        self.outer_step, self.path = outer_step, path

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.outer_step == self.outer_step:
            self.weights = flat(pl_module.network)
            if self.path:
                trainer.save_checkpoint(self.path)


# Functions -------------------------------------------------------------------------------------------------------


def test_soft_mask_is_the_gumbel_softmax_of_two_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, generator=generator, dtype=torch.float64)
    gumbels = -torch.log(-torch.log(torch.rand(2, 5, generator=generator, dtype=torch.float64)))
    classes = torch.stack([torch.sigmoid(logits).log(), (1 - torch.sigmoid(logits)).log()])
    expected = torch.softmax((classes + gumbels) / 0.2, dim=0)[0]
    uniform = torch.sigmoid(gumbels[0] - gumbels[1])  # the logistic variable that they differ by
    assert torch.allclose(soft_mask(logits, uniform, 0.2), expected, rtol=0, atol=1e-12)


def test_soft_masks_of_low_temperature_are_bernoulli() -> None:
    uniform = torch.rand(100_000, generator=torch.Generator().manual_seed(1))
    sample = soft_mask(torch.full_like(uniform, math.log(0.3 / 0.7)), uniform, 1e-3)
    assert sample.mean().item() == pytest.approx(0.3, abs=0.005)


def test_divergence_is_that_of_the_definition() -> None:
    logits, q = torch.tensor([-3.0, 0.0, 0.5, 40.0], dtype=torch.float64), 0.05
    p = torch.sigmoid(logits[:3])
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum() + math.log(1 / q)
    assert bernoulli_divergence(logits, q).item() == pytest.approx(expected.item(), rel=1e-12)
    assert bernoulli_divergence(torch.tensor([math.log(q / (1 - q))]), q).item() == pytest.approx(0, abs=1e-6)


def test_largest_counts_exactly_also_among_equal_values() -> None:
    values = torch.tensor([2.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    chosen = []
    for seed in range(20):
        mask = largest(values, 3, torch.rand(6, generator=torch.Generator().manual_seed(seed)))
        assert mask.sum() == 3
        assert mask[0]
        assert not mask[5]
        chosen.append(tuple(mask.tolist()))
    assert len(set(chosen)) > 1


# The fit ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_oesdip_equals_the_direct_loop(noise: float) -> None:
    measurement, kl, temperature = matrix_measurement(), 1e-3, 0.2
    network = double_network()
    direct = double_network()
    oes = method(
        network=network, kl_weight=kl, temperature=temperature, mask_lr=0.05, input_noise=noise, reinitialise=False
    )
    first = At(MASK_STEPS)
    fit(oes, measurement, [first])

    assert torch.equal(first.weights, flat(direct)), "the first phase leaves the weights alone"
    z, matrix, y = measurement.initial, measurement.physics.matrix, measurement.y[0]
    draws = MemberGenerators([5 + NOISE_STREAM])
    start, names = flat(direct), dict(direct.named_parameters())
    logits = torch.zeros_like(start, requires_grad=True)
    adam = DirectAdam([([logits], 0.05)])

    def weights(vector: Tensor) -> dict[str, Tensor]:
        pieces = vector.split([p.numel() for p in names.values()])
        return {name: piece.view_as(p) for (name, p), piece in zip(names.items(), pieces, strict=True)}

    def noisy() -> Tensor:
        return z + noise * draws.normal(z.shape[1:], torch.float64) if noise else z

    for _ in range(2 * MASK_STEPS):
        u = draws.uniform(start.shape, torch.float64)[0]
        sample = torch.sigmoid((logits + (u / (1 - u)).log()) / temperature)
        data = (matrix @ functional_call(direct, weights(start * sample), (noisy(),)).reshape(-1) - y).square().mean()
        p = torch.sigmoid(logits)
        adam.step(data + kl * (p * (p / KEEP).log() + (1 - p) * ((1 - p) / (1 - KEEP)).log()).sum())
    assert torch.allclose(oes.mask_logits, logits, rtol=0, atol=1e-10)

    draws.uniform(start.shape)  # for the choice among equal log-odds
    count = int(KEEP * len(start))
    mask = torch.zeros_like(start)
    mask[logits.detach().topk(count).indices] = 1
    assert torch.equal(oes.mask.double(), mask)
    nn.utils.vector_to_parameters(start * mask, direct.parameters())
    pieces = list(weights(mask).values())
    training = DirectAdam([(list(direct.parameters()), 1e-2)])
    for _ in range(2 * (OUTER - MASK_STEPS)):
        loss = (matrix @ direct(noisy()).reshape(-1) - y).square().mean()
        training.step(loss)
        with torch.no_grad():
            for parameter, piece in zip(direct.parameters(), pieces, strict=True):
                parameter.mul_(
                    piece
                )  # Adam moves each weight by itself: masking after the step is masking its gradient
    same_parameters(network, direct)
    assert torch.allclose(oes.loss, loss.detach(), rtol=1e-10)


@pytest.mark.parametrize("keep", [0.05, 0.3, 0.9])
@pytest.mark.parametrize(
    "optimizer",
    [
        partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1),
        partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
        partial(torch.optim.LBFGS, lr=0.1),
    ],
)
def test_masks_have_the_exact_size_and_masked_weights_stay_zero(keep: float, optimizer: Any) -> None:
    oes, start = method(keep=keep, optimizer=optimizer), At(MASK_STEPS)
    fit(oes, matrix_measurement(), [start])
    final = flat(oes.network)
    assert int(oes.mask.sum()) == int(keep * len(final))
    assert (final[~oes.mask] == 0).all()
    assert (final[oes.mask] != start.weights[oes.mask]).any()


def test_the_clipped_gradient_is_that_of_the_kept_weights() -> None:
    start = At(MASK_STEPS)
    sgd = partial(torch.optim.SGD, lr=1.0)
    oes = method(optimizer=sgd, gradient_clip=1e-3, outer_steps=MASK_STEPS + 1, inner_steps=1)
    fit(oes, matrix_measurement(), [start])
    step = flat(oes.network) - start.weights * oes.mask
    assert step.norm().item() == pytest.approx(1e-3, rel=1e-3), "masked weights have no part in the norm"


def test_a_network_with_norm_layers_and_frozen_parameters() -> None:
    network = SkipNet(1, 1, channels=(4, 4), skip_channels=2, init="normal")
    oes = method(network=network, keep=0.2)
    fit(oes, matrix_measurement(size=16))
    own = flat(network)
    assert len(own) < sum(p.numel() for p in network.parameters()), "the joining norm's bias is not trained"
    assert int(oes.mask.sum()) == int(0.2 * len(own))
    assert (own[~oes.mask] == 0).all()


def test_stopping_and_averaging_see_the_second_phase_only() -> None:
    from tests.methods.test_base_loop import Watch

    watch = Watch()
    fit(method(), matrix_measurement(), [watch])
    assert watch.iterations == list(range(2 * MASK_STEPS + 1, 2 * OUTER + 1))


@pytest.mark.parametrize("average", [OutputAveraging(0.8, corrected=True), UniformAveraging(3), PosteriorSamples(3, 1)])
def test_averages_are_of_the_second_phase(average: Any) -> None:
    from tests.methods.test_base_loop import Watch

    oes, watch = method(), Watch()
    fit(oes, matrix_measurement(), [average, watch])
    outputs = torch.cat(watch.outputs)
    assert len(outputs) == 2 * (OUTER - MASK_STEPS)
    weights = 0.8 ** torch.arange(len(outputs) - 1, -1, -1, dtype=outputs.dtype)
    if not isinstance(average, OutputAveraging):
        weights = (torch.arange(len(outputs)) >= 3).to(outputs.dtype)
    torch.testing.assert_close(oes.estimate[0], torch.einsum("t,tchw->chw", weights / weights.sum(), outputs))


@pytest.mark.parametrize(("warmup", "first"), [(0, 8), (4, 12)])
def test_rules_look_at_the_second_phase_and_their_warmup_counts_its_steps(warmup: int, first: int) -> None:
    rule = ScriptedRule(range(2 * OUTER), patience=100, warmup=warmup)  # the first value is the least
    fit(method(), matrix_measurement(), [rule])
    assert rule.summary()["iteration"] == first


@pytest.mark.parametrize("saved", [1, MASK_STEPS - 1, MASK_STEPS, MASK_STEPS + 1, OUTER - 1])
def test_resumed_in_either_phase_equals_uninterrupted(saved: int, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    through, resumed = method(input_noise=0.1), method(input_noise=0.1)
    fit(through, matrix_measurement(), [At(saved, path)])
    fit(resumed, matrix_measurement(), ckpt_path=str(path))
    for (name, a), (_, b) in zip(through.state_dict().items(), resumed.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(through.last_output, resumed.last_output)


# Reuse -----------------------------------------------------------------------------------------------------------


def learned(folder: Path, measurement: Measurement, **options: Any) -> OESDIP:
    oes = method(**options)
    fit(oes, measurement, [ResultWriter(run_dir=str(folder), preview=False)], enable_checkpointing=True)
    return oes


def test_the_reused_mask_is_the_saved_one(tmp_path: Path) -> None:
    measurement = matrix_measurement()
    first = learned(tmp_path, measurement)
    path = tmp_path / "mask.pt"
    mask, seed = load_mask(path, TinyNetwork())
    assert torch.equal(mask, first.mask)
    assert seed == 5

    again = method(mask_path=str(path), outer_steps=OUTER - MASK_STEPS)
    fit(again, measurement)
    assert torch.equal(again.mask, first.mask)
    assert torch.equal(flat(again.network), flat(first.network)), "the second phase alone is the same fit"

    other = method(mask_path=str(path))
    fit(other, matrix_measurement(seed=8))
    assert torch.equal(other.mask, first.mask)
    assert (flat(other.network)[~other.mask] == 0).all()


def test_a_mask_of_other_weights_is_warned_of(tmp_path: Path) -> None:
    learned(tmp_path, matrix_measurement())
    with pytest.warns(UserWarning, match="seed 5"):
        fit(method(mask_path=str(tmp_path / "mask.pt"), seed=6), matrix_measurement())


def test_a_mask_of_another_network_says_what_differs(tmp_path: Path) -> None:
    learned(tmp_path, matrix_measurement())
    with pytest.raises(ConfigurationError, match=r"another network .* \(first.weight"):
        fit(method(mask_path=str(tmp_path / "mask.pt"), network=TinyNetwork(width=6)), matrix_measurement())
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(ConfigurationError, match="no mask"):
        fit(method(mask_path=str(tmp_path / "other.pt")), matrix_measurement())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"keep": 0.0}, "keep"),
        ({"keep": 1.0}, "keep"),
        ({"mask_steps": OUTER}, "both phases"),
        ({"mask_steps": 0}, "mask_path"),
        ({"temperature": 0.0}, "temperature"),
        ({"kl_weight": -1.0}, "kl_weight"),
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        method(**wrong)


def test_a_mask_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="leaves none"):
        fit(method(keep=1e-6), matrix_measurement())
