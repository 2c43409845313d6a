"""Scores of an image against the target: for the record, never for the fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dip_lightning.errors import MeasurementError
from dip_lightning.functional import lpips

if TYPE_CHECKING:
    from dip_lightning.measurement import Measurement

#: What is computed of every image, in the order of the record; the last where its weights are installed.
METRICS = ("psnr", "ssim", "nmse", "lpips")
_SSIM_RADIUS = 5  # of the usual 11 x 11 window
_SSIM_SIGMA = 1.5


class Scorer:
    r"""Scores images against a measurement's target, each member by itself.

    Images are compared as they are shown: two-channel complex ones (``measurement.magnitude``) by their magnitude;
    the centre alone where ``measurement.crop`` gives its height and width;
    image and target clipped to ``measurement.value_range`` where there is one. The data range is the length of that
    range, otherwise the largest value of each member's target.

    Args:
        measurement: Gives target, value range and whether images are complex.

    Raises:
        MeasurementError: If there is no target.
    """

    def __init__(self, measurement: Measurement) -> None:
        if measurement.target is None:
            raise MeasurementError(f"{', '.join(measurement.ids)}: without a target there is nothing to score against.")
        self.magnitude = measurement.magnitude
        self.crop = measurement.crop
        self.value_range = measurement.value_range
        self.target = self._shown(measurement.target)
        if self.value_range is None:
            self.data_range = self.target.amax((1, 2, 3))
        else:
            length = self.value_range[1] - self.value_range[0]
            self.data_range = torch.full_like(self.target[:, 0, 0, 0], length)

    def psnr(self, image: Tensor) -> Tensor:
        r"""Peak signal-to-noise ratio in dB, :math:`10 \log_{10} (L^2 / \mathrm{MSE})` with data range :math:`L`.

        What ``torchmetrics.functional.image.peak_signal_noise_ratio`` gives for each member, without its transfers
        from the host: a fit calls this at every outer step.

        Args:
            image: ``[B, C, H, W]``, on the target's device.

        Returns:
            ``[B]``; infinite for the target itself.
        """
        error = (self._shown(image) - self.target).square_().mean((1, 2, 3))
        return 10 * torch.log10(self.data_range.square() / error)

    def ssim(self, image: Tensor) -> Tensor:
        r"""Structural similarity with an 11 x 11 Gaussian window of standard deviation 1.5.

        Source: Wang et al., IEEE TIP 13(4), 2004. The mean is taken over the pixels whose window lies in the image,
        as in scikit-image; which ones torchmetrics averages over depends on its version. Images smaller than the
        window get a smaller one.

        Args:
            image: ``[B, C, H, W]``, on the target's device.

        Returns:
            ``[B]``; NaN where the image is smaller than 3 x 3.
        """
        from torchmetrics.functional.image import structural_similarity_index_measure

        radius = self._ssim_radius()
        if radius < 1:
            return torch.full_like(self.data_range, torch.nan)
        shown, values = self._shown(image), []
        for member, data_range in enumerate(self.data_range.tolist()):
            _, local = structural_similarity_index_measure(
                shown[member : member + 1],
                self.target[member : member + 1],
                sigma=_SSIM_SIGMA * radius / _SSIM_RADIUS,
                data_range=data_range,
                return_full_image=True,
            )
            values.append(local[..., radius:-radius, radius:-radius].mean())
        return torch.stack(values).to(self.data_range.dtype)

    def nmse(self, image: Tensor) -> Tensor:
        r"""Normalised squared error :math:`\|x - x^*\|^2 / \|x^*\|^2`.

        Args:
            image: ``[B, C, H, W]``, on the target's device.

        Returns:
            ``[B]``.
        """
        error = (self._shown(image) - self.target).square_().sum((1, 2, 3))
        return error / self.target.square().sum((1, 2, 3))

    def lpips(self, image: Tensor) -> Tensor:
        """Learned perceptual distance, of images scaled by the data range to [0, 1].

        Source: Zhang et al., arXiv 1801.03924; see :mod:`dip_lightning.functional.lpips`.

        Args:
            image: ``[B, C, H, W]``, on the target's device.

        Returns:
            ``[B]``; NaN for images below 31 x 31, or of other than one or three channels.

        Raises:
            ConfigurationError: If the package with the weights is not installed.
        """
        low = 0.0 if self.value_range is None else self.value_range[0]
        scale = self.data_range[:, None, None, None]
        shown, target = (((part - low) / scale).clamp(0, 1) for part in (self._shown(image), self.target))
        return lpips.pretrained().to(target.device)(shown, target)

    def all(self, image: Tensor) -> dict[str, Tensor]:
        """Every metric of :data:`METRICS` that there is.

        Args:
            image: ``[B, C, H, W]``, on the target's device.

        Returns:
            ``psnr`` (dB), ``ssim``, ``nmse`` and, where its weights are installed, ``lpips``, each ``[B]``.
        """
        scores = {"psnr": self.psnr(image), "ssim": self.ssim(image), "nmse": self.nmse(image)}
        return {**scores, "lpips": self.lpips(image)} if lpips.available() else scores

    def definition(self, member: int = 0) -> dict[str, Any]:
        """Say how the scores are computed, for the record; ``docs/metrics.md`` says it in full.

        Args:
            member: Whose data range.
        """
        channels = self.target.shape[1]
        values = {1: "values", 3: "RGB values"}.get(channels, f"values of {channels} channels")
        window = 2 * self._ssim_radius() + 1
        distance = {"lpips": "version 0.1 on AlexNet, of images scaled to [0, 1]"} if lpips.available() else {}
        return {
            "compared": "magnitude" if self.magnitude else values,
            "centre": None if self.crop is None else list(self.crop),
            "clipped_to": None if self.value_range is None else list(self.value_range),
            "data_range": float(self.data_range[member]),
            "data_range_is": "maximum of the target" if self.value_range is None else "length of the value range",
            "psnr": "10 log10(data_range^2 / mean squared error), in dB",
            "ssim": f"Gaussian window {window}x{window}, mean of the pixels whose window lies in the image",
            "nmse": "squared norm of the error / squared norm of the target",
            **distance,
        }

    def _ssim_radius(self) -> int:
        return min(_SSIM_RADIUS, (min(self.target.shape[-2:]) - 1) // 2)

    def _shown(self, image: Tensor) -> Tensor:
        image = image.detach()
        if self.magnitude:
            image = torch.linalg.vector_norm(image, dim=1, keepdim=True)
        if self.crop is not None:
            image = centre_crop(image, self.crop)
        return image if self.value_range is None else image.clamp(*self.value_range)


def centre_crop(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Centre of an image, as the fastMRI evaluation cuts it: the odd pixel is left over at the end.

    Args:
        image: ``[..., H, W]``.
        size: Height and width; an axis that is shorter is left whole.
    """
    (height, width), (h, w) = image.shape[-2:], size
    top, left = max(height - h, 0) // 2, max(width - w, 0) // 2
    return image[..., top : top + h, left : left + w]


def score(measurement: Measurement, estimate: Tensor) -> dict[str, Tensor]:
    """Score an image against the measurement's target; see :class:`Scorer`.

    Args:
        measurement: Must have a target.
        estimate: ``[B, C, H, W]``.

    Returns:
        ``psnr`` (dB), ``ssim``, ``nmse`` and, where its weights are installed, ``lpips``, each ``[B]``.

    Raises:
        MeasurementError: If there is no target.
    """
    scorer = Scorer(measurement)
    return scorer.all(estimate.to(scorer.target))
