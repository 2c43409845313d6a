"""What every test can ask for."""

from __future__ import annotations

import os
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
