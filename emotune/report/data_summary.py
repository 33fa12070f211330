"""The data of a study: corpora, people, hours, split and shares of the labels, read from the index of its store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emotune.base import Settings
from emotune.data.description import describe
from emotune.data.folds import Fold, Folds, split, unit_keys
from emotune.data.split_summary import summarise_split
from emotune.data.store import SegmentStore
from emotune.errors import DataError, EmotuneError


class CorpusRow(Settings):
    """A corpus of the store."""

    corpus: str
    people: int
    recordings: int
    segments: int
    hours: float


class PartRow(Settings):
    """The training, validation or test segments."""

    part: str
    people: int
    segments: int
    hours: float
    high_share: float | None
    """Share of high labels (0 to 1); None without labels."""


class DataSummary(Settings):
    """The data of a study."""

    modality: str
    seconds: float
    """Length of a segment (s)."""
    rate: int
    """Sampling rate (Hz)."""
    channels: int
    corpora: tuple[CorpusRow, ...]
    parts: tuple[PartRow, ...]
    unit: str
    """What is never divided between the parts."""
    shared_people: int
    """People with training segments and with validation or test segments."""
    split: str
    """Hash of the division, see `SplitSummary.digest`."""
    fingerprint: str


def open_store(study: Mapping[str, Any]) -> SegmentStore:
    """Open the store of a recorded study.

    Raises:
        DataError: It is not on this machine, or has other content than the search was started on.
    """
    base = study.get("base") or {}
    if not base.get("store"):
        raise DataError("the journal has no store")
    path = Path(base["store"])
    if not path.is_dir():
        raise DataError(f"the store {path} is not on this machine")
    store = SegmentStore.open(path)
    if base.get("fingerprint") not in {None, store.fingerprint}:
        raise DataError(f"the store {path} has other content than the one that the search was started on")
    return store


def summarise_data(study: Mapping[str, Any], store: SegmentStore) -> DataSummary:
    """Return the summary of a study's data. The signals are not read.

    Raises:
        EmotuneError: The store does not fit the study.
    """
    base = study["base"]
    fold, labels = _divide(study, store)
    parts = {"training": fold.train, "validation": fold.val, "test": fold.test}
    description = describe(store)
    division = summarise_split(store, fold, by=(base.get("folds") or {}).get("by", "subject"))
    return DataSummary(
        modality=description.modality,
        seconds=store.seconds,
        rate=store.rate,
        channels=len(store.channels),
        corpora=tuple(
            CorpusRow(
                corpus=part.corpus, people=part.subjects, recordings=part.recordings, segments=part.segments,
                hours=part.hours,
            )
            for part in description.corpora
        ),
        parts=tuple(_part(name, store=store, rows=rows, labels=labels) for name, rows in parts.items() if len(rows)),
        unit=division.unit,
        shared_people=division.shared_people,
        split=division.digest,
        fingerprint=store.fingerprint,
    )  # fmt: skip


def try_summary(study: Mapping[str, Any]) -> tuple[DataSummary | None, str]:
    """Return the summary of a study's data; None, and the reason, if it cannot be had."""
    try:
        return summarise_data(study, open_store(study)), ""
    except (EmotuneError, OSError, ValueError, KeyError) as error:
        return None, str(error)


def _divide(study: Mapping[str, Any], store: SegmentStore) -> tuple[Fold, np.ndarray | None]:
    """Return the rows of the parts and the labels; torch is imported only if the task has labels, or for a partner."""
    base = study["base"]
    if (base.get("task") or {}).get("kind") != "classify" and not base.get("partner"):
        return split(store.index, Folds.model_validate(base.get("folds") or {})), None
    from emotune.study.study import Study

    experiment = Study.recorded(study).base
    data = experiment.select(store)
    return data.fold, None if getattr(experiment.task, "classes", ()) else data.labels


def _part(name: str, *, store: SegmentStore, rows: np.ndarray, labels: np.ndarray | None) -> PartRow:
    index: pd.DataFrame = store.index.iloc[rows]
    known = None if labels is None else labels[rows][~np.isnan(labels[rows])]
    return PartRow(
        part=name,
        people=len(np.unique(unit_keys(index, by="subject"))),
        segments=len(rows),
        hours=round(len(rows) * store.seconds / 3600, 4),
        high_share=None if known is None or not len(known) else float(known.mean()),
    )
