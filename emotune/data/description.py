"""Description of a store in numbers: corpora, balance of the ratings, conditions and excluded data."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from emotune.data.modality import MODALITIES
from emotune.data.store import SegmentStore

RECORDING_COLUMNS = ["corpus", "subject", "session"]
"""Columns of the index that together identify a recording."""


@dataclass(frozen=True)
class CorpusShare:
    """Share of a corpus in a store."""

    corpus: str
    subjects: int
    recordings: int
    segments: int
    hours: float
    """Hours of segments; each lead counts where leads are segments of their own."""
    recorded_hours: float
    """Hours of the recordings that were used, for any number of channels."""
    left_out: int
    """Number of recordings, files or parts of them that did not become segments."""
    settings: dict[str, Any]
    """Settings of the reader."""


@dataclass(frozen=True)
class RatingBalance:
    """Distribution of a rating in a corpus."""

    corpus: str
    rating: str
    segments: int
    subjects: int
    recordings: int
    scale: tuple[float, float]
    """Lowest and highest possible value."""
    mean: float
    """Mean over recordings: the papers' threshold between low and high."""
    above_mean: float
    """Share of the rated segments above the mean: the papers' class of high ratings."""
    above_middle: float
    """Share of the rated segments above the middle of the scale."""
    at_middle: float
    """Share of the rated segments at the middle of the scale."""


@dataclass(frozen=True)
class StoreDescription:
    """Summary of a store."""

    corpus: str
    modality: str
    segments: int
    subjects: int
    recordings: int
    hours: float
    """Hours of segments; each lead counts where leads are segments of their own."""
    seconds: float
    rate: int
    width: int | None
    """Number of features of a moment; None for signals."""
    channels: tuple[str, ...]
    conditions: dict[str, int]
    """Number of segments of each condition; segments without a condition are not counted."""
    ratings: dict[str, int]
    """Number of segments that have a rating, by the name of the rating."""
    skipped: tuple[str, ...]
    """Excluded data with the reason, one line each."""
    settings: dict[str, Any]
    fingerprint: str
    corpora: tuple[CorpusShare, ...]
    labels: tuple[RatingBalance, ...]
    leads: dict[str, int]
    """Number of segments of each lead; empty where all channels form one segment."""
    left_out: dict[str, int]
    """Number of exclusions for each reason, the most frequent first."""


def describe(store: SegmentStore) -> StoreDescription:
    """Return the summary of a store. Only its index is read."""
    index = store.index
    balances = tuple(balance_labels(index))
    exclusions = [exclusion for source in store.about.sources for exclusion in source.left_out]
    return StoreDescription(
        corpus=", ".join(source.corpus for source in store.about.sources),
        modality=store.modality,
        segments=len(store),
        subjects=_different(index, "corpus", "subject"),
        recordings=_different(index, *RECORDING_COLUMNS),
        hours=_hours(store, len(store)),
        seconds=store.seconds,
        rate=store.rate,
        width=store.about.width,
        channels=store.channels,
        conditions=_counts(condition for condition in index["condition"] if condition),
        ratings=_total(balances),
        skipped=tuple(map(str, exclusions)),
        settings=store.about.settings,
        fingerprint=store.fingerprint,
        corpora=_shares(store),
        labels=balances,
        leads=_leads(store),
        left_out=dict(Counter(exclusion.reason for exclusion in exclusions).most_common()),
    )


def balance_labels(index: pd.DataFrame) -> list[RatingBalance]:
    """Return the distribution of every rating in every corpus that has it, from the index of a store."""
    balances: list[RatingBalance] = []
    for column in index.filter(regex="^rating_"):
        name = str(column).removeprefix("rating_")
        for corpus, rows in index.dropna(subset=[column]).groupby("corpus", sort=False):
            ends = (column, f"lowest_{name}", f"highest_{name}")
            values, lowest, highest = (np.asarray(rows[end], dtype=float) for end in ends)
            middle = (lowest + highest) / 2
            mean = float(np.mean(np.asarray(rows.drop_duplicates(RECORDING_COLUMNS)[column], dtype=float)))
            balance = RatingBalance(
                corpus=str(corpus),
                rating=name,
                segments=len(rows),
                subjects=_different(rows, "subject"),
                recordings=_different(rows, *RECORDING_COLUMNS),
                scale=(float(lowest.min()), float(highest.max())),
                mean=round(mean, 4),
                above_mean=_share(values > mean),
                above_middle=_share(values > middle),
                at_middle=_share(values == middle),
            )
            balances.append(balance)
    return balances


def _shares(store: SegmentStore) -> tuple[CorpusShare, ...]:
    shares: list[CorpusShare] = []
    parts = {str(corpus): rows for corpus, rows in store.index.groupby("corpus", sort=False)}
    for source in store.about.sources:
        rows = store.index if store.holds_features else parts[source.corpus]
        share = CorpusShare(
            corpus=source.corpus,
            subjects=_different(rows, "subject"),
            recordings=_different(rows, *RECORDING_COLUMNS),
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


def _total(balances: tuple[RatingBalance, ...]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for balance in balances:
        total[balance.rating] += balance.segments
    return dict(total)


def _share(chosen: np.ndarray) -> float:
    return round(float(chosen.mean()), 4)
