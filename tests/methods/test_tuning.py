"""Settings that must not change what is computed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from dip_lightning.inputs import UniformNoise
from dip_lightning.methods import DIP, base, start
from dip_lightning.methods.tuning import prefer_fused, suit_device
from dip_lightning.networks import SmallUNet, StackedNetwork, UNet
from tests.support import fit, matrix_measurement


def reconstruct(callbacks: list[Any] | None = None, ckpt_path: str | None = None, **options: Any) -> DIP:
    adam = partial(torch.optim.Adam, lr=1e-3)
    options = {"network": UNet(channels=(8, 8)), "optimizer": adam, "outer_steps": 3, "inner_steps": 2, **options}
    dip = DIP(initial_input=UniformNoise(1), **options)
    fit(dip, matrix_measurement(size=16).to("cpu", torch.float32), callbacks, ckpt_path=ckpt_path)
    return dip


def test_fits_agree_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    tuned = reconstruct()
    monkeypatch.setattr(start, "suit_device", lambda *_: None)
    monkeypatch.setattr(base, "prefer_fused", lambda *_: None)
    torch.testing.assert_close(tuned.last_output, reconstruct().last_output, rtol=0, atol=1e-4)


def test_the_same_fit_twice_on_one_network_is_the_same_fit() -> None:
    """Weights are drawn in the memory format of a new network, whichever the first fit left behind."""
    dip, measurement = reconstruct(), matrix_measurement(size=16).to("cpu", torch.float32)
    first = dip.last_output
    fit(dip, measurement)
    assert torch.equal(first, dip.last_output)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_the_choice_of_the_user_stays(kind: Any) -> None:
    network = SmallUNet()
    assert _fused(kind(network.parameters(), lr=1e-3))
    assert not _fused(kind(network.parameters(), lr=1e-3, foreach=True))
    assert not _fused(kind(network.parameters(), lr=1e-3, fused=False))


def test_optimisers_that_are_not_known_are_left_alone() -> None:
    class Own(torch.optim.Adam):
        pass

    assert not _fused(Own(SmallUNet().parameters()))
    assert not _fused(torch.optim.LBFGS(SmallUNet().parameters()))


def test_weights_lie_channels_last_in_single_precision_alone() -> None:
    def channels_last(network: torch.nn.Module) -> bool:
        suit_device(network, torch.device("cpu"), torch.optim.Adam(network.parameters()))
        weights = [p for p in network.parameters() if p.ndim == 4 and min(p.shape[:2]) > 1 and p.shape[-1] > 1]
        return all(p.is_contiguous(memory_format=torch.channels_last) for p in weights) and bool(weights)

    assert channels_last(SmallUNet())
    assert not channels_last(SmallUNet().double())
    assert not channels_last(StackedNetwork(SmallUNet(), 2))


def test_lbfgs_trains_convolutions_in_single_precision_also_after_another_optimiser() -> None:
    lbfgs = partial(torch.optim.LBFGS, line_search_fn="strong_wolfe", max_iter=4)
    fresh = reconstruct(optimizer=lbfgs, outer_steps=2)
    start = reconstruct(optimizer=lbfgs, outer_steps=1)
    assert fresh.loss < start.loss
    used = reconstruct()  # leaves weights that lie channels last
    reconstruct(optimizer=lbfgs, network=used.network, reinitialise=False)


def test_checkpoints_of_another_layout_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that was written on a GPU: its optimiser state is contiguous, the weights here are not."""

    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            if pl_module.outer_step == 2:
                trainer.save_checkpoint(tmp_path / "last.ckpt")

    with monkeypatch.context() as patch:
        patch.setattr(start, "suit_device", lambda *_: None)
        through = reconstruct(callbacks=[Save()])
    resumed = reconstruct(ckpt_path=str(tmp_path / "last.ckpt"))
    torch.testing.assert_close(resumed.last_output, through.last_output, rtol=0, atol=1e-4)
    for parameter, state in resumed.optimizers(use_pl_optimizer=False).state.items():
        assert state["exp_avg"].stride() == parameter.stride()


def _fused(optimizer: torch.optim.Optimizer) -> bool:
    prefer_fused(optimizer)
    return bool(optimizer.param_groups[0].get("fused"))
