"""Measurements and network inputs: what is refused before a fit, and what the inputs are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from deepinv.physics import MultiCoilMRI, Physics
from torch import Tensor

from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.functional.random import MemberGenerators
from dip_lightning.inputs import GaussianNoise, InitialEstimate, ReferenceImage, UniformNoise, minmax
from dip_lightning.measurement import Measurement
from dip_lightning.physics import Acquisition, RayTransform
from dip_lightning.placement import move_physics
from tests.physics.scans import parallel
from tests.support import matrix_measurement


def test_a_sound_measurement_passes() -> None:
    measurement = matrix_measurement()
    assert measurement.validate() is measurement
    assert measurement.image_shape == (1, 6, 6)


@pytest.mark.parametrize("name", ["y", "initial", "target"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_counted_and_named(name: str, bad: float) -> None:
    tensor = getattr(matrix_measurement(), name).clone()
    tensor.view(-1)[3] = bad
    with pytest.raises(MeasurementError, match=f"{name} of measurement matrix holds 1 NaN"):
        replace(matrix_measurement(), **{name: tensor}).validate()


def test_wrong_types_shapes_and_names_are_refused() -> None:
    measurement = matrix_measurement()
    for fields, message in [
        ({"y": (measurement.y * 100).to(torch.int16)}, "int16"),
        ({"y": measurement.y.numpy()}, "y of measurement matrix must be a torch tensor, not ndarray: torch.from_numpy"),
        ({"y": measurement.y[:, :-1]}, "maps images"),
        ({"initial": measurement.initial[0]}, r"\[B, C, H, W\]"),
        ({"initial": measurement.initial[..., :-1], "target": None}, "does not accept images"),
        ({"target": measurement.target[..., :-1]}, "target's shape"),
        ({"ids": ("a", "b")}, "distinct ids"),
        ({"y": measurement.y[:0]}, "empty"),
    ]:
        with pytest.raises(MeasurementError, match=message):
            replace(measurement, **fields).validate()


def test_an_acquisition_without_a_task_is_told_so_before_it_measures() -> None:
    class Nameless(Acquisition):
        def physics(self, image_shape: tuple[int, int, int]) -> Physics:
            raise AssertionError("built")

        def initial(self, y: Tensor, physics: Physics) -> Tensor:
            return y

    image = torch.rand(1, 1, 4, 4)
    with pytest.raises(ConfigurationError, match="Nameless has no task"):
        Nameless().simulate(image, ["image"], [0])
    with pytest.raises(ConfigurationError, match="Nameless has no task"):
        Nameless().accept(image, ["image"], image_shape=(1, 4, 4))


def test_moving_converts_real_and_complex_data() -> None:
    measurement = replace(matrix_measurement(), y=torch.ones(1, 20, dtype=torch.complex128))
    moved = measurement.to("cpu", torch.float32)
    assert moved.y.dtype == torch.complex64
    assert moved.initial.dtype == moved.physics.matrix.dtype == torch.float32
    assert measurement.initial.dtype == torch.float64


def test_moving_keeps_complex_buffers_complex_and_the_given_physics_as_it_is() -> None:
    mask, generator = torch.ones(8, 8), torch.Generator().manual_seed(0)
    maps = torch.randn(1, 3, 8, 8, dtype=torch.complex64, generator=generator)
    physics = MultiCoilMRI(mask=mask, coil_maps=maps, img_size=(8, 8))
    image = torch.randn(1, 2, 8, 8, generator=generator)
    y = physics.A(image)
    measurement = Measurement(y=y, physics=physics, initial=physics.A_adjoint(y), ids=("a",), task="mri")
    moved = measurement.to("cpu", torch.float64)
    assert moved.physics.coil_maps.dtype == torch.complex128
    assert moved.physics.A(image.double()).dtype == torch.float64
    torch.testing.assert_close(moved.physics.A(image.double()), y.double(), rtol=0, atol=1e-5)
    assert measurement.physics.coil_maps.dtype == torch.complex64
    assert torch.equal(measurement.physics.A(image), y)


def test_moving_shares_what_need_not_change() -> None:
    measurement = matrix_measurement()
    assert measurement.to("cpu").physics is measurement.physics
    same = measurement.to("cpu", torch.float64)
    assert same.physics.matrix is measurement.physics.matrix
    assert same.y is measurement.y
    measurement.physics.register_buffer("indices", torch.arange(3))
    moved = measurement.to("cpu", torch.float32)
    assert moved.physics.indices is measurement.physics.indices
    assert moved.physics.matrix.dtype == torch.float32
    assert measurement.physics.matrix.dtype == torch.float64


def test_moving_reaches_tensors_that_an_operator_moves_by_itself() -> None:
    physics = RayTransform(parallel(), stored=False)
    moved = move_physics(physics, "meta")
    assert {tensor.device.type for tensor in rays(moved)} == {"meta"}
    assert {tensor.device.type for tensor in rays(physics)} == {"cpu"}


def rays(physics: Physics) -> list[Tensor]:
    return [bundle.rays for module in physics.modules() for bundle in getattr(module, "_bundles", [])]


def test_a_physics_that_cannot_be_copied_is_moved_in_place() -> None:
    class Plan:
        def __deepcopy__(self, memo: dict[int, object]) -> None:
            raise TypeError("a plan of another library")

    measurement = matrix_measurement()
    measurement.physics.plan = Plan()
    moved = measurement.to("cpu", torch.float32)
    assert moved.physics is measurement.physics
    assert moved.physics.matrix.dtype == torch.float32


def test_noise_inputs_belong_to_the_member() -> None:
    measurement = matrix_measurement()
    for maker, low, high in [(UniformNoise(4, 0.1), 0.0, 0.1), (GaussianNoise(4, 0.1), -1.0, 1.0)]:
        alone = maker(measurement, MemberGenerators([5]))
        together = maker(measurement, MemberGenerators([1, 5]))
        assert alone.shape == (1, 4, 6, 6)
        assert torch.equal(alone[0], together[1])
        assert not torch.equal(together[0], together[1])
        assert low <= alone.min() <= alone.max() <= high
    wide = GaussianNoise(64, 0.3)(measurement, MemberGenerators([0]))
    assert wide.std().item() == pytest.approx(0.3, rel=0.05)


def test_images_as_inputs() -> None:
    measurement = matrix_measurement()
    generators = MemberGenerators([0])
    assert torch.equal(InitialEstimate()(measurement, generators), measurement.initial)
    mapped = InitialEstimate("minmax")(measurement, generators)
    assert (mapped.min(), mapped.max()) == (0, 1)
    assert torch.equal(minmax(torch.full((2, 1, 3, 3), 5.0)), torch.zeros(2, 1, 3, 3))
    with pytest.raises(MeasurementError, match="reference"):
        ReferenceImage()(measurement, generators)
    reference = replace(measurement, reference=measurement.target)
    assert torch.equal(ReferenceImage()(reference, generators), measurement.target)


def test_generators_continue_from_their_state() -> None:
    generators = MemberGenerators([1, 2])
    generators.normal((3,))
    state = generators.state_dict()
    expected = generators.uniform((4,))
    generators.load_state_dict(state)
    assert torch.equal(generators.uniform((4,)), expected)
    with pytest.raises(ValueError, match="1 generator states for 2"):
        generators.load_state_dict(state[:1])


def test_generators_start_anew_from_states_of_another_kind_of_device() -> None:
    generators = MemberGenerators([1, 2])
    of_a_gpu = [torch.zeros(16, dtype=torch.uint8) for _ in range(2)]
    with pytest.warns(UserWarning, match="another kind than cpu") as warned:
        generators.load_state_dict(of_a_gpu)
    assert len(warned) == 1
    assert torch.equal(generators.uniform((4,)), MemberGenerators([1, 2]).uniform((4,)))
