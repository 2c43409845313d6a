"""The package as it is shipped: what an import costs, what the lock file and the wheel hold."""

import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
LOCK_PYTHON = "3.12"

#: Modules that cost seconds or may be absent: whoever uses them imports them in the function that does.
LATE_IMPORTS = {"astra", "nibabel", "pydicom", "ray", "sigpy", "skimage", "wandb"}


def loaded_after(statement: str) -> set[str]:
    """Top-level modules that a new interpreter holds after one statement."""
    code = f"{statement}\nimport sys\nprint(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def locked() -> dict[str, Version]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def test_import_of_the_package_costs_nothing():
    heavy = {"torch", "pytorch_lightning", "deepinv", "matplotlib", "numpy"}
    assert loaded_after("import dip_lightning").isdisjoint(LATE_IMPORTS | heavy)


def test_import_of_everything_leaves_optional_packages_alone():
    layers = "functional", "networks", "physics", "methods", "callbacks", "data", "cli"
    modules = [f"dip_lightning.{layer}" for layer in layers if find_spec(f"dip_lightning.{layer}")]
    assert loaded_after(f"import {', '.join(modules)}").isdisjoint(LATE_IMPORTS)


def test_lock_file_holds_every_dependency_at_or_above_its_floor():
    versions = locked()
    for requirement in map(Requirement, PROJECT["dependencies"]):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in requirements.lock; run make lock"
        assert requirement.specifier.contains(version), f"{requirement} does not admit {version}; run make lock"


def test_lock_file_names_versions_and_nothing_else():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    body = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in body)


def test_container_runs_the_python_of_the_lock_file():
    image = re.search(r"^ARG BASE_IMAGE=python:([\d.]+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.M)
    assert image is not None
    assert image[1] == LOCK_PYTHON
    assert f"Python {LOCK_PYTHON}" in (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_every_dependency_has_a_floor_with_its_reason_and_no_ceiling():
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    listed = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    for text in listed:
        operators = {specifier.operator for specifier in Requirement(text).specifier}
        assert operators == {">="}, f"{text}: a floor and nothing else"
        places = [line for line in lines if f'"{text}"' in line]
        assert places
        assert all(re.search(r'"[^"]*"\]?,?\s+# \S+', line) for line in places), f"{text} has no reason"


def test_extras_are_complete():
    assert {"ray", "mri", "astra", "dicom", "nifti", "dev"} <= PROJECT["optional-dependencies"].keys()


def test_supported_python_is_the_one_that_runs():
    assert SpecifierSet(PROJECT["requires-python"]).contains(default_environment()["python_version"])


def test_wheel_holds_code_type_marker_and_configs(tmp_path):
    builder = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is in the dev extra")
    wheel = next(builder.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    shipped = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dip_lightning").rglob("*.py")}
    configs = {f"dip_lightning/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert sources
    assert configs
    assert sources | configs | {"dip_lightning/py.typed"} <= shipped
    assert not {name for name in shipped if name.startswith(("tests", "benchmarks"))}
