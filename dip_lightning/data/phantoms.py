"""Phantoms made on the spot: nothing to download."""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import Tensor

from dip_lightning.data.ellipses import MODIFIED_SHEPP_LOGAN, ellipse_image, random_ellipses
from dip_lightning.data.simulated import SimulatedMeasurements, realisation_name
from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.physics.acquisition import Acquisition

Kind = Literal["shepp_logan", "ellipses"]


class Phantom(SimulatedMeasurements):
    """A simulated measurement of the modified Shepp-Logan phantom or of random ellipses.

    Images are ``[1, size, size]``, antialiased, in [0, 1] without unit. ``ellipses`` gives another image for each
    index; ``shepp_logan`` is one image, of which each index is another noise realisation.

    Args:
        acquisition: Measures the image: forward operator, noise, first estimate.
        kind: ``shepp_logan`` or ``ellipses``.
        size: Pixels along each side.
        seed: Seed of the random ellipses.
        noise_seed: Seed of the measurement noise; the measurement at ``index`` uses ``noise_seed + index``.
        index: Which measurement.
        batch: How many, from ``index`` on, are reconstructed together.
        repeat: From how many seeds each is reconstructed at once.
        reference: Index of the random ellipses that are given as reference image; ``None`` for no reference.

    Raises:
        ConfigurationError: If the kind is unknown or a number is out of range.
    """

    def __init__(
        self,
        acquisition: Acquisition,
        kind: Kind = "shepp_logan",
        size: int = 128,
        seed: int = 0,
        noise_seed: int = 0,
        index: int = 0,
        batch: int = 1,
        repeat: int = 1,
        reference: int | None = None,
    ) -> None:
        super().__init__(acquisition, noise_seed=noise_seed, index=index, batch=batch, repeat=repeat)
        if size < 1 or seed < 0:
            raise ConfigurationError(f"data.size={size} must be at least 1 and data.seed={seed} not negative.")
        self.kind = check_option("data.kind", kind, get_args(Kind))
        self.size = size
        self.seed = seed
        if reference is not None and (reference < 0 or index <= reference < index + batch or kind == "shepp_logan"):
            raise ConfigurationError(
                f"data.reference={reference} must be the index of ellipses that are not reconstructed themselves."
            )
        self.reference = reference

    def image(self, index: int) -> tuple[Tensor, str]:
        """Draw a phantom; see the base class."""
        if self.kind == "shepp_logan":
            return ellipse_image(MODIFIED_SHEPP_LOGAN, self.size), realisation_name(f"shepp_logan_{self.size}", index)
        return ellipse_image(random_ellipses((self.seed, index)), self.size), f"ellipses_{self.size}_{index:04d}"

    def reference_image(self) -> tuple[Tensor, str] | None:
        """Draw other ellipses; see the base class."""
        return None if self.reference is None else self.image(self.reference)

    def source(self) -> dict[str, Any]:
        """Kind, size and seed of the phantom."""
        return {"phantom": self.kind, "size": self.size, "seed": self.seed}
