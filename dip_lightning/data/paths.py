"""Paths as a configuration writes them; see :mod:`dip_lightning.paths`."""

from dip_lightning.paths import DATA_VARIABLE, expand_path

__all__ = ["DATA_VARIABLE", "expand_path"]
