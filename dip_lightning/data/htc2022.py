"""Measured fan-beam CT: the Helsinki Tomography Challenge 2022."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dip_lightning.data.base import MeasurementDataModule, with_metadata
from dip_lightning.data.readers.files import safe_names
from dip_lightning.data.readers.htc2022 import FanScan, find_scan, read_scan
from dip_lightning.data.views import select_views
from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.measurement import Measurement
from dip_lightning.paths import expand_path
from dip_lightning.physics.ct import FanBeamCT
from dip_lightning.physics.fbp import FBPFilter

#: Edge of the reconstructed square, mm: the challenge's 512 pixels of 0.14832 mm, a detector bin at the centre.
FIELD_MM = 75.94


class HTC2022(MeasurementDataModule):
    r"""Measured sinograms of acrylic discs with holes, from every k-th view or a limited range of angles.

    The scanner: flat detector of 560 bins of 0.2 mm, 410.66 mm from source to rotation centre, 553.74 mm from source
    to detector, 720 views over a full turn (a 721st repeats the first); all of it is read from the file. Images cover
    75.94 x 75.94 mm.

    Units. An image value of 1 is ``attenuation`` per mm; with the default of 0.05, acrylic (0.034 per mm) is 0.68 and
    the brightest pixel of any phantom, where beam hardening brightens the rim, 0.92. Data are line integrals with
    lengths in pixels, the scale in which aSeqDIP's weights were published: the file's values divided by
    ``attenuation`` and by the pixel size in mm. Neither is scaled by the reference.

    Target. There is no ground truth. The target is the filtered back-projection (ramp filter) of all 720 views on the
    same grid, clipped to [0, 1]: a reference, with noise and the artefacts of beam hardening, against which PSNR is
    computed. It reproduces the measured data to 0.9 %.

    Source: Meaney, Silva de Moura and Siltanen, Zenodo 10.5281/zenodo.7418878.

    Args:
        path: Folder of ``htc2022_<phantom>_full.mat`` (also in ``test`` or ``training`` inside it), or a file.
            Environment variables are replaced.
        phantom: ``03a`` and so on, or a list, of which ``index`` picks one.
        views: Views per full turn; must divide 720. Every ``720 / views``-th is used.
        start: Angle of the first view, degrees, a multiple of 0.5.
        angular_range: Degrees from the first view to the last (both used); 360 is the full turn. The challenge's
            limited data are ``views: 720`` with a range of 90 (01a, from 0), 70 (03a, from 50) or 50 (05a, from 50).
        image_size: Pixels along each side.
        attenuation: Attenuation per mm that an image value of 1 means.
        filter: Window on the ramp of the first estimate's filtered back-projection.
        frequency_scaling: Cut-off of that filter as a fraction of the Nyquist frequency.
        index: Which of the phantoms.
        batch: How many, from ``index`` on, are reconstructed together.
        repeat: From how many seeds each is reconstructed at once.
        reference: Phantom whose full-view reconstruction is given as reference image; ``None`` for no reference.
        nonnegative: Set negative values of the first estimate to zero.

    Raises:
        ConfigurationError: If a number is out of range or an environment variable is not set.
    """

    def __init__(
        self,
        path: str = "${DIP_LIGHTNING_DATA}/ct_htc2022",
        phantom: str | list[str] = "03a",
        views: int = 36,
        start: float = 0.0,
        angular_range: float = 360.0,
        image_size: int = 256,
        attenuation: float = 0.05,
        filter: FBPFilter = "ram-lak",
        frequency_scaling: float = 1.0,
        index: int = 0,
        batch: int = 1,
        repeat: int = 1,
        reference: str | None = None,
        nonnegative: bool = False,
    ) -> None:
        super().__init__(index=index, batch=batch, repeat=repeat)
        self.path = expand_path(path)
        self.phantoms = [phantom] if isinstance(phantom, str) else list(phantom)
        if index + batch > len(self.phantoms) or len(set(self.phantoms)) < len(self.phantoms):
            raise ConfigurationError(
                f"data.phantom={phantom} must hold distinct phantoms, "
                f"at least data.index + data.batch = {index + batch}."
            )
        if reference is not None and reference in self.phantoms:
            raise ConfigurationError(
                f"data.reference={reference!r} must be another phantom than data.phantom={phantom}."
            )
        if views < 1:
            raise ConfigurationError(f"data.views={views}: a scan needs at least one view.")
        if not 0 < angular_range <= 360 or not math.isfinite(start):
            raise ConfigurationError(f"data.angular_range={angular_range} must be in (0, 360], from a finite start.")
        if image_size < 1 or not attenuation > 0:
            raise ConfigurationError(
                f"data.image_size={image_size} and data.attenuation={attenuation} must be positive."
            )
        self.views = views
        self.start = start
        self.angular_range = angular_range
        self.reference = reference
        self.image_size = image_size
        self.options: dict[str, Any] = {
            "attenuation": attenuation,
            "filter": filter,
            "frequency_scaling": frequency_scaling,
            "nonnegative": nonnegative,
        }
        FanBeamCT(1.0, 1.0, **self.options)  # refuses a bad filter now

    def load(self, indices: Sequence[int]) -> Measurement:
        """Read the scans, keep the views asked for, and make the reference; see the base class.

        Raises:
            ConfigurationError: If the views do not divide the full turn, the start is between views, or the reference
                is one of the scans.
        """
        scans = [read_scan(find_scan(self.path, self.phantoms[index])) for index in indices]
        first = scans[0]
        if any(not _same_geometry(first, scan) for scan in scans):
            raise MeasurementError("Scans of different geometries cannot be reconstructed together; set data.batch: 1.")
        chosen = select_views(first.angles, self.views, self.start, self.angular_range)
        acquisition = self._acquisition(first, first.angles[chosen])
        metadata = {"files": [str(scan.file) for scan in scans], "target": f"FBP of {len(first.angles)} views"}
        return acquisition.accept(
            acquisition.from_line_integrals(_stack(scans)[:, :, chosen]),
            self._names(scans, len(chosen)),
            image_shape=(1, self.image_size, self.image_size),
            target=self._full_view_fbp(scans),
            reference=self._reference(scans),
            **with_metadata(acquisition, metadata),
        )

    def _full_view_fbp(self, scans: Sequence[FanScan]) -> Tensor:
        acquisition = self._acquisition(scans[0], scans[0].angles, filter="ram-lak", frequency_scaling=1.0)
        shape = self.image_size, self.image_size
        return acquisition.fbp(acquisition.from_line_integrals(_stack(scans)), shape).clamp(0, 1)

    def _reference(self, scans: Sequence[FanScan]) -> Tensor | None:
        if self.reference is None:
            return None
        folder = self.path if self.path.is_dir() else self.path.parent
        file = find_scan(folder, self.reference)
        if any(file.samefile(scan.file) for scan in scans):
            raise ConfigurationError(
                f"data.reference={self.reference!r} is {file}, the scan that is reconstructed; choose another phantom."
            )
        return self._full_view_fbp([read_scan(file)]).expand(len(scans), -1, -1, -1).clone()

    def _names(self, scans: Sequence[FanScan], views: int) -> list[str]:
        limits = "" if self.angular_range == 360 else f"_{self.start:g}to{self.start + self.angular_range:g}"
        names = [name.removesuffix("_full") for name in safe_names([scan.file for scan in scans])]
        return [f"{name}_{views}views{limits}" for name in names]

    def _acquisition(self, scan: FanScan, angles: NDArray[np.float64], **options: Any) -> FanBeamCT:
        return FanBeamCT(
            scan.source_origin,
            scan.source_detector,
            angles=angles.tolist(),
            detectors=scan.line_integrals.shape[1],
            detector_spacing=scan.detector_spacing,
            pixel_size=FIELD_MM / self.image_size,
            **{**self.options, **options},
        )


def _stack(scans: Sequence[FanScan]) -> Tensor:
    """Line integrals ``[B, 1, views, detectors]``."""
    return torch.stack([torch.from_numpy(scan.line_integrals) for scan in scans])[:, None].float()


def _same_geometry(a: FanScan, b: FanScan) -> bool:
    numbers = ("source_origin", "source_detector", "detector_spacing")
    same = a.line_integrals.shape == b.line_integrals.shape and np.array_equal(a.angles, b.angles)
    return same and all(getattr(a, name) == getattr(b, name) for name in numbers)
