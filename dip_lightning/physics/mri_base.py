"""What Cartesian and non-Cartesian MRI have in common: complex images, scaling, the first estimate."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from deepinv.physics import MRI, Physics
from torch import Tensor

from dip_lightning.errors import MeasurementError, check_option, check_positive_count
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.measurement import Measurement, check_tensor
from dip_lightning.physics.acquisition import Acquisition
from dip_lightning.physics.least_squares import least_squares_image
from dip_lightning.physics.mri_coils import CoilMaps
from dip_lightning.physics.mri_phase import complex_channels
from dip_lightning.physics.noise import MeasurementNoise, NoNoise

FirstEstimate = Literal["adjoint", "cg"]


class MRIAcquisition(Acquisition):
    """MRI of one coil or several; see :class:`~dip_lightning.physics.mri.CartesianMRI` for the arguments."""

    task = "mri"
    #: What :meth:`direct` gives, for the units.
    direct_name = "zero-filled image"

    def __init__(
        self,
        coils: CoilMaps | None,
        noise: MeasurementNoise | None,
        initial: FirstEstimate,
        cg_iterations: int | None,
        normalise: bool,
        phase: float,
    ) -> None:
        if cg_iterations is not None:
            check_positive_count("cg_iterations", cg_iterations)
        self.coils = coils
        self.noise = noise or NoNoise()
        self.first_estimate: FirstEstimate = check_option("initial", initial, get_args(FirstEstimate))
        self.cg_iterations = cg_iterations
        self.normalise = normalise
        self.phase = phase

    @abstractmethod
    def direct(self, y: Tensor, physics: Physics) -> Tensor:
        """The image by one adjoint, ``[B, 2, H, W]``: the zero-filled or the gridded one."""

    def add_noise(self, clean: Tensor, generators: MemberGenerators) -> tuple[Tensor, float | None]:
        """Add the configured noise to all samples; see the base class."""
        return self.noise(clean, generators)

    def initial(self, y: Tensor, physics: Physics) -> Tensor:
        """The direct image, or that of least squares (CG-SENSE); see the base class."""
        with torch.no_grad():
            if self.first_estimate == "adjoint":
                return self.direct(y, physics)
            if isinstance(physics, MRI):
                return physics.A_dagger(y)  # one coil has a closed form
            return least_squares_image(physics, y, self.cg_iterations)

    def describe(self) -> dict[str, Any]:
        """Magnitude scoring, and the settings for the record; see the base class."""
        metadata = {
            "acquisition": type(self).__name__,
            "coil_maps": None if self.coils is None else self.coils.describe(),
            "initial": self.first_estimate,
            "cg_iterations": self.cg_iterations,
            "noise": type(self.noise).__name__,
        }
        units = {"units": f"maximum of the {self.direct_name}"} if self.normalise else {}
        return {"value_range": None, "magnitude": True, "metadata": metadata, **units}

    def simulate(self, image: Tensor, ids: Sequence[str], seeds: Sequence[int], **fields: Any) -> Measurement:
        """Measure images of one real channel, or of two; see the base class.

        Images of one channel get a smooth phase. A reference image among ``fields`` is treated like the image.

        Raises:
            ConfigurationError: If the image has three channels or more, or does not fit mask or maps.
        """
        check_tensor(f"image {', '.join(ids)}", image)
        image = complex_channels(image, self.phase)
        if fields.get("reference") is not None:
            fields["reference"] = complex_channels(fields["reference"], self.phase)
        physics = self.physics((2, image.shape[-2], image.shape[-1]))
        y, level = self.add_noise(physics.A(image), MemberGenerators(seeds))
        return self.scaled(y, physics, ids, target=image, noise_level=level, **fields)

    def scaled(self, y: Tensor, physics: Physics, ids: Sequence[str], **fields: Any) -> Measurement:
        """Make the measurement, with the largest magnitude of its direct image 1.

        Args:
            y: Data as they were measured.
            physics: Forward operator.
            ids: Folder-safe name of each member.
            **fields: Further fields; ``target``, ``reference`` and ``noise_level`` in the units of ``y``.

        Raises:
            MeasurementError: If the direct image is zero.
        """
        scale = torch.ones(len(y), dtype=y.dtype)
        if self.normalise:
            brightest = torch.linalg.vector_norm(self.direct(y, physics), dim=1).amax((1, 2))
            if not bool((brightest > 0).all()):
                raise MeasurementError(f"{', '.join(ids)}: all sampled data are zero; there is nothing to reconstruct.")
            scale = 1 / brightest
        level = fields.pop("noise_level", None)
        if level is not None:
            level = float(level * scale[0]) if torch.allclose(scale, scale[:1], rtol=1e-6) or not level else None
        for name in ("target", "reference"):
            if fields.get(name) is not None:
                fields[name] = fields[name] * scale.view(-1, 1, 1, 1)
        y = y * scale.view(-1, *[1] * (y.ndim - 1))
        fields = {**self.describe(), **fields}
        measurement = self.accept(y, ids, physics=physics, noise_level=level, **fields)
        known = {"scale": scale.tolist(), "data_shape": list(y.shape[1:])}
        return replace(measurement, metadata={**measurement.metadata, **known})
