"""The code and the commands of docs/bring-your-own-data.md work as printed."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from emotune.cli import emotune
from emotune.data.corpora.manifest import OPTIONAL, REQUIRED, read_manifest
from emotune.data.corpora.reader import AnyReader
from emotune.data.corpora.table import CORPORA
from emotune.data.modality import Modality
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.errors import DataError
from tests.contracts import test_corpora as contracts

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs/bring-your-own-data.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, flags=re.DOTALL | re.MULTILINE)
    return [content for name, content in fenced if name == language]


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ModuleType]]:
    """The two Python files of the guide, imported: the reader and the example."""
    names = ["guide_videos", "guide_example"]
    for name, code in zip(names, blocks("python"), strict=True):
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield [importlib.import_module(name) for name in names]
    for name in names:
        del sys.modules[name]


@pytest.fixture
def pair(modules: list[ModuleType], monkeypatch: pytest.MonkeyPatch) -> tuple[AnyReader, Modality]:
    """The reader of the guide, added to the tables as the guide describes."""
    videos, example = modules
    monkeypatch.setitem(CORPORA, "videos", videos.READER)
    monkeypatch.setitem(contracts.EXAMPLES, "videos", example.write_videos)
    return videos.READER, "ecg"


@pytest.fixture
def downloads(pair: tuple[AnyReader, Modality], tmp_path: Path) -> Path:
    folder_of_downloads = tmp_path / "downloads"
    folder_of_downloads.mkdir()
    contracts.EXAMPLES["videos"](folder_of_downloads)
    return folder_of_downloads


def test_the_reader_of_the_guide_keeps_the_contract(pair: tuple[AnyReader, Modality], downloads: Path) -> None:
    reader, modality = pair
    items = list(reader.items(downloads, modality=modality, settings=reader.settings()))
    recordings = [item for item in items if isinstance(item, Recording)]
    assert len(recordings) == len(items) == 8
    contracts.test_its_facts_are_complete(pair)
    contracts.test_its_settings_survive_json_and_do_not_clash(pair)
    contracts.test_every_recording_is_valid(recordings, pair)
    contracts.test_recordings_of_a_subject_are_consecutive_with_different_names(recordings)


def test_it_gives_the_same_store_twice(pair: tuple[AnyReader, Modality], tmp_path: Path) -> None:
    contracts.test_it_gives_the_same_store_twice(pair, tmp_path)


def damage(file: Path) -> None:
    file.write_text("left\nhigh\n")


def forget_ratings(file: Path) -> None:
    table = file.with_name("ratings.csv")
    table.write_text("\n".join(line for line in table.read_text().splitlines() if not line.startswith("s00,v01")))


@pytest.mark.parametrize(
    ("change", "kind", "reason", "recordings"),
    [
        (damage, UnreadableRecording, "column left contains values that are not numbers", 7),
        (lambda file: file.write_text("left\n1\n"), UnreadableRecording, "no column called ECG", 7),
        (forget_ratings, ExcludedData, "not in ratings.csv", 8),
    ],
)
def test_a_bad_file_is_reported_and_the_others_are_read(
    pair: tuple[AnyReader, Modality],
    downloads: Path,
    change: Callable[[Path], object],
    kind: type,
    reason: str,
    recordings: int,
) -> None:
    change(downloads / "s00_v01.csv")
    reader = pair[0]
    items = list(reader.items(downloads, modality="ecg", settings=reader.settings()))
    assert sum(isinstance(item, Recording) for item in items) == recordings
    (excluded,) = [item for item in items if not isinstance(item, Recording)]
    assert isinstance(excluded, kind)
    assert excluded.subject == "s00"
    assert reason in str(excluded)


def test_a_folder_of_something_else_is_refused(pair: tuple[AnyReader, Modality], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has 0 files like s01_v07\.csv and 0 called ratings\.csv"):
        list(pair[0].list_parts(tmp_path, pair[0].settings()))


def test_the_commands_of_the_guide_work(pair: tuple[AnyReader, Modality], downloads: Path, tmp_path: Path) -> None:
    commands = [line for line in blocks("")[-1].splitlines() if line.startswith("emotune data")]
    assert len(commands) == 3
    for line in commands:
        paths = {"downloads/": str(downloads), "stores/": f"{tmp_path}/", "videos.png": f"{tmp_path}/videos.png"}
        words = line.split()[1:]
        for name, path in paths.items():
            words = [word.replace(name, path) if word.startswith(name) else word for word in words]
        words += ["--workers", "1"] if "prepare" in words else []
        result = CliRunner().invoke(emotune, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "videos.png").is_file()


def test_the_diff_of_the_guide_fits_the_table_of_corpora() -> None:
    table = (ROOT / "emotune/data/corpora/table.py").read_text(encoding="utf-8")
    (change,) = blocks("diff")
    lines = change.splitlines()
    assert "\n".join(line[1:] for line in lines if line.startswith(" ")) in table
    assert [line.strip("+ ") for line in lines if line.startswith("+")] == ["videos.READER,"]


def test_the_manifest_of_the_guide_is_valid(tmp_path: Path) -> None:
    (manifest,) = blocks("csv")
    (tmp_path / "manifest.csv").write_text(manifest, encoding="utf-8")
    entries = read_manifest(tmp_path)
    assert [(entry.subject, entry.session, entry.condition) for entry in entries] == [
        ("anna", "rest", "rest"),
        ("anna", "film1", ""),
        ("ben", "film1", ""),
    ]
    assert entries[1].channels == ("left", "right")
    assert entries[2].ratings == {"arousal": 2.0, "valence": 7.0}


def test_the_guide_names_every_column_of_a_manifest() -> None:
    for column in (*REQUIRED, *OPTIONAL):
        assert f"`{column}`" in GUIDE
