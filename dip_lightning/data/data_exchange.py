"""Measured parallel-beam CT of a synchrotron beamline, from raw counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dip_lightning.data.base import MeasurementDataModule, with_metadata
from dip_lightning.data.readers.data_exchange import ParallelScan, find_rotation_axis, read_scan
from dip_lightning.data.readers.files import safe_names
from dip_lightning.errors import ConfigurationError, check_positive
from dip_lightning.measurement import Measurement
from dip_lightning.paths import expand_path
from dip_lightning.physics.ct import ParallelBeamCT
from dip_lightning.physics.fbp import FBPFilter


class DataExchangeCT(MeasurementDataModule):
    r"""A measured parallel-beam scan in the Data Exchange schema, such as TomoPy's tooth (Advanced Photon Source).

    Raw counts become line integrals :math:`-\log((I - D) / (W - D))` with the means of flats and darks. The noise is
    what was measured; its level is not known.

    Units. The file has no detector spacing, so that lengths count in detector bins: an image value of 1 is
    ``attenuation`` per bin. With the default, the tooth's enamel is 0.75. Data are line integrals with lengths in image
    pixels, the scale in which aSeqDIP's weights were published. Neither is scaled by the reference.

    Target. There is no ground truth. The target is the filtered back-projection of all views, clipped to [0, 1]: a
    reference, with noise and rings.

    Args:
        path: HDF5 file with ``exchange/data`` ``[views, rows, detectors]``, ``data_white``, ``data_dark`` and ``theta``
            (degrees). Environment variables are replaced.
        views: How many of its views, evenly; ``None`` takes all.
        rotation_axis: Detector column of the rotation axis, from 0; ``None`` finds it from views half a turn apart.
        image_size: Pixels along each side.
        field: Side of the imaged square, in detector bins; ``None`` takes the number of bins.
        attenuation: Attenuation per detector bin that an image value of 1 means.
        filter: Window on the ramp of the first estimate's filtered back-projection.
        frequency_scaling: Cut-off of that filter as a fraction of the Nyquist frequency.
        nonnegative: Set negative values of the first estimate to zero.
        index: Detector row.
        batch: How many rows, from ``index`` on, are reconstructed together.
        repeat: From how many seeds each is reconstructed at once.

    Raises:
        ConfigurationError: If a number is out of range or an environment variable is not set.
    """

    def __init__(
        self,
        path: str = "${DIP_LIGHTNING_DATA}/ct_tooth_aps/tooth.h5",
        views: int | None = 30,
        rotation_axis: float | None = None,
        image_size: int = 256,
        field: float | None = None,
        attenuation: float = 0.0125,
        filter: FBPFilter = "ram-lak",
        frequency_scaling: float = 1.0,
        nonnegative: bool = False,
        index: int = 0,
        batch: int = 1,
        repeat: int = 1,
    ) -> None:
        super().__init__(index=index, batch=batch, repeat=repeat)
        for name, value in (("views", views), ("image_size", image_size), ("field", field)):
            if value is not None:
                check_positive(f"data.{name}", value)
        self.path = expand_path(path)
        self.views = views
        self.rotation_axis = rotation_axis
        self.image_size = image_size
        self.field = field
        self.options: dict[str, Any] = {
            "attenuation": check_positive("data.attenuation", attenuation),
            "filter": filter,
            "frequency_scaling": frequency_scaling,
            "nonnegative": nonnegative,
        }
        ParallelBeamCT(**self.options)  # refuses a bad filter now

    def load(self, indices: Sequence[int]) -> Measurement:
        """Read the rows, keep the views asked for, and make the reference; see the base class.

        Raises:
            ConfigurationError: If there are fewer rows or views, or if the axis is not on the detector.
        """
        scans = [read_scan(self.path, row) for row in indices]
        total, bins = scans[0].line_integrals.shape
        views = self.views or total
        if views > total:
            raise ConfigurationError(f"data.views={views}, but {self.path} holds {total} views.")
        axis = find_rotation_axis(scans[0]) if self.rotation_axis is None else self.rotation_axis
        if not 0 <= axis <= bins - 1:
            raise ConfigurationError(f"data.rotation_axis={axis} is not among the {bins} detector columns.")
        chosen = [round(view * total / views) for view in range(views)]
        acquisition = self._acquisition(scans[0], axis, chosen)
        metadata = {
            "file": str(self.path),
            "rows": list(indices),
            "rotation_axis": axis,
            "clipped_counts": [scan.clipped for scan in scans],
            "target": f"FBP of {total} views",
        }
        y = acquisition.from_line_integrals(_stack(scans))
        complete = self._acquisition(scans[0], axis, range(total), filter="ram-lak", frequency_scaling=1.0)
        fields = with_metadata(acquisition, metadata)
        return acquisition.accept(
            y[:, :, chosen],
            [f"{safe_names([self.path])[0]}_row{row}_{views}views" for row in indices],
            image_shape=(1, self.image_size, self.image_size),
            target=complete.fbp(y, (self.image_size, self.image_size)).clamp(0, 1),
            **{**fields, "units": f"{self.options['attenuation']:g} per detector bin"},
        )

    def _acquisition(self, scan: ParallelScan, axis: float, chosen: Sequence[int], **options: Any) -> ParallelBeamCT:
        bins = scan.line_integrals.shape[1]
        return ParallelBeamCT(
            angles=scan.angles[list(chosen)].tolist(),
            detectors=bins,
            detector_spacing=1.0,
            detector_offset=(bins - 1) / 2 - axis,
            pixel_size=(self.field or bins) / self.image_size,
            **{**self.options, **options},
        )


def _stack(scans: Sequence[ParallelScan]) -> Tensor:
    """Line integrals ``[B, 1, views, detectors]``."""
    return torch.from_numpy(np.stack([scan.line_integrals for scan in scans]))[:, None].float()
