"""The wheel contains what an installed program needs, and the lock files have exact versions and hashes."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def pins(name: str) -> dict[str, Version]:
    """Return the versions of a lock file by package."""
    return {canonicalize_name(package): Version(version) for package, version in PIN.findall((ROOT / name).read_text())}


def declared() -> list[Requirement]:
    project = PROJECT["project"]
    groups = [*project["optional-dependencies"].values(), *PROJECT["dependency-groups"].values()]
    return [Requirement(line) for line in [*project["dependencies"], *(line for group in groups for line in group)]]


@pytest.mark.parametrize("name", ["requirements.lock", "packaging/image.lock"])
def test_every_locked_version_has_a_hash(name: str) -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / name).read_text())
    assert all("--hash=sha256:" in block for block in blocks if PIN.match(block))
    assert all(PIN.match(block) or block.startswith("#") for block in blocks)


def test_the_lock_has_every_declared_package_at_a_declared_version() -> None:
    locked = pins("requirements.lock") | pins("packaging/torch.lock")
    wrong = [
        str(requirement)
        for requirement in declared()
        if locked.get(canonicalize_name(requirement.name), Version("0")) not in requirement.specifier
    ]
    assert wrong == [], "run packaging/renew_lock.sh"


def test_the_image_has_the_versions_of_the_lock() -> None:
    assert pins("packaging/image.lock").items() <= pins("requirements.lock").items()
    names = {Requirement(line).name.lower() for line in PROJECT["project"]["dependencies"]} - {"torch"}
    assert {canonicalize_name(name) for name in names} <= pins("packaging/image.lock").keys()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            "echo 3.10",
            r"^emotune: \S+ is Python 3\.10; expected Python 3\.11 to 3\.14\..*make setup PYTHON=python3\.12$",
        ),
        ("echo 3.15", r"^emotune: \S+ is Python 3\.15; expected Python 3\.11 to 3\.14"),
        ("exit 1", r"^emotune: \S+ does not start; expected Python 3\.11 to 3\.14"),
    ],
)
def test_a_python_that_is_not_supported_is_refused_at_once(tmp_path: Path, answer: str, message: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{answer}\n")
    python.chmod(0o755)
    command = ["sh", ROOT / "packaging" / "make_venv.sh", tmp_path / "venv", python]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.returncode == 2
    (line,) = outcome.stderr.splitlines()
    assert re.search(message, line)
    assert outcome.stdout == ""
    assert not (tmp_path / "venv").exists()


def test_the_supported_pythons_are_the_same_everywhere() -> None:
    requirement = PROJECT["project"]["requires-python"]
    assert requirement == ">=3.11,<3.15"
    named = {line.rsplit(" ", 1)[-1] for line in PROJECT["project"]["classifiers"] if "Python :: 3.1" in line}
    script = (ROOT / "packaging/make_venv.sh").read_text()
    assert set(re.findall(r"3\.\d+", script[script.index("case $version") :].splitlines()[1])) == named
    assert named == {"3.11", "3.12", "3.13", "3.14"}


def test_the_wheel_contains_studies_examples_and_the_mark_of_types(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
        metadata = archive.read(next(name for name in files if name.endswith("METADATA"))).decode()
        archive.extractall(tmp_path / "site")
    for folder in ("search_spaces", "examples"):
        assert {f"emotune/{folder}/{path.name}" for path in (ROOT / folder).glob("*.yaml")} <= files
    assert "emotune/py.typed" in files
    assert not [name for name in files if not name.startswith("emotune")]
    for field in ("License-Expression: Apache-2.0", "Requires-Python: ", "Project-URL: ", "Keywords: ", "Classifier: "):
        assert field in metadata
    find = "from emotune.study.bundled import *; print(find_study('smoke')); print(find_experiment(Path('finetune')))"
    found = subprocess.run(
        [sys.executable, "-c", find],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    package = tmp_path / "site" / "emotune"
    assert found == [str(package / "search_spaces/smoke.yaml"), str(package / "examples/finetune.yaml")]
