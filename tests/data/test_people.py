"""People are compared by collection and subject, and their names are not stored."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from emotune.data.corpora.synthetic import Synthetic
from emotune.data.corpora.table import CORPORA
from emotune.data.people import ANY_PEOPLE, Overlap, overlap, people_of, shared_moments
from emotune.data.prepare.prepare import PrepareOptions, prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError


@pytest.fixture(scope="module")
def store(small_store: Path) -> SegmentStore:
    return SegmentStore.open(small_store)


def as_corpus(store: SegmentStore, *, corpus: str, fingerprint: str) -> SegmentStore:
    """Return the store as if its source had another name and other files."""
    (source,) = store.about.sources
    sources = (source.model_copy(update={"corpus": corpus, "fingerprint": fingerprint}),)
    return dataclasses.replace(
        store,
        index=store.index.assign(corpus=corpus),
        about=store.about.model_copy(update={"sources": sources}),
    )


@pytest.mark.parametrize(
    ("corpora", "fingerprints", "expected"),
    [
        (("folder", "folder"), ("f", "f"), Overlap(same=6, namesakes=0, count=6)),
        (("folder", "folder"), ("f", "g"), Overlap(same=0, namesakes=6, count=6)),
        (("amigos", "amigos"), ("f", "g"), Overlap(same=6, namesakes=0, count=6)),
        (("clinic", "clinic"), ("f", "g"), Overlap(same=6, namesakes=0, count=6)),
        (("clinic", "folder"), ("f", "f"), Overlap(same=0, namesakes=0, count=6)),
    ],
)
def test_a_person_is_the_same_in_the_same_collection(
    store: SegmentStore, corpora: tuple[str, str], fingerprints: tuple[str, str], expected: Overlap
) -> None:
    first, second = (
        people_of(as_corpus(store, corpus=corpus, fingerprint=files), np.arange(len(store)))
        for corpus, files in zip(corpora, fingerprints, strict=True)
    )
    assert overlap(first, second) == expected


@pytest.mark.parametrize(
    ("corpora", "fingerprints", "refusal"),
    [
        (("folder", "folder"), ("f", "f"), ""),
        (("clinic", "clinic"), ("f", "g"), ""),
        (("folder", "folder"), ("f", "g"), "6 people with the same names .* prepare both .* --collection NAME"),
        (("clinic", "ward"), ("f", "f"), "no person in common: the first holds 6 people \\(clinic/s001, .*ward/s001"),
    ],
)
def test_moments_are_shared_by_the_same_people_only(
    store: SegmentStore, corpora: tuple[str, str], fingerprints: tuple[str, str], refusal: str
) -> None:
    first, second = (
        as_corpus(store, corpus=corpus, fingerprint=files) for corpus, files in zip(corpora, fingerprints, strict=True)
    )
    if not refusal:
        assert shared_moments(first, second).all()
        return
    with pytest.raises(SettingsError, match=refusal):
        shared_moments(first, second)


def test_only_the_people_of_the_rows_are_listed_without_their_names(store: SegmentStore) -> None:
    rows = np.flatnonzero(store.index["subject"] == "s001")
    person, people = people_of(store, rows), people_of(store, np.arange(len(store)))
    assert overlap(people, person) == Overlap(same=1, namesakes=0, count=6)
    assert "s001" not in person.model_dump_json()
    assert set(ANY_PEOPLE) <= set(CORPORA)


def test_a_collection_has_its_name_in_the_store(tmp_path: Path) -> None:
    made_up = Synthetic(subjects=2, seconds_per_state=3.0)
    settings = PrepareSettings(seconds=1.0)
    for name in ("clinic", "ward"):
        options = PrepareOptions(collection=name, append=True)
        prepare(
            "synthetic",
            folder=None,
            store=tmp_path / "store",
            settings=settings,
            corpus_settings=made_up,
            options=options,
        )
    store = SegmentStore.open(tmp_path / "store")
    assert [source.corpus for source in store.about.sources] == ["clinic", "ward"]
    assert list(store.index["corpus"].unique()) == ["clinic", "ward"]
    for name in ("amigos", "a/b", "a\nb"):
        with pytest.raises(SettingsError, match="--collection"):
            prepare(
                "synthetic",
                folder=None,
                store=tmp_path / "other",
                settings=settings,
                options=PrepareOptions(collection=name),
            )
