"""Scores against the target during the fit: recorded, never used by it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.metrics import METRICS, Scorer

if TYPE_CHECKING:
    from dip_lightning.methods.base import BaseDIP


class ReconstructionMetrics(pl.Callback):
    """Record PSNR and SSIM of the current estimate; keep the best there was, the oracle.

    The current estimate is the running average where there is one, else the last output. The oracle is its best PSNR
    over the fit: what a stopping rule that knew the target would have given, to be compared with, never to be
    reported as a result. Without a target the callback does nothing.

    Args:
        every: Outer steps between two values of ``psnr``.
        ssim_every: Outer steps between two values of ``ssim``, which takes a hundred times as long; 0 for none.
        oracle: Whether to keep the best estimate.

    Raises:
        ConfigurationError: If a number is out of range.
    """

    def __init__(self, every: int = 1, ssim_every: int = 10, oracle: bool = True) -> None:
        if every < 1 or ssim_every < 0:
            raise ConfigurationError(f"every={every} must be at least 1 and ssim_every={ssim_every} at least 0.")
        self.every = every
        self.ssim_every = ssim_every
        self.oracle = oracle
        self._scorer: Scorer | None = None
        self._best: dict[str, Tensor] = {}
        self._method: BaseDIP | None = None
        self._final: tuple[int, dict[str, dict[str, list[float]]]] = (-1, {})

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Forget an earlier fit; a checkpoint, if there is one, is read after this."""
        if stage == "fit":
            self._scorer, self._best, self._final = None, {}, (-1, {})

    def on_train_start(self, trainer: pl.Trainer, pl_module: BaseDIP) -> None:  # type: ignore[override]
        """Prepare the target, which is on the device by now."""
        self._method = pl_module
        if pl_module.measurement.target is not None:
            self._scorer = Scorer(pl_module.measurement)
        self._best = {name: tensor.to(pl_module.device) for name, tensor in self._best.items()}

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, pl_module: BaseDIP, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Score the current estimate; nothing here waits for the device."""
        if self._scorer is None or pl_module.stopped_by == "nan":
            return
        estimate = pl_module.current_estimate
        if pl_module.outer_step % self.every == 0:
            psnr = self._scorer.psnr(estimate)
            pl_module.record_value("psnr", psnr)
            if self.oracle:
                self._keep_best(psnr, estimate, pl_module.iteration)
        if self.ssim_every and pl_module.outer_step % self.ssim_every == 0:
            pl_module.record_value("ssim", self._scorer.ssim(estimate))

    def summary(self, member: int = 0) -> dict[str, Any]:
        """Score initial image, last output, estimate and oracle as they stand now.

        Args:
            member: Which member of the batch.

        Returns:
            Each of :data:`~dip_lightning.functional.metrics.METRICS` for ``initial``, ``last``, ``estimate`` and
            ``oracle``; ``metrics``, how they are defined; ``oracle_iteration``; ``regret_db``, the PSNR of the oracle
            less that of the estimate; and ``recorded``, with ``psnr`` and ``regret_db`` of what each stopping rule
            with ``action: record`` chose. Empty without a target.
        """
        if self._scorer is None:
            return {}
        scores = {
            metric: {name: values[member] for name, values in images.items()}
            for metric, images in self._final_scores().items()
        }
        at = int(self._best["iteration"][member]) if self._best else None
        chosen = {"": scores["psnr"]["estimate"], **self._recorded(member)}
        oracle = scores["psnr"].get("oracle")
        regret = {label: None if oracle is None else oracle - psnr for label, psnr in chosen.items()}
        found: dict[str, Any] = {**scores, "metrics": self._scorer.definition(member)}
        found.update({"oracle_iteration": at, "regret_db": regret.pop("")})
        if regret:
            found["recorded"] = {label: {"psnr": chosen[label], "regret_db": regret[label]} for label in regret}
        return found

    def _recorded(self, member: int) -> dict[str, float]:
        assert self._method is not None
        assert self._scorer is not None
        prefix, reports = "recorded_", self._method.reports
        recorded = {name.removeprefix(prefix): image for name, image in reports.items() if name.startswith(prefix)}
        scores = {label: float(self._scorer.psnr(image)[member]) for label, image in recorded.items()}
        return {label: score for label, score in scores.items() if not math.isnan(score)}  # NaN: nothing was chosen

    def state_dict(self) -> dict[str, Any]:
        """The oracle."""
        return {name: tensor.clone() for name, tensor in self._best.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self._best = {name: tensor.clone() for name, tensor in state_dict.items()}

    def _keep_best(self, psnr: Tensor, estimate: Tensor, iteration: int) -> None:
        # The image is kept, not its SSIM: early on every step is the best so far.
        if not self._best:
            self._best = {
                "psnr": torch.full_like(psnr, -torch.inf),
                "iteration": torch.zeros_like(psnr, dtype=torch.int64),
                "image": estimate.clone(),
            }
        best = self._best
        better = psnr > best["psnr"]
        self._best = {
            "psnr": torch.where(better, psnr, best["psnr"]),
            "iteration": torch.where(better, iteration, best["iteration"]),
            "image": torch.where(better[:, None, None, None], estimate, best["image"]),
        }

    def _final_scores(self) -> dict[str, dict[str, list[float]]]:
        method, scorer = self._method, self._scorer
        assert method is not None
        assert scorer is not None
        if self._final[0] != method.iteration:
            images = {
                "initial": method.measurement.initial,
                "last": method.last_output,
                "estimate": method.estimate,
                **({"oracle": self._best["image"]} if self._best else {}),
            }
            scored = {name: scorer.all(image) for name, image in images.items()}
            known = [metric for metric in METRICS if metric in scored["initial"]]
            scores = {metric: {name: scored[name][metric].tolist() for name in images} for metric in known}
            self._final = (method.iteration, scores)
        return self._final[1]
