"""Arrays in files of every kind, and what their errors say."""

import h5py
import numpy as np
import pytest
import torch

from dip_lightning.array_files import read_array
from dip_lightning.errors import MeasurementError


def test_matlab_cells_and_complex_numbers_of_version_7_3(tmp_path):
    first, second = np.arange(6.0).reshape(2, 3), np.arange(8.0).reshape(4, 2)
    numbers = first + 1j * first[::-1]
    with h5py.File(tmp_path / "v73.mat", "w") as file:
        pair = np.zeros((3, 2), dtype=[("real", "<f8"), ("imag", "<f8")])
        pair["real"], pair["imag"] = numbers.real.T, numbers.imag.T
        file["numbers"] = pair
        references = [
            file.create_dataset(f"#refs#/{name}", data=value.T).ref for name, value in (("a", first), ("b", second))
        ]
        file.create_dataset("cells", (2, 1), h5py.ref_dtype)[:] = np.array(references, dtype=object)[:, None]
    np.testing.assert_array_equal(read_array(tmp_path / "v73.mat", "numbers"), numbers)
    np.testing.assert_array_equal(read_array(tmp_path / "v73.mat", "cells", 1), second)
    with pytest.raises(MeasurementError, match=r"v73.mat holds a list of 2 arrays; say which by an index"):
        read_array(tmp_path / "v73.mat", "cells")
    with pytest.raises(MeasurementError, match=r"v73.mat holds 2 arrays \(cells, numbers\); say which by its key"):
        read_array(tmp_path / "v73.mat")


def test_hdf5_groups_are_not_transposed(tmp_path):
    values = np.arange(6).reshape(2, 3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/inner/x"] = values
        file["group/y"] = values + 1j
    np.testing.assert_array_equal(read_array(tmp_path / "a.h5", "group/inner/x"), values)
    assert read_array(tmp_path / "a.h5", "group/y").dtype == np.complex128
    with pytest.raises(MeasurementError, match=r"a.h5 has no array 'group/inner'"):
        read_array(tmp_path / "a.h5", "group/inner")


def test_text_beside_an_hdf5_array_is_no_obstacle(tmp_path):
    values = np.arange(6.0).reshape(2, 3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["scan/kspace"], file["header"], file["notes"] = values, b"<xml/>", ["a", "b"]
        file["link"], file["nowhere"] = h5py.SoftLink("/scan/kspace"), h5py.SoftLink("/gone")
    for key in (None, "scan/kspace", "/scan/kspace", "link"):
        np.testing.assert_array_equal(read_array(tmp_path / "a.h5", key), values)
    for key in ("header", "nowhere", "scan", "scan/kspace/x", ""):
        with pytest.raises(MeasurementError, match=rf"a.h5 has no array '{key}'"):
            read_array(tmp_path / "a.h5", key)


def test_only_the_named_data_set_is_read(tmp_path):
    values = np.arange(12000.0)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = values[:3]
        file.create_dataset("damaged", data=values, chunks=(12000,), compression="gzip")
        chunk = file["damaged"].id.get_chunk_info(0)
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    (tmp_path / "a.h5").write_bytes(content)
    np.testing.assert_array_equal(read_array(tmp_path / "a.h5", "x"), values[:3])
    with pytest.raises(MeasurementError, match=r"holds 2 arrays \(damaged, x\)"):
        read_array(tmp_path / "a.h5")
    with pytest.raises(MeasurementError, match=r"a.h5 cannot be read"):
        read_array(tmp_path / "a.h5", "damaged")


def test_matlab_7_3_with_objects_and_cells_of_structures(tmp_path):
    values = np.arange(6.0).reshape(2, 3)
    with h5py.File(tmp_path / "v73.mat", "w") as file:
        file["sinogram"] = values.T
        text = file.create_dataset("#refs#/text", data=np.ones((1, 3), np.uint16))
        file.create_dataset("#subsystem#/MCOS", (1, 1), h5py.ref_dtype)[0, 0] = text.ref
    np.testing.assert_array_equal(read_array(tmp_path / "v73.mat"), values)
    with h5py.File(tmp_path / "v73.mat", "a") as file:
        file["#refs#/a/x"] = np.ones((1, 1))
        file.create_dataset("cells", (1, 1), h5py.ref_dtype)[0, 0] = file["#refs#/a"].ref
    np.testing.assert_array_equal(read_array(tmp_path / "v73.mat", "sinogram"), values)
    with pytest.raises(MeasurementError, match=r"v73.mat: '/cells' holds structures or text"):
        read_array(tmp_path / "v73.mat", "cells")


def test_tensors_of_every_kind(tmp_path):
    values = torch.arange(6.0).reshape(2, 3)
    lazily = (values + 1j).conj()
    for tensor in (torch.nn.Parameter(values), values.bfloat16(), lazily):
        torch.save(tensor, tmp_path / "a.pt")
        torch.save({"x": tensor, "epoch": 3}, tmp_path / "named.pt")
        for name in ("a.pt", "named.pt"):
            np.testing.assert_array_equal(
                read_array(tmp_path / name), (lazily if tensor is lazily else values).numpy(force=True)
            )


def test_single_arrays_need_no_key(tmp_path):
    values = np.arange(6.0).reshape(2, 3)
    np.savez(tmp_path / "a.npz", values)
    torch.save(torch.from_numpy(values), tmp_path / "a.pt")
    torch.save([torch.from_numpy(values)], tmp_path / "list.pt")
    for name in ("a.npz", "a.pt", "list.pt"):
        np.testing.assert_array_equal(read_array(tmp_path / name), values)
    with pytest.raises(MeasurementError, match="single array, so that there is no index 2"):
        read_array(tmp_path / "a.npz", index=2)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.mat", "a.h5", "a.pt", "a.png"])
def test_broken_files_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"not what it seems" * 40)
    with pytest.raises(MeasurementError, match=rf"{name} cannot be read"):
        read_array(tmp_path / name)


def test_pickled_objects_are_not_run(tmp_path):
    np.save(tmp_path / "object.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    torch.save({"model": np.float64}, tmp_path / "object.pt")
    for name in ("object.npy", "object.pt"):
        with pytest.raises(MeasurementError, match=f"{name} cannot be read"):
            read_array(tmp_path / name)


def test_missing_and_unknown_files(tmp_path):
    with pytest.raises(MeasurementError, match=r"a.npy does not exist"):
        read_array(tmp_path / "a.npy")
    (tmp_path / "a.xyz").touch()
    with pytest.raises(MeasurementError, match=r"a.xyz is of no known kind; known are"):
        read_array(tmp_path / "a.xyz")
