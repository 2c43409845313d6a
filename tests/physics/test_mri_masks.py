"""Sampling masks: exact numbers, fully sampled centres, and what is refused."""

import numpy as np
import pytest
import torch

from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.physics import EquispacedLines, PoissonDisc, RandomLines, SamplingMaskFile, VariableDensity2D
from dip_lightning.physics.mri_masks_2d import radius


@pytest.mark.parametrize("kind", [RandomLines, EquispacedLines])
@pytest.mark.parametrize(
    ("acceleration", "fraction", "lines", "total", "centre"),
    [
        (4, 0.08, 368, 92, 29),
        (8, 0.04, 368, 46, 14),
        (4, 0.08, 96, 24, 7),
        (4, 0.08, 217, 54, 17),
        (2.2, 0.08, 66, 30, 5),  # 66 / 2.2 is 29.999999999999996
    ],
)
def test_number_of_lines_is_exact_and_the_centre_full(kind, acceleration, fraction, lines, total, centre):
    mask = kind(acceleration, fraction)((12, lines))
    assert mask.shape == (12, lines)
    assert (mask == mask[:1]).all()
    assert int(mask[0].sum()) == total
    start = lines // 2 - centre // 2
    assert mask[0, start : start + centre].all()
    assert mask[0, lines // 2]  # the zero frequency


def test_random_lines_are_uniform_outside_the_centre():
    counts = sum(RandomLines(seed=seed)((1, 100))[0].long() for seed in range(400))
    assert (counts[46:54] == 400).all()
    outside = torch.cat([counts[:46], counts[54:]]).double()
    assert outside.mean() == pytest.approx(400 * 17 / 92)
    assert outside.std() < 3 * np.sqrt(400 * 17 / 92)


def test_lines_along_the_other_axis():
    assert torch.equal(RandomLines(axis=-2)((64, 48)), RandomLines()((48, 64)).T)


def test_seed_decides():
    assert torch.equal(RandomLines(seed=3)((8, 64)), RandomLines(seed=3)((8, 64)))
    assert not torch.equal(RandomLines(seed=3)((8, 64)), RandomLines(seed=4)((8, 64)))


def test_equispaced_lines_are_evenly_spaced():
    lines = np.flatnonzero(EquispacedLines(8, 0.04)((1, 320))[0].numpy())
    gaps = np.diff(lines[lines < 150])
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("kind", [VariableDensity2D, PoissonDisc])
@pytest.mark.parametrize("shape", [(64, 48), (51, 65)])
def test_points_are_exactly_as_many_and_denser_inside(kind, shape):
    mask = kind(acceleration=5, center=9)(shape)
    assert int(mask.sum()) == shape[0] * shape[1] // 5
    rows, columns = (slice(n // 2 - 4, n // 2 + 5) for n in shape)
    assert mask[rows, columns].all()
    inner = mask[shape[0] // 4 : -(shape[0] // 4), shape[1] // 4 : -(shape[1] // 4)]
    outer = (int(mask.sum()) - int(inner.sum())) / (mask.numel() - inner.numel())
    assert inner.float().mean() > 1.5 * outer


@pytest.mark.parametrize("shape", [(64, 48), (51, 65)])
def test_distance_is_from_the_zero_frequency_and_1_in_the_farthest_corner(shape: tuple[int, int]) -> None:
    distance = radius(shape)
    assert np.flatnonzero(distance == 0).tolist() == [shape[0] // 2 * shape[1] + shape[1] // 2]
    assert distance.max() == distance[0, 0] == 1


@pytest.mark.parametrize("power", [0.0, 1.0, 3.0])
def test_density_falls_with_the_distance_by_its_power(power: float) -> None:
    distance = radius((128, 128))
    density = (1 - distance) ** power
    mask = VariableDensity2D(acceleration=32, center=0, power=power)((128, 128)).numpy()  # few: hardly any drawn twice
    assert distance[mask].mean() == pytest.approx((density * distance).sum() / density.sum(), abs=0.03)


def test_poisson_disc_keeps_its_distance():
    mask = PoissonDisc(acceleration=6, center=0, slope=0)((60, 60)).numpy()
    points = np.argwhere(mask)
    distances = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    nearest = np.where(distances > 0, distances, np.inf).min(1)
    random = np.argwhere(VariableDensity2D(acceleration=6, center=0, power=0)((60, 60)).numpy())
    apart = np.hypot(*(random[:, None] - random[None]).transpose(2, 0, 1))
    assert nearest.min() >= 2
    assert np.where(apart > 0, apart, np.inf).min(1).min() == 1


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (RandomLines(acceleration=1), "samples everything"),
        (RandomLines(acceleration=200, center_fraction=0), "samples nothing"),
        (RandomLines(acceleration=20, center_fraction=0.2), "more than the 3 that acceleration=20 leaves"),
        (PoissonDisc(acceleration=8, center=40), "more than acceleration=8 leaves"),
        (VariableDensity2D(center=100), "larger than k-space"),
    ],
)
def test_useless_masks_are_refused(mask, message):
    with pytest.raises(ConfigurationError, match=message):
        mask((64, 64))


@pytest.mark.parametrize("values", [{"acceleration": 0.5}, {"center_fraction": 1.0}, {"axis": 0}, {"seed": -1}])
def test_arguments_are_checked(values):
    with pytest.raises(ConfigurationError):
        RandomLines(**values)


def test_mask_files(tmp_path):
    whole = RandomLines()((8, 64))
    np.save(tmp_path / "whole.npy", whole.numpy())
    np.savez(tmp_path / "line.npz", mask=whole[0].numpy().astype(np.uint8), other=np.zeros(3))
    assert torch.equal(SamplingMaskFile(str(tmp_path / "whole.npy"))((8, 64)), whole)
    assert torch.equal(SamplingMaskFile(str(tmp_path / "line.npz"), key="mask")((8, 64)), whole)
    np.save(tmp_path / "ones.npy", np.ones((8, 64)))
    with pytest.raises(ConfigurationError, match="samples everything"):
        SamplingMaskFile(str(tmp_path / "ones.npy"))((8, 64))
    np.save(tmp_path / "half.npy", np.full((8, 64), 0.5))
    with pytest.raises(MeasurementError, match="other values than 0 and 1"):
        SamplingMaskFile(str(tmp_path / "half.npy"))((8, 64))
