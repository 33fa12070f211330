"""The identity of the people in a store, by which two stores are compared.

A person is named by collection and subject. A corpus with a reader of its own is one collection, and so are recordings
that were prepared with ``--collection NAME``. Each folder of recordings is a collection of its own otherwise: the
fingerprint of its files identifies it, since the subject ``s01`` of one folder is not that of another.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from emotune.base import Settings
from emotune.data.store import SegmentStore, SourceCorpus

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
    sources = {source.corpus: source for source in store.about.sources}
    identities, names = set(), set()
    for corpus, subject in zip(pairs["corpus"].astype(str), pairs["subject"].astype(str), strict=True):
        source = sources.get(corpus)
        identities.add(_hash(collection_of(source) if source is not None else corpus, subject))
        names.add(_hash(corpus, subject))
    return People(identities=tuple(sorted(identities)), names=tuple(sorted(names)))


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
