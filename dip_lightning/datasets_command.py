"""``dip-lightning datasets``: what to download, from where, and whether what is there is complete."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dip_lightning.data.catalogue import CATALOGUE, DataSet, find_data_set
from dip_lightning.data.check_files import check_data_set, readable
from dip_lightning.paths import expand_path

#: So many faults are printed in full.
MOST_FAULTS = 10


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: What follows ``datasets`` on the command line.

    Returns:
        0, or 1 where files are missing, wrong or not unpacked.
    """
    options = _parser().parse_args(arguments)
    if options.action == "list":
        for data_set in CATALOGUE:
            size = f"  ({readable(data_set.size)})" if data_set.size else ""
            print(f"{data_set.name:<12} {data_set.what}{size}")
        return 0
    data_set = find_data_set(options.name)
    if options.path is None:
        _instruct(data_set)
        return 0
    return _check(data_set, options.path, not options.no_checksums)


def _check(data_set: DataSet, path: str, checksums: bool) -> int:
    folder = expand_path(path)
    findings = list(check_data_set(data_set, folder, checksums, lambda line: print(line, file=sys.stderr)))
    good = [finding for finding in findings if finding.verdict == "ok"]
    if len(findings) <= MOST_FAULTS:
        for finding in good:
            print(f"ok       {finding.name}: {finding.detail}")
    faults = [finding for finding in findings if finding.verdict != "ok"]
    for finding in faults[:MOST_FAULTS]:
        print(f"{finding.verdict:<8} {finding.name}{': ' if finding.detail else ''}{finding.detail}")
    if len(faults) > MOST_FAULTS:
        print(f"... and {len(faults) - MOST_FAULTS} more")
    print(f"{data_set.name} in {folder}: {len(good)} of {len(findings)} as published.")
    if not faults:
        return 0
    print()
    _instruct(data_set)
    return 1


def _instruct(data_set: DataSet) -> None:
    print(f"{data_set.name}: {data_set.what}")
    for line in data_set.instructions:
        print(f"  {line}")
    print(f"  Licence: {data_set.licence}")
    if data_set.size and len(data_set.files) <= MOST_FAULTS:
        for file in data_set.files:
            check = f"  {file.algorithm} {file.checksum}" if file.checksum else ""
            print(f"    {file.name:<28} {readable(file.size or 0):>9}{check}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dip-lightning datasets", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="name the data sets")
    check = actions.add_parser("check", help="say what to download, and check what is there")
    check.add_argument("name", help="data set, as `datasets list` names it")
    check.add_argument("path", nargs="?", help="folder to check; without it, only says what to download")
    check.add_argument("--no-checksums", action="store_true", help="compare names and sizes alone")
    return parser
