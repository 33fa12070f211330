"""A moment that one modality classifies wrongly, and the other one and the fusion correctly, with its signals.

Source: Vazquez-Rodriguez et al., "Emotion Recognition with Pre-Trained Transformers Using
Multimodal Signals", ACII 2022 (hal-03897400), figures 3 and 4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32

from emotune.data.folds import unit_keys
from emotune.data.modality import FUSED_MODALITIES, MODALITIES, Modality
from emotune.data.store import ALL_CHANNELS, SegmentStore
from emotune.errors import SettingsError
from emotune.evaluation.classifiers import read_classifiers
from emotune.evaluation.held_out import Progress, predictions_of
from emotune.study.folder import SearchFolder
from emotune.tasks.classify import Classify

FUSED = "fused"
"""Name of the fusion among the modalities."""


@dataclass(frozen=True, eq=False)
class FusedMoment:
    """A test moment with its signals and the probabilities of both modalities and of the fusion."""

    person: str
    """``CORPUS/SUBJECT``."""
    session: str
    start: float
    """Seconds from the start of the session."""
    seconds: float
    """Length of the segments."""
    fold: int
    """The fold that tests it."""
    classes: tuple[str, str]
    """Names of the low and the high class, for example ``low arousal`` and ``high arousal``, or conditions."""
    label: int
    """1: high, 0: low."""
    probabilities: Mapping[str, float]
    """``weighted_probability`` of the high class, by modality and `FUSED`; above 0.5 the class is high."""
    signals: Mapping[Modality, Float32[np.ndarray, "_ time"]]
    """Standardised signals, a row per channel."""
    channels: Mapping[Modality, tuple[str, ...]]

    def is_right(self, name: str) -> bool:
        """Return whether a modality or the fusion classifies the moment correctly."""
        return (self.probabilities[name] > 0.5) == bool(self.label)

    @property
    def where(self) -> str:
        """Person, session and time."""
        return f"{self.person}, session {self.session}, {self.start:g} to {self.start + self.seconds:g} s"

    @property
    def text(self) -> str:
        """The moment with its label and its probabilities, in a line."""
        values = ", ".join(
            f"{title_of(name)} {value:.2f} ({'right' if self.is_right(name) else 'wrong'})"
            for name, value in self.probabilities.items()
        )
        return f"{self.where}, {self.classes[self.label]}; probability of {self.classes[1]}: {values}"

    def document(self) -> dict[str, object]:
        """Return the moment without its signals, as plain JSON."""
        return {
            "person": self.person,
            "session": self.session,
            "start": self.start,
            "seconds": self.seconds,
            "fold": self.fold,
            "label": self.classes[self.label],
            "probability_of": self.classes[1],
            "probabilities": dict(self.probabilities),
        }


def title_of(name: str) -> str:
    """Return the name of a modality or of the fusion in texts."""
    return "fusion" if name == FUSED else MODALITIES[name].label


def find_moment(fused: SearchFolder, *, wrong: Modality, progress: Progress = lambda share, doing: None) -> FusedMoment:
    """Return the test moment that ``wrong`` misses most clearly, and the other modality and the fusion do not miss.

    With the probability q of each, it has the largest minimum of ``|q - 0.5|`` over the three.

    Args:
        fused: A finished cross-validation of a fusion. The two that were fused are in the same storage.
        wrong: The modality that is wrong.
        progress: Receives the finished share of predictions that are not kept, and what is computed.

    Raises:
        SettingsError: The run is not that of a fusion, or there is no such moment.
        DataError: A store cannot be opened.
    """
    classifiers = read_classifiers(fused)
    if not classifiers.store.holds_features:
        raise SettingsError(
            f"{fused.name!r} was trained on {classifiers.store.modality}, expected a fusion; give the cross-validation "
            "of a store that `emotune fuse` wrote"
        )
    settings = classifiers.store.about.settings
    inputs = {name: SearchFolder.of(str(settings[name]["name"]), storage=fused.root) for name in FUSED_MODALITIES}
    table = _joined(fused, inputs, progress=progress)
    moment = _choose(table, wrong=wrong, name=fused.name)
    stores = {name: read_classifiers(folder).store for name, folder in inputs.items()}
    rows = {name: _rows_of(moment, store=store) for name, store in stores.items()}
    return FusedMoment(
        person=f"{moment['corpus']}/{moment['subject']}",
        session=str(moment["session"]),
        start=float(moment["start"]),
        seconds=classifiers.store.seconds,
        fold=int(moment["fold"]),
        classes=_class_names(classifiers.members[0].task, store=classifiers.store),
        label=int(moment["label"]),
        probabilities={name: float(moment[name]) for name in (*FUSED_MODALITIES, FUSED)},
        signals={name: np.concatenate(store.signal[rows[name]]) for name, store in stores.items()},
        channels={name: _channels(store, rows=rows[name]) for name, store in stores.items()},
    )


def _class_names(task: Classify, *, store: SegmentStore) -> tuple[str, str]:
    conditions = store.index["condition"].astype(str)[~np.isnan(task.labels(store.index))]
    low, high = task.class_names(sorted(set(conditions)))
    return (low, high) if task.target == "condition" else (f"{low} {task.target}", f"{high} {task.target}")


def _joined(fused: SearchFolder, inputs: Mapping[Modality, SearchFolder], *, progress: Progress) -> pd.DataFrame:
    """Return the fusion's predictions, with a column of probabilities for each modality; leads are averaged."""
    table = predictions_of(fused, progress=progress)
    moments = unit_keys(table, by="moment")
    columns = {name: _means(predictions_of(folder, progress=progress)) for name, folder in inputs.items()}
    table = table.rename(columns={"weighted_probability": FUSED}).assign(
        moment=moments, **{name: [means.get(key, np.nan) for key in moments] for name, means in columns.items()}
    )
    return table.dropna(subset=list(inputs))


def _means(table: pd.DataFrame) -> dict[str, float]:
    """Return the mean ``weighted_probability`` of each moment over its leads."""
    moments, moment_of = np.unique(unit_keys(table, by="moment"), return_inverse=True)
    sums = np.bincount(moment_of, weights=table["weighted_probability"].to_numpy(float))
    return dict(zip(moments.tolist(), (sums / np.bincount(moment_of)).tolist(), strict=True))


def _choose(table: pd.DataFrame, *, wrong: Modality, name: str) -> dict[str, Any]:
    names = [*FUSED_MODALITIES, FUSED]
    scores = table[names].to_numpy(float)
    right = (scores > 0.5) == table["label"].to_numpy(bool)[:, None]
    wanted = [part != wrong for part in names]
    fits = (right == wanted).all(axis=1)
    if not fits.any():
        missed = np.count_nonzero(~right[:, names.index(wrong)])
        raise SettingsError(
            f"{name!r} has no test moment that {title_of(wrong)} classifies wrongly, and the other modality and the "
            f"fusion correctly ({title_of(wrong)} is wrong in {missed} of {len(table)}); give the other modality with "
            "--wrong"
        )
    margins = np.where(fits, np.abs(scores - 0.5).min(axis=1), -1.0)
    return table.to_dict("records")[int(margins.argmax())]


def _rows_of(moment: Mapping[str, Any], *, store: SegmentStore) -> np.ndarray:
    return np.flatnonzero(unit_keys(store.index, by="moment") == moment["moment"])


def _channels(store: SegmentStore, *, rows: np.ndarray) -> tuple[str, ...]:
    leads = tuple(map(str, store.index["channel"].iloc[rows]))
    return store.channels if leads == (ALL_CHANNELS,) else leads
