"""Promises of every reader in the table. A new reader needs an example of its files in `EXAMPLES`."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from emotune.data import corpora
from emotune.data.corpora.reader import AnyReader, Reader
from emotune.data.corpora.synthetic import Synthetic
from emotune.data.corpora.table import CORPORA
from emotune.data.modality import Modality
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.recording import Recording
from emotune.data.store import SegmentStore
from tests.data.examples.brain import write_eegmmidb, write_large_eeg_bci, write_way_eeg_gal
from tests.data.examples.doors import WRITERS
from tests.data.examples.emotion import write_amigos, write_ascertain, write_dreamer
from tests.data.examples.pspm import write_pspm


def write_folder(folder: Path) -> Path:
    lines = ["file,subject,fs,units,arousal,valence"]
    source, settings = CORPORA["synthetic"], Synthetic(subjects=2, seconds_per_state=25)
    by_modality = [source.items(None, modality=modality, settings=settings) for modality in source.modalities]
    for number, items in enumerate(zip(*by_modality, strict=True)):
        recordings = [item for item in items if isinstance(item, Recording)]
        header = ",".join(name for recording in recordings for name in recording.channels)
        samples = np.concatenate([recording.signal for recording in recordings]).T
        np.savetxt(folder / f"{number}.csv", samples, delimiter=",", header=header, comments="", fmt="%.5f")
        first = recordings[0]
        lines.append(f"{number}.csv,{first.subject},256,,{first.ratings['arousal']},{first.ratings['valence']}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


EXAMPLES: dict[str, Callable[[Path], Path | None]] = {
    "amigos": write_amigos,
    "dreamer": write_dreamer,
    "ascertain": write_ascertain,
    "pspm-fr": write_pspm("FR"),
    "pspm-hrm5": write_pspm("HRM5"),
    "pspm-rrm1-2": write_pspm("RRM1-2"),
    "pspm-vis": write_pspm("VIS"),
    "way-eeg-gal": write_way_eeg_gal,
    "eegmmidb": write_eegmmidb,
    "large-eeg-bci": write_large_eeg_bci,
    **WRITERS,
    "folder": write_folder,
    "synthetic": lambda folder: None,
}
"""A small corpus of every kind."""

PAIRS = [(reader, modality) for reader in CORPORA.values() for modality in reader.modalities]


@pytest.fixture(params=PAIRS, ids=lambda pair: f"{pair[0].name}-{pair[1]}")
def pair(request: pytest.FixtureRequest) -> tuple[AnyReader, Modality]:
    return request.param


@pytest.fixture
def recordings(pair: tuple[AnyReader, Modality], tmp_path: Path) -> list[Recording]:
    reader, modality = pair
    items = list(reader.items(EXAMPLES[reader.name](tmp_path), modality=modality, settings=reader.settings()))
    assert all(isinstance(item, Recording) for item in items)
    return [item for item in items if isinstance(item, Recording)]


def test_every_reader_in_the_package_is_in_the_table() -> None:
    modules = [
        importlib.import_module(f"{corpora.__name__}.{module.name}")
        for module in pkgutil.iter_modules(corpora.__path__)
    ]
    readers = [reader for module in modules for reader in readers_in(vars(module).values())]
    assert {reader.name for reader in readers} == set(CORPORA)
    assert all(CORPORA[reader.name] is reader for reader in readers)
    assert set(EXAMPLES) == set(CORPORA)


def readers_in(values: Iterable[object]) -> list[AnyReader]:
    """All readers of a module, those in a tuple included."""
    nested = [item for value in values for item in (value if isinstance(value, tuple) else (value,))]
    return [item for item in nested if isinstance(item, Reader)]


def test_its_facts_are_complete(pair: tuple[AnyReader, Modality]) -> None:
    reader, _ = pair
    assert CORPORA[reader.name] is reader
    assert all((reader.licence, reader.where, reader.description))


def test_its_settings_survive_json_and_do_not_clash(pair: tuple[AnyReader, Modality]) -> None:
    settings = pair[0].settings()
    assert type(settings).model_validate_json(settings.model_dump_json()) == settings
    assert not set(type(settings).model_fields) & set(PrepareSettings.model_fields)


def test_every_recording_is_valid(recordings: list[Recording], pair: tuple[AnyReader, Modality]) -> None:
    assert recordings
    for recording in recordings:
        recording.check()
        assert recording.modality == pair[1]


def test_recordings_of_a_subject_are_consecutive_with_different_names(recordings: list[Recording]) -> None:
    order = list(dict.fromkeys(recording.subject for recording in recordings))
    assert [recording.subject for recording in recordings] == sorted(
        (recording.subject for recording in recordings), key=order.index
    )
    names = {(recording.subject, recording.session) for recording in recordings}
    assert len(names) == len(recordings)


def test_it_gives_the_same_store_twice(pair: tuple[AnyReader, Modality], tmp_path: Path) -> None:
    reader, modality = pair
    source = tmp_path / "source"
    source.mkdir()
    folder = EXAMPLES[reader.name](source)
    settings = PrepareSettings(modality=modality)
    first, second = (
        prepare(reader, folder=folder, store=tmp_path / name, settings=settings).fingerprint for name in ("a", "b")
    )
    assert first == second
    assert not prepare(reader, folder=folder, store=tmp_path / "a", settings=settings).written
    store = SegmentStore.open(tmp_path / "a")
    store.verify()
    assert np.isfinite(store.signal).all()
