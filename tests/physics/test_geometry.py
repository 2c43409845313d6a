"""Geometries refuse what cannot be, and matrices are kept under their key."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dip_lightning.errors import ConfigurationError
from dip_lightning.physics.cache import cache_file, cache_folder, system_matrix
from dip_lightning.physics.joseph import joseph_matrix
from tests.physics.scans import fan, parallel


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"angles": ()}, "zero views"),
        ({"angles": (0.0, float("nan"))}, "NaN"),
        ({"detectors": 0}, "detectors=0"),
        ({"pixel_size": -1.0}, "pixel_size=-1.0"),
        ({"detector_spacing": float("inf")}, "detector_spacing"),
        ({"detector_offset": float("nan")}, "detector_offset"),
        ({"image_shape": (0, 4)}, "at least one row"),
    ],
)
@pytest.mark.parametrize("geometry", [parallel(), fan()], ids=["parallel", "fan"])
def test_impossible_geometries(geometry, change, message):
    with pytest.raises(ConfigurationError, match=message):
        dataclasses.replace(geometry, **change)


def test_source_inside_the_image_and_detector_before_the_centre():
    with pytest.raises(ConfigurationError, match="inside the image"):
        fan(source_origin=20.0)
    with pytest.raises(ConfigurationError, match="not from the rotation centre"):
        fan(source_detector=50.0)


def test_rays_that_miss_the_image_are_empty():
    matrix = joseph_matrix(parallel(detectors=301))
    assert matrix.shape == (11 * 301, 48 * 40)
    assert np.diff(matrix.indptr)[[0, 300]].tolist() == [0, 0]


@pytest.mark.parametrize("geometry", [parallel(), fan()], ids=["parallel", "fan"])
def test_large_matrices_are_built_in_pieces(geometry, monkeypatch):
    whole = joseph_matrix(geometry)
    monkeypatch.setattr("dip_lightning.physics.joseph.CHUNK", 500)
    pieces = joseph_matrix(geometry)
    assert (whole != pieces).nnz == 0
    assert whole.has_sorted_indices


def test_matrix_beyond_the_memory_is_refused():
    with pytest.raises(ConfigurationError, match="fewer views"):
        joseph_matrix(parallel(shape=(4096, 4096), views=100_000, detectors=6000))


def test_cached_matrix_is_the_built_one_and_is_not_built_again(cache, monkeypatch):
    geometry = fan()
    built = system_matrix(geometry)
    assert [path.suffix for path in cache.iterdir()] == [".npz"]
    monkeypatch.setattr("dip_lightning.physics.cache.joseph_matrix", lambda _: pytest.fail("built again"))
    read = system_matrix(geometry)
    assert (read != built).nnz == 0
    assert read.data.dtype == np.float32
    assert read.indices.dtype == np.int32


def test_every_number_of_the_geometry_is_in_the_key():
    geometry = fan()
    changes = {"image_shape": (40, 48), "angles": (0.0,), "detectors": 3, "pixel_size": 0.5, "detector_spacing": 2.0,
               "detector_offset": 1.0, "source_origin": 70.0, "source_detector": 99.0}  # fmt: skip
    files = {cache_file(geometry), *(cache_file(dataclasses.replace(geometry, **{k: v})) for k, v in changes.items())}
    assert len(files) == 1 + len(changes)
    assert set(changes) == {field.name for field in dataclasses.fields(geometry)}


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped bit", "other content"])
def test_damaged_cache_file_is_built_anew(damage):
    geometry = parallel()
    expected = system_matrix(geometry)
    path = cache_file(geometry)
    content = bytearray(path.read_bytes())
    if damage == "flipped bit":
        content[len(content) // 2] ^= 1
    short = {"truncated": content[: len(content) // 2], "empty": b"", "other content": b"hello"}.get(damage, content)
    path.write_bytes(bytes(short))
    assert (system_matrix(geometry) != expected).nnz == 0
    assert path.stat().st_size == len(content)


def test_folder_that_cannot_be_written_is_tolerated(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("DIP_LIGHTNING_CACHE", str(blocked / "below"))
    assert system_matrix(parallel()).nnz > 0


def test_failed_write_leaves_nothing(cache, monkeypatch):
    def full(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("dip_lightning.physics.cache.np.savez", full)
    assert system_matrix(parallel()).nnz > 0
    assert list(cache.iterdir()) == []


def test_place_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("DIP_LIGHTNING_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "dip_lightning"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder().parts[-2:] == (".cache", "dip_lightning")
