"""The command that says what to download and checks what is there."""

import hashlib
import re
import shutil

import h5py
import numpy as np
import pytest

from dip_lightning.cli import main
from dip_lightning.data.catalogue import CATALOGUE, DataSet, PublishedFile
from dip_lightning.data.check_files import check_data_set, readable


def test_list_and_instructions(capsys):
    assert main(["datasets", "list"]) == 0
    listed = capsys.readouterr().out
    for data_set in CATALOGUE:
        assert data_set.name in listed
        assert main(["datasets", "check", data_set.name.lower()]) == 0
        said = capsys.readouterr().out
        assert "https://" in said
        assert "Checksum" in said
        assert data_set.licence in said
        for file in data_set.files:
            if file.checksum:
                assert re.fullmatch(r"[0-9a-f]{32}|[0-9a-f]{64}", file.checksum)


def test_unknown_set(capsys):
    assert main(["datasets", "check", "CBSD86"]) == 2
    assert "Did you mean 'cbsd68'" in capsys.readouterr().err
    assert main(["datasets", "check", "CBSD68", "/no/such/folder"]) == 2
    assert "/no/such/folder does not exist" in capsys.readouterr().err


def toy(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "a.bin").write_bytes(b"abc")
    sha = hashlib.sha256(b"abc").hexdigest()
    archive = PublishedFile("b.zip", 10, "md5", "0" * 32, "b_[0-9][0-9][0-9].hdf5", 2)
    return DataSet("toy", "toy", (), "", (PublishedFile("a.bin", 3, "sha256", sha), archive))


def verdicts(data_set, folder, **options):
    return [finding.verdict for finding in check_data_set(data_set, folder, **options)]


def test_files_are_found_and_compared(tmp_path):
    data_set = toy(tmp_path)
    assert verdicts(data_set, tmp_path) == ["ok", "missing"]
    (tmp_path / "inside" / "a.bin").write_bytes(b"abd")
    assert verdicts(data_set, tmp_path) == ["wrong", "missing"]
    assert verdicts(data_set, tmp_path, checksums=False) == ["ok", "missing"]
    (tmp_path / "inside" / "a.bin").write_bytes(b"abcd")
    assert verdicts(data_set, tmp_path, checksums=False) == ["wrong", "missing"]


def test_archives_may_be_unpacked(tmp_path):
    data_set = toy(tmp_path)
    for number, expected in ((0, "wrong"), (1, "ok")):
        with h5py.File(tmp_path / f"b_{number:03d}.hdf5", "w") as file:
            file["data"] = np.zeros(1000)
        assert verdicts(data_set, tmp_path) == ["ok", expected]
    content = (tmp_path / "b_001.hdf5").read_bytes()
    for damaged in (b"", content[:500], b"x" * len(content)):
        (tmp_path / "b_001.hdf5").write_bytes(damaged)
        (_, archive) = check_data_set(data_set, tmp_path)
        assert archive.verdict == "wrong"
        assert "1 of 2 unpacked files are damaged (b_001.hdf5)" in archive.detail


def test_archives_that_are_not_unpacked_are_told_apart(tmp_path):
    data_set = toy(tmp_path)
    (tmp_path / "b.zip").write_bytes(b"0123456789")
    assert verdicts(data_set, tmp_path) == ["ok", "wrong"]  # another checksum
    assert verdicts(data_set, tmp_path, checksums=False) == ["ok", "packed"]
    (tmp_path / "b_000.hdf5").touch()
    assert verdicts(data_set, tmp_path, checksums=False) == ["ok", "wrong"]


def test_licensed_sets_count_what_is_there(tmp_path, capsys):
    assert main(["datasets", "check", "fastMRI", str(tmp_path)]) == 1
    assert "Register" in capsys.readouterr().out
    (tmp_path / "knee").mkdir()
    (tmp_path / "knee" / "file1.h5").write_bytes(b"12345")
    assert main(["datasets", "check", "fastMRI", str(tmp_path)]) == 0
    assert "1 files, 5 bytes" in capsys.readouterr().out


def test_sizes_for_people():
    assert [readable(size) for size in (5, 1043312, 1582139537)] == ["5 bytes", "1.0 MB", "1.6 GB"]


@pytest.mark.parametrize(
    ("name", "folder"), [("CBSD68", "cbsd68"), ("Tooth", "ct_tooth_aps"), ("BlurKernels", "blur_kernels")]
)
def test_real_data_are_as_published(name, folder, data_root, capsys):
    assert main(["datasets", "check", name, str(data_root / folder)]) == 0
    number = len(next(data_set for data_set in CATALOGUE if data_set.name == name).files)
    assert f"{number} of {number} as published" in capsys.readouterr().out


def test_damaged_photograph(data_root, tmp_path, capsys):
    for file in (data_root / "cbsd68" / "original_png").glob("000*.png"):
        shutil.copy(file, tmp_path / file.name)
    damaged = tmp_path / "0003.png"
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert main(["datasets", "check", "CBSD68", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "0003.png has another sha256 than published" in said
    assert "9 of 68 as published" in said
