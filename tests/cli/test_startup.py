"""Help pages and short commands import only what they use: torch, Ray and MLflow take seconds to import."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import click
import pytest

from emotune.cli import crossval, data, emotune, reproduce
from emotune.data.recording import Modality
from emotune.evaluation.crossval import ProtocolName
from emotune.reproduce.recipes import SCALES
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from tests.runtime.test_coordinator import write_finished

FRAMEWORKS = {
    "torch",
    "ray",
    "mlflow",
    "pandas",
    "scipy",
    "sklearn",
    "matplotlib",
    "ConfigSpace",
    "hpbandster",
    "boto3",
}
SMALLER = {"numpy", "pydantic", "rich"}
PROGRAM = """
import sys
sys.argv[0] = "emotune"
from emotune.cli import main
try:
    main()
finally:
    print("\\nmodules:", *sys.modules)
"""


def imported(code: str, *arguments: str) -> set[str]:
    """Return the top-level packages that a program has imported when it ends."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.rsplit("modules:", 1)[1].split()}


def paths(group: click.Group, *parents: str) -> list[tuple[str, ...]]:
    context = click.Context(group)
    commands: list[tuple[str, ...]] = [parents]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        commands += paths(command, *parents, name) if isinstance(command, click.Group) else [(*parents, name)]
    return commands


@pytest.mark.parametrize("path", paths(emotune), ids=" ".join)
def test_a_help_page_imports_no_heavy_package(path: tuple[str, ...]) -> None:
    packages = imported(PROGRAM, *path, "--help")
    assert "click" in packages
    assert not packages & (FRAMEWORKS | SMALLER)


def test_the_package_imports_no_heavy_package() -> None:
    packages = imported('import sys, emotune; print("modules:", *sys.modules)')
    assert "emotune" in packages
    assert not packages & (FRAMEWORKS | SMALLER)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("results")
    folder = SearchFolder.of("done", storage=LocalStorage(storage))
    folder.path.mkdir()
    write_finished(folder.path / "journal.jsonl")
    return storage


def test_the_status_of_all_searches_is_read_without_frameworks(storage: Path) -> None:
    packages = imported(PROGRAM, "status", "--storage", str(storage))
    assert "pydantic" in packages
    assert not packages & FRAMEWORKS


def test_the_best_configuration_is_written_without_frameworks(storage: Path, tmp_path: Path) -> None:
    out = tmp_path / "best.yaml"
    assert not imported(PROGRAM, "best", "done", "--out", str(out), "--storage", str(storage)) & FRAMEWORKS
    assert "model:" in out.read_text()


def test_the_status_of_one_search_imports_only_what_the_reliability_of_its_rungs_needs(storage: Path) -> None:
    packages = imported(PROGRAM, "status", "done", "--storage", str(storage))
    assert not packages & (FRAMEWORKS - {"ConfigSpace", "scipy"})


def test_choices_written_down_for_the_help_pages_are_those_of_the_program() -> None:
    assert get_args(ProtocolName) == crossval.PROTOCOLS
    assert get_args(Modality) == data.MODALITIES
    assert tuple(SCALES) == reproduce.SCALES
