"""How much each ray of a scan counts: view spacing, and rays that were measured twice."""

from __future__ import annotations

import numpy as np

from dip_lightning.physics.geometry import Array, Geometry

#: A gap between neighbouring views this many times the 90th percentile of all gaps is a range that was not scanned.
MISSING = 3.0
#: Angle over which a view's share fades towards the end of the scanned range, degrees.
FADE = 10.0


def ray_weights(geometry: Geometry) -> Array:
    r"""Weight of each ray in the integral over views, radians.

    The weight is the view's angular step times the share :math:`c / (c + c')` of the ray, where :math:`c` is the
    coverage of the ray itself and :math:`c'` that of the same line measured from the other side (source angle
    :math:`\beta + \pi - 2\gamma`, bin at :math:`-u`). Coverage fades over ten degrees at the ends of the scanned range
    (Noo et al., Phys. Med. Biol. 47(14), 2002) and across the overlap of an offset detector. So a full turn counts
    every line half, half a turn in parallel beam fully, and short scans blend; a limited range lacks what it lacks.

    Args:
        geometry: A scan with views at any angles, in any order.

    Returns:
        ``[views, detectors]``, not negative.
    """
    angles = np.mod(np.asarray(geometry.angles, dtype=np.float64), 360.0)
    gamma = np.rad2deg(geometry.fan_angles())
    step, arcs = _steps(angles)
    own = _coverage(angles, arcs)[:, None] * _detector_share(geometry.bins)
    conjugate = np.mod(angles[:, None] + 180.0 - 2 * gamma, 360.0)
    other = _coverage(conjugate, arcs) * _detector_share(geometry.bins, mirrored=True)
    share = own / np.maximum(own + other, np.finfo(np.float64).tiny)
    return np.asarray(np.deg2rad(step)[:, None] * share)


def _steps(angles: Array) -> tuple[Array, list[tuple[float, float]]]:
    """Angular step of each view, and the scanned arcs ``(start, length)``, in degrees; no arcs for a full turn."""
    order = np.argsort(angles, kind="stable")
    following = np.mod(np.roll(angles[order], -1) - angles[order], 360.0)
    if np.ptp(angles) < 1e-6:
        following[-1] = 360.0
    distinct = np.sort(following[following > 1e-6])
    typical = distinct[int(0.9 * (len(distinct) - 1))]
    open_ended = following > MISSING * typical
    gaps = np.where(open_ended, typical, following)
    step = np.empty_like(angles)
    step[order] = (gaps + np.roll(gaps, 1)) / 2
    ends = np.flatnonzero(open_ended)
    arcs = []
    for last, following_last in zip(ends, np.roll(ends, -1), strict=True):
        first = (last + 1) % len(angles)
        length = np.mod(angles[order][following_last] - angles[order][first], 360.0)
        arcs.append((float(angles[order][first] - typical / 2), float(length + typical)))
    return step, arcs


def _coverage(angles: Array, arcs: list[tuple[float, float]]) -> Array:
    """Between 0 (not scanned) and 1, fading towards the ends of every arc."""
    if not arcs:
        return np.ones_like(angles)
    total = np.zeros_like(angles)
    for start, length in arcs:
        inside = np.mod(angles - start, 360.0)
        depth = np.minimum(inside, length - inside)
        faded = np.sin(0.5 * np.pi * np.clip(depth / min(FADE, length / 2), 0.0, 1.0)) ** 2
        total = np.maximum(total, faded)
    return total


def _detector_share(bins: Array, mirrored: bool = False) -> Array:
    """Share of each bin (or of the bin at ``-u``): fades across the overlap of a detector that is not centred."""
    if len(bins) == 1:
        return np.ones(1)
    half = (bins[1] - bins[0]) / 2
    low, high = bins[0] - half, bins[-1] + half
    position = -bins if mirrored else bins
    inside = (position >= low) & (position <= high)
    short = min(-low, high)
    if short <= 0 or abs(low + high) <= 4 * half:
        return inside.astype(np.float64)  # centred to a bin, or wholly on one side: nothing to blend
    sign = 1.0 if high > -low else -1.0
    return inside * 0.5 * (1 + np.sin(0.5 * np.pi * np.clip(sign * position / short, -1.0, 1.0)))
