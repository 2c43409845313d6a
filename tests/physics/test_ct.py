"""CT acquisitions: from settings to measurements."""

from __future__ import annotations

import pytest
import torch
from jsonargparse import ArgumentParser

from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.physics import Acquisition, FanBeamCT, ParallelBeamCT, RelativeGaussian
from dip_lightning.physics.ct import least_squares_scale
from tests.physics.scans import Blob, relative_error


def test_simulated_measurement():
    acquisition = ParallelBeamCT(views=12, noise=RelativeGaussian(0.01))
    image = Blob(sigma=4.0).image(acquisition.geometry((32, 32)))
    measurement = acquisition.simulate(image, ["blob"], [0])
    assert measurement.y.shape == (1, 1, 12, 46)
    assert measurement.task == "ct"
    assert measurement.noise_level == pytest.approx(0.01 * float(measurement.physics.A(image).abs().mean()))
    assert relative_error(measurement.initial, image) < 0.2
    assert measurement.metadata["views"] == 12
    assert torch.equal(measurement.y, acquisition.simulate(image, ["blob"], [0]).y)
    assert not torch.equal(measurement.y, acquisition.simulate(image, ["blob"], [1]).y)


def test_detector_sees_the_whole_image():
    assert ParallelBeamCT().geometry((128, 128)).detectors == 182
    assert ParallelBeamCT(detector_spacing=0.5).geometry((10, 128)).detectors == 363
    fan = FanBeamCT(410.0, 550.0, pixel_size=0.5).geometry((64, 64))
    corner = 0.25 * 64 * 2**0.5
    assert fan.bins[-1] == pytest.approx(550 * corner / (410**2 - corner**2) ** 0.5, rel=0.02)


@pytest.mark.parametrize("offset", [-7.3, 12.0])
@pytest.mark.parametrize("build", [ParallelBeamCT, lambda **options: FanBeamCT(90.0, 140.0, **options)])
def test_detector_off_the_centre_sees_the_whole_image(build, offset):
    geometry = build(detector_offset=offset, detector_spacing=0.7).geometry((32, 32))
    half = 0.5 * geometry.detector_spacing
    assert geometry.bins[0] - half <= -geometry.reach
    assert geometry.bins[-1] + half >= geometry.reach


def test_angles():
    assert ParallelBeamCT(views=4).angles == (0.0, 45.0, 90.0, 135.0)
    assert ParallelBeamCT(views=2, angular_range=60.0, start_angle=10.0).angles == (10.0, 40.0)
    assert FanBeamCT(400.0, 500.0, views=3).angles == (0.0, 120.0, 240.0)
    assert FanBeamCT(400.0, 500.0, views=2, angular_range=-90.0).angles == (0.0, -45.0)
    assert FanBeamCT(400.0, 500.0, angles=[1, 7]).angles == (1.0, 7.0)


@pytest.mark.parametrize("pixel_units", [True, False])
@pytest.mark.parametrize("attenuation", [None, 0.04])
def test_measured_line_integrals_give_the_attenuation(pixel_units, attenuation):
    options = {"pixel_units": pixel_units, "attenuation": attenuation, "pixel_size": 0.5, "scale_to_data": False}
    acquisition = FanBeamCT(100.0, 150.0, views=90, **options)
    blob = Blob(centre=(1.0, 2.0), sigma=2.0)
    geometry = acquisition.geometry((32, 32))
    y = acquisition.from_line_integrals(0.03 * blob.line_integrals(geometry))
    measurement = acquisition.accept(y, ["a"], image_shape=(1, 32, 32))
    expected = blob.image(geometry) * 0.03 / (attenuation or 1.0)
    assert relative_error(measurement.initial, expected) < 0.03
    assert relative_error(measurement.physics.A(expected), y) < 0.01
    torch.testing.assert_close(acquisition.fbp(y, (32, 32)), measurement.initial)
    assert measurement.units == ("1" if attenuation is None else "0.04 per mm")


def test_initial_image_fits_the_data_in_scale_and_sign():
    acquisition = ParallelBeamCT(views=5, nonnegative=True)
    image = Blob(sigma=3.0).image(acquisition.geometry((24, 24)))
    measurement = acquisition.simulate(image, ["a"], [0])
    clipped = measurement.physics.A_dagger(measurement.y).clamp(min=0)
    torch.testing.assert_close(measurement.initial / measurement.initial.norm(), clipped / clipped.norm())
    assert (clipped == 0).any()
    scale = least_squares_scale(measurement.physics.A(measurement.initial), measurement.y)
    torch.testing.assert_close(scale, torch.ones(1, 1, 1, 1))
    factors = torch.tensor([2.0, -0.5]).view(2, 1, 1, 1)
    predicted = torch.rand(2, 1, 5, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(least_squares_scale(predicted, factors * predicted), factors)
    assert float(least_squares_scale(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2))) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": 0}, "views=0"),
        ({"angles": []}, "zero views"),
        ({"angular_range": 0.0}, "angular_range=0.0"),
        ({"detectors": 0}, "detectors=0"),
        ({"pixel_size": 0.0}, "pixel_size=0.0"),
        ({"detector_spacing": -1.0}, "detector_spacing=-1.0"),
        ({"detector_offset": float("nan")}, "detector_offset=nan"),
        ({"attenuation": 0.0}, "attenuation=0.0"),
        ({"frequency_scaling": 2.0}, "frequency_scaling=2.0"),
        ({"filter": "han"}, "Did you mean 'hann'"),
        ({"start_angle": float("nan")}, "NaN"),
    ],
)
def test_settings_out_of_range(options, message):
    for build in (ParallelBeamCT, lambda **kwargs: FanBeamCT(400.0, 500.0, **kwargs)):
        with pytest.raises(ConfigurationError, match=message):
            build(**options).geometry((8, 8))


def test_images_and_data_that_do_not_fit():
    with pytest.raises(ConfigurationError, match="not 3"):
        ParallelBeamCT().simulate(torch.zeros(1, 3, 8, 8), ["rgb"], [0])
    with pytest.raises(ConfigurationError, match="inside the image"):
        FanBeamCT(100.0, 200.0).simulate(torch.zeros(1, 1, 200, 200), ["large"], [0])
    with pytest.raises(ConfigurationError, match="source_origin=-1"):
        FanBeamCT(-1.0, 200.0)
    with pytest.raises(MeasurementError, match="30 views, 12 detectors"):
        ParallelBeamCT().accept(torch.zeros(1, 1, 29, 12), ["a"], image_shape=(1, 8, 8))
    with pytest.raises(MeasurementError, match="NaN"):
        ParallelBeamCT().accept(torch.full((1, 1, 30, 12), torch.nan), ["a"], image_shape=(1, 8, 8))


def test_from_a_config_file():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Acquisition, "acquisition")
    parsed = parser.parse_object(
        {
            "acquisition": {
                "class_path": "dip_lightning.physics.FanBeamCT",
                "init_args": {
                    "source_origin": 400,
                    "source_detector": 500,
                    "views": 7,
                    "pixel_size": 0.3,
                    "noise": {"class_path": "PoissonCounts", "init_args": {"photons": 1000}},
                },
            }
        }
    )
    instantiate = getattr(parser, "instantiate", parser.instantiate_classes)  # renamed in jsonargparse 4.49
    acquisition = instantiate(parsed).acquisition
    assert len(acquisition.angles) == 7
    assert acquisition.noise.photons == 1000
