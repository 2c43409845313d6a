"""Acquisition of Cartesian MRI, of one coil or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from deepinv.physics import MRI, Physics
from deepinv.utils.mixins import MRIMixin
from torch import Tensor

from dip_lightning.errors import ConfigurationError, MeasurementError, check_option, check_positive_count
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.measurement import Measurement, check_tensor
from dip_lightning.physics.mri_base import FirstEstimate, MRIAcquisition
from dip_lightning.physics.mri_channels import compression, mix, noise_covariance, read_covariance, whitening
from dip_lightning.physics.mri_coils import CoilMaps
from dip_lightning.physics.mri_masks import RandomLines, SamplingMask
from dip_lightning.physics.mri_operator import MultiCoilFourier
from dip_lightning.physics.noise import MeasurementNoise

TargetKind = Literal["combined", "rss", "none"]


class CartesianMRI(MRIAcquisition):
    r"""Undersampled Cartesian MRI, :math:`y_c = M F S_c x`, with deepinv's physics.

    Images have two channels, real and imaginary part, and are scored by their magnitude. :math:`F` is the orthonormal
    transform centred on ``(H // 2, W // 2)``. Data are ``[B, 2, N, H, W]`` for N coils and ``[B, 2, H, W]`` for
    single-coil MRI, zero where nothing is sampled.

    Scaling. Data and image are multiplied by one number, so that the magnitude of the zero-filled image
    :math:`A^H y` has the maximum 1. It comes from the sampled data alone and stands in the record as ``scale``; the
    target is multiplied by the same number.

    Args:
        mask: Which points of k-space are sampled; :class:`RandomLines` unless given.
        coils: Sensitivity maps; ``None`` is single-coil MRI.
        noise: Noise of simulated data, added to sampled points only; ``RelativeGaussian`` is relative to the mean of
            the absolute values of their real and imaginary parts. Measured data are taken as they are.
        initial: First estimate: ``adjoint`` (zero-filled) or ``cg``, the least-squares image by conjugate gradients
            (CG-SENSE, :func:`~dip_lightning.physics.least_squares.least_squares_image`).
        cg_iterations: Iterations of ``cg`` at most; few of them regularise. ``None`` is deepinv's, 50.
        normalise: Whether to scale.
        whiten: Makes the noise of measured coils independent, of variance 1. A number is the edge of the squares in
            the corners of k-space from which their covariance is estimated; a path is a file of the covariance, or of
            noise samples ``[N, samples]``. ``None`` leaves the coils as they are.
        virtual_coils: Number of coils to compress measured data to, after whitening.
        phase: Largest phase, in radians, of the smooth phase that images of one channel are given.

    Raises:
        ConfigurationError: If an option is unknown or a number is out of range.
    """

    def __init__(
        self,
        mask: SamplingMask | None = None,
        coils: CoilMaps | None = None,
        noise: MeasurementNoise | None = None,
        initial: FirstEstimate = "adjoint",
        cg_iterations: int | None = None,
        normalise: bool = True,
        whiten: int | str | None = None,
        virtual_coils: int | None = None,
        phase: float = 1.0,
    ) -> None:
        super().__init__(coils, noise, initial, cg_iterations, normalise, phase)
        for name, value in (("whiten", whiten), ("virtual_coils", virtual_coils)):
            if isinstance(value, int):
                check_positive_count(name, value)
        if coils is None and (whiten or virtual_coils):
            raise ConfigurationError("whiten and virtual_coils need several coils: set coils, e.g. to ESPIRiT.")
        self.mask = mask or RandomLines()
        self.whiten = whiten
        self.virtual_coils = virtual_coils

    def physics(self, image_shape: tuple[int, int, int]) -> Physics:
        """Build the operator of simulated data; see the base class.

        Raises:
            ConfigurationError: If the image has not two channels, or if the coil maps need measured data.
        """
        channels, *shape = image_shape
        if channels != 2:
            raise ConfigurationError(f"MRI takes images of two channels, real and imaginary part, not {channels}.")
        size = shape[0], shape[1]
        mask = self.mask(size)
        return fourier_physics(mask[None], None if self.coils is None else self.coils.simulated(size)[None])

    def direct(self, y: Tensor, physics: Physics) -> Tensor:
        """The zero-filled image; see the base class."""
        return physics.A_adjoint(y)

    def add_noise(self, clean: Tensor, generators: MemberGenerators) -> tuple[Tensor, float | None]:
        """Add noise to the sampled points; see the base class."""
        sampled = self.mask((clean.shape[-2], clean.shape[-1]))
        values, level = self.noise(clean[..., sampled], generators)
        noisy = clean.clone()
        noisy[..., sampled] = values
        return noisy, level

    def describe(self) -> dict[str, Any]:
        """Add mask and coil processing; see the base class."""
        known = super().describe()
        own = {"mask": self.mask.describe(), "whiten": self.whiten, "virtual_coils": self.virtual_coils}
        return {**known, "metadata": {**known["metadata"], **own}}

    def scaled(self, y: Tensor, physics: Physics, ids: Sequence[str], **fields: Any) -> Measurement:
        """Add the fraction of k-space that is sampled to the record; see the base class."""
        fields = {**self.describe(), **fields}
        fields["metadata"] = {**fields["metadata"], "sampled_fraction": float(physics.mask.mean())}
        return super().scaled(y, physics, ids, **fields)

    def from_kspace(
        self,
        kspace: Tensor,
        ids: Sequence[str],
        sampled: Tensor,
        target: TargetKind = "combined",
        **fields: Any,
    ) -> Measurement:
        """Take measured k-space: whiten and compress the coils, estimate the maps, undersample, scale.

        Everything but the target, and the maps with ``calibration: full``, sees the sampled points only.

        Args:
            kspace: ``[B, N, H, W]``, complex, centred; N is 1 for single-coil data.
            ids: Folder-safe name of each member.
            sampled: What the fit may use, ``[B, H, W]``, bool.
            target: ``combined`` combines the coils of the whole k-space with the same maps, ``rss`` takes the root of
                their sum of squares, before they are compressed, and ``none`` is for data that were not fully sampled.
                With ``whiten`` it is that of the whitened coils, in the units and weights of the fit, which the record
                says: it is not the image that a data set releases.
            **fields: Further fields of the measurement.

        Returns:
            A validated measurement.

        Raises:
            MeasurementError: If the data are not finite, or the number of coils does not fit.
            ConfigurationError: If the maps can only be simulated.
        """
        check_option("target", target, get_args(TargetKind))
        check_tensor(f"k-space of {', '.join(ids)}", kspace)
        if self.coils is None and kspace.shape[1] != 1:
            raise MeasurementError(
                f"{', '.join(ids)}: k-space of {kspace.shape[1]} coils, but the acquisition is single-coil; "
                "set data.acquisition.coils, e.g. to ESPIRiT."
            )
        coils = torch.stack([self._whitened(*member) for member in zip(kspace, sampled, strict=True)])
        kspace = torch.stack([self._compressed(*member) for member in zip(coils, sampled, strict=True)])
        maps = None
        if self.coils is not None:
            maps = torch.stack([self._maps(self.coils, *member) for member in zip(kspace, sampled, strict=True)])
        physics = fourier_physics(sampled, maps)
        image = None
        if target != "none":
            whole = fourier_physics(torch.ones_like(sampled), maps)
            image = root_sum_of_squares(coils) if target == "rss" else whole.A_adjoint(_data(kspace, maps))
        y = _data(kspace * sampled[:, None], maps)
        # Whitened noise has the variance 1, half of it in the real part.
        level = 0.5**0.5 if self.whiten else None
        fields["metadata"] = {**fields.get("metadata", self.describe()["metadata"]), "noise": "measured"}
        if target == "rss" and self.whiten is not None:
            fields["metadata"]["target"] = "rss of the whitened coils"
        return self.scaled(y, physics, ids, target=image, noise_level=level, **fields)

    def _whitened(self, kspace: Tensor, sampled: Tensor) -> Tensor:
        if self.whiten is None:
            return kspace
        if isinstance(self.whiten, int):
            covariance = noise_covariance(kspace, sampled, self.whiten)
        else:
            covariance = read_covariance(self.whiten, len(kspace))
        return mix(whitening(covariance), kspace)

    def _compressed(self, kspace: Tensor, sampled: Tensor) -> Tensor:
        if self.virtual_coils is None:
            return kspace
        return mix(compression(kspace * sampled, self.virtual_coils), kspace)

    def _maps(self, coils: CoilMaps, kspace: Tensor, sampled: Tensor) -> Tensor:
        if coils.calibration == "full":
            sampled = (kspace != 0).any(0)
        return coils.measured(kspace * sampled, sampled)


def fourier_physics(sampled: Tensor, maps: Tensor | None) -> Physics:
    """Build the physics: deepinv's ``MRI`` for a single coil, :class:`MultiCoilFourier` for several.

    Args:
        sampled: ``[B, H, W]``, bool.
        maps: ``[B, N, H, W]``, complex, or ``None``.
    """
    if maps is None:
        return MRI(mask=sampled[:, None].float(), img_size=tuple(sampled.shape[-2:]))
    return MultiCoilFourier(sampled[:, None], maps)


def root_sum_of_squares(kspace: Tensor) -> Tensor:
    """Root of the sum of squares of the coil images, as real part of ``[B, 2, H, W]``.

    Args:
        kspace: ``[B, N, H, W]``, complex, fully sampled, centred.
    """
    magnitude = torch.linalg.vector_norm(MRIMixin.ifft(kspace), dim=1)
    return torch.stack([magnitude, torch.zeros_like(magnitude)], dim=1)


def _data(kspace: Tensor, maps: Tensor | None) -> Tensor:
    channels: Tensor = MRIMixin.from_torch_complex(kspace if maps is not None else kspace[:, 0])
    return channels.contiguous()
