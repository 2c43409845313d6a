from pathlib import Path

import pytest

from dip_lightning.errors import ConfigurationError
from dip_lightning.paths import expand_path


@pytest.mark.parametrize("text", ["${SOME_ROOT}/a/b.png", "$SOME_ROOT/a/b.png"])
def test_variables_are_replaced(monkeypatch, text):
    monkeypatch.setenv("SOME_ROOT", "/data")
    assert expand_path(text) == Path("/data/a/b.png")


def test_home_and_plain_paths(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_path("~/a.png") == Path("/home/me/a.png")
    assert expand_path("a b/c.png") == Path("a b/c.png")


def test_tilde_of_a_file_name():
    assert expand_path("~scan.npy") == expand_path("./~scan.npy") == Path("~scan.npy")


@pytest.mark.parametrize("value", [None, ""])
def test_unset_data_variable_says_how_to_set_it(monkeypatch, value):
    monkeypatch.delenv("DIP_LIGHTNING_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("DIP_LIGHTNING_DATA", value)
    with pytest.raises(ConfigurationError, match="export DIP_LIGHTNING_DATA=") as caught:
        expand_path("${DIP_LIGHTNING_DATA}/ct_htc2022")
    assert "${DIP_LIGHTNING_DATA}/ct_htc2022" in str(caught.value)


def test_misspelt_variable_names_the_near_one_and_no_other(monkeypatch):
    monkeypatch.setenv("DIP_LIGHTNING_DATA", "/data")
    monkeypatch.setenv("A_SECRET", "x")
    with pytest.raises(
        ConfigurationError, match=r"DIP_LIGTHNING_DATA, which is not set\. Did you mean 'DIP_LIGHTNING_DATA'"
    ):
        expand_path("$DIP_LIGTHNING_DATA/x")
    with pytest.raises(ConfigurationError) as caught:
        expand_path("$QQ/x")
    assert "A_SECRET" not in str(caught.value)


def test_empty_path():
    with pytest.raises(ConfigurationError, match="empty"):
        expand_path(" ")
