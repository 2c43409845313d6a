"""Parallel-beam scans from raw counts."""

import h5py
import numpy as np
import pytest
import torch

from dip_lightning.data import DataExchangeCT
from dip_lightning.data.readers.data_exchange import find_rotation_axis, read_scan
from dip_lightning.errors import ConfigurationError, MeasurementError

AXIS, RADIUS, MU = 34.5, 12.0, 0.02


def write(path, views=91, drop="", axis=AXIS, **changes):
    """A disc of attenuation MU per bin, off centre, about an axis at this column; two rows, flats and darks."""
    angles = np.linspace(0, 180, views, endpoint=False)
    radians = np.deg2rad(angles)[:, None]
    bins = np.arange(80) - axis - (6 * np.cos(radians) + 4 * np.sin(radians))
    chords = 2 * MU * np.sqrt(np.clip(RADIUS**2 - bins**2, 0, None))
    counts = 100 + 9000 * np.exp(-np.stack([chords, 0.5 * chords], axis=1))
    content = {
        "exchange/data": counts.astype(np.float32),
        "exchange/data_white": np.full((5, 2, 80), 9100, np.float32),
        "exchange/data_dark": np.full((4, 2, 80), 100, np.float32),
        "exchange/theta": angles,
    }
    content.update(changes)
    content.pop(drop, None)
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            file[name] = values
    return path


def test_reconstruction_has_the_right_place_and_units(tmp_path):
    path = write(tmp_path / "disc.h5")
    module = DataExchangeCT(str(path), views=None, image_size=80, attenuation=0.04)
    module.setup("fit")
    measurement = module.measurement
    row, column = torch.meshgrid(torch.arange(80.0), torch.arange(80.0), indexing="ij")
    disc = (column - 39.5 - 6) ** 2 + (39.5 - row - 4) ** 2 < (RADIUS - 2) ** 2
    assert measurement.target[0, 0][disc].mean() == pytest.approx(MU / 0.04, rel=0.02)
    assert measurement.target[0, 0][~disc].mean() < 0.05
    assert measurement.units == "0.04 per detector bin"
    assert measurement.metadata["rotation_axis"] == pytest.approx(AXIS, abs=0.3)
    assert measurement.noise_level is None
    residual = measurement.physics.A(measurement.target) - measurement.y
    assert residual.norm() / measurement.y.norm() < 0.05


@pytest.mark.parametrize("views", [91, 31])
def test_rotation_axis_between_the_steps_of_the_search(tmp_path, views):
    scan = read_scan(write(tmp_path / "disc.h5", views=views, axis=34.3), 0)
    assert find_rotation_axis(scan) == pytest.approx(34.3, abs=0.08)


def test_sparse_views_and_rows(tmp_path):
    path = write(tmp_path / "disc.h5")
    module = DataExchangeCT(str(path), views=10, rotation_axis=AXIS, image_size=40, index=0, batch=2)
    module.setup("fit")
    assert module.measurement.y.shape == (2, 1, 10, 80)
    assert module.measurement.ids == ("disc_row0_10views", "disc_row1_10views")
    torch.testing.assert_close(module.measurement.y[1], 0.5 * module.measurement.y[0], rtol=1e-3, atol=1e-3)
    assert module.measurement.metadata["views"] == 10


def test_counts_below_the_darks_are_kept_finite(tmp_path):
    counts = np.full((91, 2, 80), 9000, np.float32)
    counts[3, 0, 5:7] = 50
    scan = read_scan(write(tmp_path / "dark.h5", **{"exchange/data": counts}), 0)
    assert scan.clipped == 2
    assert np.isfinite(scan.line_integrals).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"drop": "exchange/data_white"}, r"scan.h5 has no 'exchange/data_white', only exchange, exchange/data"),
        ({"exchange/theta": np.zeros(3)}, r"scan.h5: 3 angles, counts \[91, 80\]"),
        ({"exchange/data": np.zeros((91, 80))}, r"shape \[91, 80\], not \[views, rows, bins\]"),
        (
            {"exchange/data_white": np.zeros((5, 1, 80))},
            r"'exchange/data_white' has shape \[5, 1, 80\], not \[images, 2, 80\]",
        ),
        ({"exchange/data_dark": np.zeros((2, 80))}, r"'exchange/data_dark' has shape \[2, 80\], not"),
        ({"exchange/data_white": np.full((1, 2, 80), 100.0)}, "80 detector bins are no brighter"),
        ({"exchange/data": np.full((91, 2, 80), np.nan)}, "NaN or infinite counts"),
    ],
)
def test_wrong_schema(tmp_path, changes, words):
    drop = changes.pop("drop", "")
    write(tmp_path / "scan.h5", drop=drop, **changes)
    with pytest.raises(MeasurementError, match=words):
        read_scan(tmp_path / "scan.h5", 1)


def test_bad_options(tmp_path):
    path = write(tmp_path / "disc.h5")
    with pytest.raises(ConfigurationError, match=r"no detector row 2: .*disc.h5 holds 2"):
        DataExchangeCT(str(path), index=2).load([2])
    with pytest.raises(ConfigurationError, match=r"views=92, but .*disc.h5 holds 91"):
        DataExchangeCT(str(path), views=92).load([0])
    with pytest.raises(ConfigurationError, match="rotation_axis=90"):
        DataExchangeCT(str(path), rotation_axis=90).load([0])
    short = write(tmp_path / "short.h5", **{"exchange/theta": np.linspace(0, 90, 91)})
    with pytest.raises(MeasurementError, match=r"give data.rotation_axis"):
        DataExchangeCT(str(short)).load([0])
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(MeasurementError, match=r"disc.h5 cannot be read"):
        DataExchangeCT(str(path)).load([0])


def test_tooth(data_root):
    path = data_root / "ct_tooth_aps" / "tooth.h5"
    assert find_rotation_axis(read_scan(path, 0)) == pytest.approx(296, abs=0.5)
    measurement = DataExchangeCT(str(path), views=30, image_size=128, field=320).load([0])
    target = measurement.target[0, 0]
    outside = torch.cat([target[:10].flatten(), target[-10:].flatten(), target[:, -10:].flatten()])
    assert outside.mean() < 0.05  # air
    assert 0.6 < target.quantile(0.99) < 0.8  # enamel
    assert (measurement.initial - measurement.target).norm() / measurement.target.norm() < 0.6
    residual = measurement.physics.A(measurement.target) - measurement.y
    assert residual.norm() / measurement.y.norm() < 0.12  # clipped below zero: the air's noise counts once
