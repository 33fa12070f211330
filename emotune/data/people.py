"""The identity of the people in a store, by which two stores are compared.

A person is named by collection and subject. A corpus with a reader of its own is one collection, and so are recordings
that were prepared with ``--collection NAME``. Each folder of recordings is a collection of its own otherwise: the
fingerprint of its files identifies it, since the subject ``s01`` of one folder is not that of another.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from emotune.base import Settings
from emotune.data.folds import unit_keys
from emotune.data.store import SegmentStore, SourceCorpus
from emotune.errors import SettingsError

ANY_PEOPLE = ("folder",)
"""Corpora of which each folder may hold other people. (The table of readers is not imported: that takes a second.)"""


class People(Settings):
    """People as hashes, so that a checkpoint contains no names."""

    identities: tuple[str, ...]
    """Hash of collection and subject, ascending."""

    names: tuple[str, ...]
    """Hash of the corpus's name and the subject, ascending: equal for the same folder with other files."""


@dataclass(frozen=True)
class Overlap:
    """People that two sets have in common."""

    same: int
    """People of the same collection and name."""
    namesakes: int
    """Other people with the same corpus and name, in folders with other files: the same people or not."""
    count: int
    """Number of people of the first set."""


def people_of(store: SegmentStore, rows: Int64[np.ndarray, " row"]) -> People:
    """Return the people of some of a store's segments."""
    index = store.index if len(rows) == len(store.index) else store.index.iloc[rows]
    pairs = index.drop_duplicates(["corpus", "subject"])
    collections = _collections(store)
    identities, names = set(), set()
    for corpus, subject in zip(pairs["corpus"].astype(str), pairs["subject"].astype(str), strict=True):
        identities.add(_hash(collections.get(corpus) or corpus, subject))
        names.add(_hash(corpus, subject))
    return People(identities=tuple(sorted(identities)), names=tuple(sorted(names)))


def require_shared_people(first: SegmentStore, second: SegmentStore) -> None:
    """Refuse two stores whose segments cannot be matched by person.

    Raises:
        SettingsError: The stores share no person; or people of the same names come from folders with other files, so
            that it is unknown whether they are the same people.
    """
    common = overlap(*(people_of(store, np.arange(len(store))) for store in (first, second)))
    if common.namesakes:
        raise SettingsError(
            f"{first.path} and {second.path} hold {common.namesakes} people with the same names from folders with "
            "other files, who are not known to be the same people; if they are, prepare both stores again with the "
            "same --collection NAME"
        )
    if not common.same:
        raise SettingsError(
            f"{first.path} and {second.path} have no person in common: the first holds {_describe(first)}, the second "
            f"{_describe(second)}; prepare both stores from the same corpus"
        )


def shared_moments(first: SegmentStore, second: SegmentStore) -> Bool[np.ndarray, " row"]:
    """Return which segments of the first store are of moments that the second one holds too.

    A moment is a person, a session and a start.

    Raises:
        SettingsError: The people of the stores cannot be matched, see `require_shared_people`.
    """
    require_shared_people(first, second)
    return np.isin(unit_keys(first.index, by="moment"), unit_keys(second.index, by="moment"))


def _describe(store: SegmentStore) -> str:
    """Return the number of people of a store, its corpora, and the first names."""
    pairs = store.index[["corpus", "subject"]].drop_duplicates().astype(str)
    names = [f"{corpus}/{subject}" for corpus, subject in pairs.head(3).itertuples(index=False)]
    return f"{len(pairs)} people ({', '.join(names)}{', ...' if len(pairs) > len(names) else ''})"


def _collections(store: SegmentStore) -> dict[str, str]:
    return {source.corpus: collection_of(source) for source in store.about.sources}


def collection_of(source: SourceCorpus) -> str:
    """Return the identity of a source's collection: its name, with the fingerprint of its files if needed."""
    return f"{source.corpus} {source.fingerprint}" if source.corpus in ANY_PEOPLE else source.corpus


def overlap(first: People, second: People) -> Overlap:
    """Return how many people of the first set are in the second one."""
    same = len(_both(first.identities, second.identities))
    alike = len(_both(first.names, second.names))
    return Overlap(same=same, namesakes=max(0, alike - same), count=len(first.identities))


def _both(first: Collection[str], second: Collection[str]) -> set[str]:
    return set(first) & set(second)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
