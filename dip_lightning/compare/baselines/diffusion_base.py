"""What baselines that sample with a pretrained diffusion model share: weights, channels, scaling.

Weights come from a file. Nothing is ever downloaded: where the file is missing, the job says so.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from dip_lightning.compare.baselines.base import Baseline, Watch, linear
from dip_lightning.errors import ConfigurationError, MeasurementError, check_option
from dip_lightning.measurement import Measurement

Channels = Literal["as_they_are", "grey_as_colour", "one_by_one"]
UNTRAINED = "untrained"


class DiffusionSampler(Baseline):
    """The part that samplers share: weights, channels, scaling.

    Args:
        denoiser: Network ``(x, sigma) -> x`` on images in [0, 1], e.g. ``deepinv.models.DiffUNet`` with
            ``pretrained: null``.
        weights: File with its state dictionary; ``untrained`` keeps random weights, to try things out.
        channels: ``grey_as_colour`` gives a colour network three copies of a grey image; ``one_by_one`` gives it
            channel by channel, as Score-MRI does with real and imaginary part.
        steps: Denoiser evaluations.

    Raises:
        ConfigurationError: If a number is out of range, or an option unknown.
    """

    def __init__(
        self, denoiser: nn.Module, weights: str, channels: Channels = "as_they_are", steps: int = 1000
    ) -> None:
        if steps < 2:
            raise ConfigurationError(f"steps={steps} must be at least 2.")
        self.denoiser = denoiser
        self.weights = weights
        self.channels: Channels = check_option("channels", channels, get_args(Channels))
        self.steps = steps

    @classmethod
    def draws(cls, arguments: Mapping[str, Any]) -> bool:
        """Samples are drawn; see the base class."""
        return True

    @abstractmethod
    def sample(self, y: Tensor, physics: Any, sigma: float, start: Tensor, denoiser: nn.Module) -> Tensor:
        """Draw one image in [0, 1].

        Args:
            y: Data, scaled for images in [0, 1].
            physics: Forward operator, whose noise model has the noise level.
            sigma: Noise level of ``y``.
            start: First image, ``[B, C, H, W]``.
            denoiser: The network on the device.
        """

    def reconstruct(self, measurement: Measurement, seed: int, watch: Watch) -> Tensor:
        """Draw an image from the posterior; see the base class."""
        self._load_weights()
        scale, low = self._scaling(measurement)
        device = measurement.y.device
        network = AdaptedDenoiser(self.denoiser, self.channels).to(device).eval()
        physics, sigma = self._with_noise(measurement, scale)
        y = (measurement.y - (measurement.physics.A(torch.full_like(measurement.initial, low)) if low else 0)) / scale
        self.settings = {"weights": self.weights, "steps": self.steps, "scale": scale, "sigma": sigma}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            image = self.sample(y, physics, sigma, (measurement.initial - low) / scale, network)
        image = image.detach().to(measurement.initial.dtype) * scale + low
        watch(self.steps, image)
        return image

    def _load_weights(self) -> None:
        if self.weights == UNTRAINED:
            return
        path = Path(self.weights).expanduser()
        if not path.is_file():
            raise MeasurementError(
                f"{type(self).__name__}: the weights {path} do not exist. Download those of "
                f"{type(self.denoiser).__name__} once and set weights to the file; nothing is fetched during a run."
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state) if isinstance(state, dict) else state
        try:
            self.denoiser.load_state_dict(state)
        except (RuntimeError, AttributeError, TypeError) as error:
            raise MeasurementError(
                f"{path} does not hold weights of {type(self.denoiser).__name__}: {error}"
            ) from error

    def _scaling(self, measurement: Measurement) -> tuple[float, float]:
        """Range of the image values: as stated, or from the first image where none is; never from the target."""
        if measurement.value_range is not None:
            low, high = measurement.value_range
            return high - low, low
        linear(measurement, self)
        return float(measurement.initial.abs().max()) or 1.0, 0.0

    def _with_noise(self, measurement: Measurement, scale: float) -> tuple[Any, float]:
        """Copy the physics with the noise level that samplers look for, never quite zero."""
        from deepinv.physics import GaussianNoise

        sigma = max((measurement.noise_level or 0.0) / scale, 1e-3)
        physics = copy.copy(measurement.physics)
        physics._modules = dict(physics._modules)
        physics.noise_model = GaussianNoise(sigma)
        return physics.to(measurement.y.device), sigma


class AdaptedDenoiser(nn.Module):
    """A denoiser for images whose channels it was not made for.

    Args:
        network: ``(x, sigma) -> x``.
        channels: See :class:`DiffusionSampler`.
    """

    def __init__(self, network: nn.Module, channels: Channels) -> None:
        super().__init__()
        self.network = network
        self.channels = channels

    def forward(self, x: Tensor, sigma: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Denoise ``[B, C, H, W]``."""
        if self.channels == "grey_as_colour":
            return self.network(x.expand(-1, 3, -1, -1), sigma, *args, **kwargs).mean(1, keepdim=True)
        if self.channels == "one_by_one":
            parts = [self.network(part, sigma, *args, **kwargs) for part in x.split(1, dim=1)]
            return torch.cat(parts, dim=1)
        return self.network(x, sigma, *args, **kwargs)
