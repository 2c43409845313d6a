"""deepinv's own deep image prior, and BM3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dip_lightning.compare.baselines.base import Baseline, Watch
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.measurement import Measurement


class DeepinvDIP(Baseline):
    """``deepinv.models.DeepImagePrior`` with its ``ConvDecoder``, at deepinv's settings.

    A new generator for every image: its ``re_init`` leaves the ConvDecoder as the last image left it. It reports the
    last iterate, without stopping or averaging.

    Args:
        iterations: Steps of Adam.
        learning_rate: Its learning rate.
        channels: Channels of the decoder.
        layers: Layers of the decoder.
    """

    def __init__(
        self, iterations: int = 2500, learning_rate: float = 1e-2, channels: int = 256, layers: int = 7
    ) -> None:
        if iterations < 1 or learning_rate <= 0:
            raise ConfigurationError(f"iterations={iterations} and learning_rate={learning_rate} must be positive.")
        self.iterations = iterations
        self.learning_rate = learning_rate
        self.channels = channels
        self.layers = layers

    @classmethod
    def draws(cls, arguments: Mapping[str, Any]) -> bool:
        """Weights and input are drawn; see the base class."""
        return True

    def reconstruct(self, measurement: Measurement, seed: int, watch: Watch) -> Tensor:
        """Fit deepinv's decoder; see the base class."""
        from deepinv.models import ConvDecoder, DeepImagePrior

        self.settings = {"iterations": self.iterations, "learning_rate": self.learning_rate}
        device = measurement.y.device
        with torch.random.fork_rng(), torch.inference_mode(False), torch.enable_grad():
            torch.manual_seed(seed)
            decoder = ConvDecoder(measurement.image_shape, layers=self.layers, channels=self.channels).to(device)
            noise_shape = (self.channels, 4, 4)
            model = DeepImagePrior(decoder, noise_shape, self.iterations, self.learning_rate)
            image: Tensor = model(measurement.y, measurement.physics).detach()
        watch(self.iterations, image)
        return image


class BM3D(Baseline):
    """Block matching and 3-D filtering (Dabov et al., IEEE TIP 16(8), 2007) by deepinv, for denoising.

    Args:
        options: Arguments of ``deepinv.models.BM3D`` beside the device; ``{use_legacy: false}`` needs ptwt alone.
    """

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        self.options = {"use_legacy": False} if options is None else options

    def reconstruct(self, measurement: Measurement, seed: int, watch: Watch) -> Tensor:
        """Denoise; see the base class."""
        level = measurement.noise_level
        if measurement.y.shape != measurement.initial.shape or "denois" not in measurement.task:
            raise ConfigurationError(f"BM3D denoises; the task here is {measurement.task}.")
        if not level:
            raise MeasurementError(f"BM3D needs the noise level of {', '.join(measurement.ids)}.")
        try:
            from deepinv.models import BM3D as Denoiser

            denoiser = Denoiser(**self.options)
        except (ImportError, TypeError) as error:
            raise ConfigurationError(
                f"BM3D needs ptwt, or the package bm3d: pip install 'dip_lightning[baselines]' ({error})."
            ) from error
        self.settings = {"sigma": level}
        image: Tensor = denoiser.to(measurement.y.device)(measurement.y, level)
        return image
