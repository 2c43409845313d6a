"""Low-dose CT: LoDoPaB-CT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from dip_lightning.data.base import MeasurementDataModule, with_metadata
from dip_lightning.data.readers.lodopab import LoDoPaBFiles, Split
from dip_lightning.errors import ConfigurationError, check_option
from dip_lightning.measurement import Measurement
from dip_lightning.paths import expand_path
from dip_lightning.physics.ct import ParallelBeamCT
from dip_lightning.physics.fbp import FBPFilter
from dip_lightning.physics.noise import LODOPAB_MU_MAX, MeasurementNoise, PoissonCounts

Source = Literal["observations", "resimulated"]

#: The released geometry: pixels and edge of the image (mm), views over half a turn, detector bins.
PIXELS, FIELD_MM, VIEWS, DETECTORS = 362, 260.0, 1000, 513


def lodopab_geometry(indices: Sequence[int], **options: Any) -> ParallelBeamCT:
    r"""The released scanner geometry, at some of its views.

    Image of 0.26 x 0.26 m and 362 x 362 pixels; view ``i`` of 1000 at :math:`(i + 1/2)\,0.18` degrees; 513 bins that
    cover the image's diagonal, :math:`0.26\sqrt2` m. In the released data the first image axis is :math:`x` and the
    second :math:`y` (ODL's convention), so that here, where rows run down and columns to the right, views start at -90
    degrees: images keep the orientation in which they are stored.

    Args:
        indices: Views, 0 to 999.
        **options: Further options of :class:`~dip_lightning.physics.ct.ParallelBeamCT`.
    """
    return ParallelBeamCT(
        angles=[(index + 0.5) * 180 / VIEWS - 90 for index in indices],
        detectors=DETECTORS,
        pixel_size=FIELD_MM / PIXELS,
        detector_spacing=FIELD_MM * 2**0.5 / DETECTORS,
        attenuation=LODOPAB_MU_MAX,
        **options,
    )


class LoDoPaB(MeasurementDataModule):
    r"""Low-dose parallel-beam CT of chests: the released observations, or sparse views simulated from the ground truth.

    Images are 362x362 in [0, 1], where 1 is 81.35858 per metre (3071 HU). Observations were simulated by the data set's
    authors with 4096 photons per bin, from images on a finer grid than that of the reconstruction. Data are line
    integrals with lengths in pixels, the scale in which aSeqDIP's weights were published: the files' values, in metres,
    divided by the pixel size in metres.

    All 1000 views need a system matrix of several GB; 30 views take 0.1 GB. Views that do not divide 1000 are rounded
    to the nearest of the released ones, and reconstructed with their true angles.

    Source: Leuschner, Schmidt, Otero Baguer and Maass, Scientific Data 8:109, 2021 (arXiv 1910.01113); Zenodo 3384092.

    Args:
        path: Folder of ``observation_<split>_NNN.hdf5`` and ``ground_truth_<split>_NNN.hdf5``, or of folders of them.
            Environment variables are replaced.
        split: ``train``, ``validation``, ``test`` or ``challenge`` (observations alone, without target).
        views: How many of the 1000 views, evenly.
        source: ``observations`` takes the released data; ``resimulated`` projects the ground truth with the operator
            that reconstructs (which is easier) and adds ``noise``.
        noise: Noise of re-simulated data; 4096 photons, as released, unless given.
        filter: Window on the ramp of the first estimate's filtered back-projection.
        frequency_scaling: Cut-off of that filter as a fraction of the Nyquist frequency.
        nonnegative: Set negative values of the first estimate to zero.
        noise_seed: Seed of re-simulated noise; the measurement at ``index`` uses ``noise_seed + index``.
        index: Which sample of the part.
        batch: How many, from ``index`` on, are reconstructed together.
        repeat: From how many seeds each is reconstructed at once.

    Raises:
        ConfigurationError: If an option is unknown or out of range, or if an environment variable is not set.
    """

    def __init__(
        self,
        path: str = "${DIP_LIGHTNING_DATA}/lodopab",
        split: Split = "test",
        views: int = 30,
        source: Source = "observations",
        noise: MeasurementNoise | None = None,
        filter: FBPFilter = "ram-lak",
        frequency_scaling: float = 1.0,
        nonnegative: bool = False,
        noise_seed: int = 0,
        index: int = 0,
        batch: int = 1,
        repeat: int = 1,
    ) -> None:
        super().__init__(index=index, batch=batch, repeat=repeat)
        if not 1 <= views <= VIEWS:
            raise ConfigurationError(f"data.views={views} must be 1 to {VIEWS}.")
        self.files = LoDoPaBFiles(expand_path(path), split)
        self.views = [round(view * VIEWS / views) for view in range(views)]
        self.source: Source = check_option("source", source, get_args(Source))
        if noise is not None and source == "observations":
            raise ConfigurationError("data.noise is for data.source: resimulated; the observations have theirs.")
        self.noise_seed = noise_seed
        self.acquisition = lodopab_geometry(
            self.views,
            noise=noise or PoissonCounts(),
            filter=filter,
            frequency_scaling=frequency_scaling,
            nonnegative=nonnegative,
        )

    def load(self, indices: Sequence[int]) -> Measurement:
        """Read the samples, and project the ground truth where asked for; see the base class."""
        ids = [f"lodopab_{self.files.split}_{index:05d}_{len(self.views)}views" for index in indices]
        metadata = {"folder": str(self.files.folder), "split": self.files.split, "samples": list(indices)}
        fields = with_metadata(self.acquisition, {**metadata, "source": self.source})
        if self.source == "resimulated":
            seeds = [self.noise_seed + index for index in indices]
            return self.acquisition.simulate(self._ground_truth(indices), ids, seeds, **fields)
        line_integrals = np.stack([self.files.read("observation", index)[self.views] for index in indices])
        # The files hold line integrals of the normalised image over metres.
        y = torch.from_numpy(line_integrals)[:, None] * (1000 * PIXELS / FIELD_MM)
        target = self._ground_truth(indices) if self.files.has("ground_truth") else None
        return self.acquisition.accept(y, ids, image_shape=(1, PIXELS, PIXELS), target=target, **fields)

    def _ground_truth(self, indices: Sequence[int]) -> Tensor:
        return torch.stack([torch.from_numpy(self.files.read("ground_truth", index)) for index in indices])[:, None]
