"""Every acquisition takes several images at once, and gives each what it would get alone."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isabstract

import pytest
import torch

from dip_lightning import physics as suite
from dip_lightning.members import repeat_measurement, select_members
from dip_lightning.physics import RandomLines, SimulatedCoils
from dip_lightning.physics.acquisition import Acquisition

SIZE = 24


def trajectory() -> Acquisition:
    pytest.importorskip("mrinufft", reason="mri-nufft is not installed")
    pytest.importorskip("finufft", reason="finufft is not installed")
    return suite.TrajectoryMRI(shots=8, samples_per_shot=32, coils=SimulatedCoils(3))


#: An acquisition in this list gets all tests below: how to build it, and the channels of its images.
ACQUISITIONS: dict[str, tuple[Callable[[], Acquisition], int]] = {
    "parallel": (lambda: suite.ParallelBeamCT(views=8), 1),
    "fan": (lambda: suite.FanBeamCT(60.0, 90.0, views=8), 1),
    "mri": (lambda: suite.CartesianMRI(mask=RandomLines()), 2),
    "mri_coils": (lambda: suite.CartesianMRI(mask=RandomLines(), coils=SimulatedCoils(3)), 2),
    "mri_trajectory": (trajectory, 2),
    "denoising": (lambda: suite.Denoising(), 1),
    "inpainting": (lambda: suite.Inpainting(), 1),
    "deblurring": (lambda: suite.Deblurring(), 1),
    "super_resolution": (lambda: suite.SuperResolution(), 1),
    "compressed_sensing": (lambda: suite.CompressedSensing(), 1),
}


def test_every_acquisition_is_in_the_list() -> None:
    """But those that need weights or packages of their own."""
    public = {kind for kind in vars(suite).values() if isinstance(kind, type) and issubclass(kind, Acquisition)}
    listed = {type(build()) for build, _ in ACQUISITIONS.values()}
    assert {kind for kind in public if not isabstract(kind)} == listed | {suite.NonlinearBlur, suite.TrajectoryMRI}


@pytest.fixture(params=ACQUISITIONS, name="case")
def _case(request: pytest.FixtureRequest) -> tuple[Callable[[], Acquisition], int]:
    return ACQUISITIONS[request.param]


def test_members_are_what_they_are_alone(case: tuple[Callable[[], Acquisition], int]) -> None:
    build, channels = case
    images = torch.rand(3, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    ids, seeds = ("a", "b", "c"), (4, 5, 6)
    together = build().simulate(images, ids, seeds)
    for member in range(3):
        rows = slice(member, member + 1)
        alone = build().simulate(images[rows], ids[rows], seeds[rows])
        for name in ("y", "initial", "target"):
            torch.testing.assert_close(getattr(together, name)[rows], getattr(alone, name), rtol=1e-4, atol=1e-5)
        cut = select_members(together, [member])
        assert cut is not None
        torch.testing.assert_close(cut.physics.A(cut.target), alone.physics.A(alone.target), rtol=1e-4, atol=1e-5)


def test_physics_that_takes_any_number_of_images_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    measurement = suite.ParallelBeamCT(views=8).simulate(torch.rand(2, 1, SIZE, SIZE), ("a", "b"), (4, 5))
    monkeypatch.setattr("copy.deepcopy", lambda _: pytest.fail("the operator was copied"))
    cut = select_members(measurement, [1])
    assert cut is not None
    assert cut.physics is measurement.physics
    assert repeat_measurement(measurement, 2).physics is measurement.physics


def test_measurements_are_repeated(case: tuple[Callable[[], Acquisition], int]) -> None:
    build, channels = case
    images = torch.rand(2, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    repeated = repeat_measurement(build().simulate(images, ("a", "b"), (4, 5)), 2).validate()
    predicted = repeated.physics.A(repeated.target)
    torch.testing.assert_close(predicted[0::2], predicted[1::2])
