"""A store in numbers: corpora, label balance, conditions, and what was left out."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from emotune.data.modality import MODALITIES
from emotune.data.store import SegmentStore

RECORDING = ["corpus", "subject", "session"]
"""Columns of the index that tell recordings apart."""


@dataclass(frozen=True)
class Share:
    """What a corpus contributes to a store."""

    corpus: str
    subjects: int
    recordings: int
    segments: int
    hours: float
    """Of segments; for ECG each lead counts."""
    recorded_hours: float
    """Of the recordings that were used, however many channels they have."""
    left_out: int
    """Recordings, files or parts of them that did not become segments."""
    settings: dict[str, Any]
    """How the corpus was read."""


@dataclass(frozen=True)
class Balance:
    """How a rating is spread over a corpus."""

    corpus: str
    rating: str
    segments: int
    subjects: int
    recordings: int
    scale: tuple[float, float]
    """The lowest and the highest value that could be given."""
    mean: float
    """Over recordings, as the papers' threshold between low and high."""
    above_mean: float
    """Share of the rated segments whose rating is above the mean: the papers' high ones."""
    above_middle: float
    """Share of them whose rating is above the middle of its scale."""
    at_middle: float
    """Share of them whose rating is just the middle."""


@dataclass(frozen=True)
class Description:
    """A store in a few numbers."""

    corpus: str
    modality: str
    segments: int
    subjects: int
    recordings: int
    hours: float
    """Of segments; for ECG each lead counts."""
    seconds: float
    rate: int
    width: int | None
    """Features of a moment, where the store holds features."""
    channels: tuple[str, ...]
    conditions: dict[str, int]
    """Segments by condition; those without one are not counted."""
    ratings: dict[str, int]
    """Segments that have a rating, by its name."""
    skipped: tuple[str, ...]
    """What was left out, and why, in a line each."""
    settings: dict[str, Any]
    fingerprint: str
    corpora: tuple[Share, ...]
    labels: tuple[Balance, ...]
    leads: dict[str, int]
    """ECG: segments of each lead."""
    left_out: dict[str, int]
    """How much was left out for each reason, the most frequent first."""


def describe(store: SegmentStore) -> Description:
    """Sum a store up. Only its index is read."""
    index = store.index
    balances = tuple(balance_labels(index))
    omissions = [one for source in store.about.sources for one in source.left_out]
    return Description(
        corpus=", ".join(source.corpus for source in store.about.sources),
        modality=store.modality,
        segments=len(store),
        subjects=_different(index, "corpus", "subject"),
        recordings=_different(index, *RECORDING),
        hours=_hours(store, len(store)),
        seconds=store.seconds,
        rate=store.rate,
        width=store.about.width,
        channels=store.channels,
        conditions=_counts(one for one in index["condition"] if one),
        ratings=_total(balances),
        skipped=tuple(map(str, omissions)),
        settings=store.about.settings,
        fingerprint=store.fingerprint,
        corpora=_shares(store),
        labels=balances,
        leads=_leads(store),
        left_out=dict(Counter(one.reason for one in omissions).most_common()),
    )


def balance_labels(index: pd.DataFrame) -> list[Balance]:
    """Return how every rating is spread over every corpus that has it, from a store's index."""
    balances: list[Balance] = []
    for column in index.filter(regex="^rating_"):
        name = str(column).removeprefix("rating_")
        for corpus, rows in index.dropna(subset=[column]).groupby("corpus", sort=False):
            ends = (column, f"lowest_{name}", f"highest_{name}")
            values, lowest, highest = (np.asarray(rows[end], dtype=float) for end in ends)
            middle = (lowest + highest) / 2
            mean = float(np.mean(np.asarray(rows.drop_duplicates(RECORDING)[column], dtype=float)))
            balance = Balance(
                corpus=str(corpus),
                rating=name,
                segments=len(rows),
                subjects=_different(rows, "subject"),
                recordings=_different(rows, *RECORDING),
                scale=(float(lowest.min()), float(highest.max())),
                mean=round(mean, 4),
                above_mean=_share(values > mean),
                above_middle=_share(values > middle),
                at_middle=_share(values == middle),
            )
            balances.append(balance)
    return balances


def _shares(store: SegmentStore) -> tuple[Share, ...]:
    shares: list[Share] = []
    parts = {str(corpus): rows for corpus, rows in store.index.groupby("corpus", sort=False)}
    for source in store.about.sources:
        rows = store.index if store.holds_features else parts[source.corpus]
        share = Share(
            corpus=source.corpus,
            subjects=_different(rows, "subject"),
            recordings=_different(rows, *RECORDING),
            segments=len(rows),
            hours=_hours(store, len(rows)),
            recorded_hours=source.hours,
            left_out=len(source.left_out),
            settings=source.settings,
        )
        shares.append(share)
    return tuple(shares)


def _leads(store: SegmentStore) -> dict[str, int]:
    """Count the segments of each lead, where leads are segments of their own."""
    separate = not store.holds_features and MODALITIES[store.modality].separate_leads
    return _counts(store.index["channel"]) if separate else {}


def _different(index: pd.DataFrame, *columns: str) -> int:
    return len(index.drop_duplicates(list(columns)))


def _hours(store: SegmentStore, segments: int) -> float:
    return round(segments * store.seconds / 3600, 4)


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _total(balances: tuple[Balance, ...]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for balance in balances:
        total[balance.rating] += balance.segments
    return dict(total)


def _share(chosen: np.ndarray) -> float:
    return round(float(chosen.mean()), 4)
