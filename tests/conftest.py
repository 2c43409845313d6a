"""What every test can ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real data sets: ``DIP_LIGHTNING_DATA``, or ``../shared/data`` beside the repository.

    Tests that need real data ask for it, and are skipped where there is none.
    """
    folder = Path(os.environ.get("DIP_LIGHTNING_DATA") or ROOT.parent / "shared" / "data").expanduser()
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist; set DIP_LIGHTNING_DATA")
    return folder


@pytest.fixture(autouse=True)
def no_seed_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the seed that a command line of an earlier test left in the environment."""
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)


@pytest.fixture(scope="session", autouse=True)
def matrix_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep system matrices that tests build out of the user's cache folder."""
    folder = tmp_path_factory.mktemp("matrices")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIP_LIGHTNING_CACHE", str(folder))
        yield folder
