"""The tables of the papers, row by row: what was published, and which experiment is our counterpart.

Sources: Vazquez-Rodriguez et al. 2022, "Transformer-Based Self-Supervised Learning for Emotion
Recognition" (arXiv:2204.05103), Tables I to III; Vazquez-Rodriguez et al. 2022, "Emotion Recognition
with Pre-Trained Transformers Using Multimodal Signals" (hal-03897400), Tables 1 to 4; and the report on
a re-implementation of Sarkar & Etemad's network, whose recognition of transformations stopped at .80.
"""

from dataclasses import dataclass
from typing import Literal

from emotune.data.modality import DEFAULT_MODALITY, Modality
from emotune.errors import SettingsError
from emotune.tasks.aggregation import Aggregate

Target = Literal["arousal", "valence"]
TARGETS: tuple[Target, ...] = ("arousal", "valence")
Numbers = dict[tuple[Target, str], tuple[float, float | None]]
"""By target and metric: the mean and half the width of its interval."""


@dataclass(frozen=True)
class Recipe:
    """What an experiment of ours is made of."""

    signal: Modality | Literal["fused"] = DEFAULT_MODALITY
    network: Literal["transformer", "convnet"] = "transformer"
    aggregate: Aggregate = "class"
    seconds: int = 10
    pretrained: bool = True
    paired: bool = False
    """Only moments that both ECG and EEG have."""


@dataclass(frozen=True)
class Row:
    """A row of a table. Without a recipe it is published only."""

    name: str
    published: Numbers
    recipe: Recipe | None = None


@dataclass(frozen=True)
class Table:
    """A table of a paper."""

    name: str
    title: str
    rows: tuple[Row, ...]


def _numbers(*values: float | tuple[float, float] | None) -> Numbers:
    """Take accuracy and F1 of arousal, then of valence."""
    places: list[tuple[Target, str]] = [(target, metric) for target in TARGETS for metric in ("accuracy", "macro_f1")]
    return {
        place: value if isinstance(value, tuple) else (value, None)
        for place, value in zip(places, values, strict=True)
        if value is not None
    }


BEST = _numbers((0.88, 5.4e-3), (0.87, 5.4e-3), (0.83, 7.8e-3), (0.83, 7.4e-3))
EEG = _numbers((0.81, 10.7e-3), (0.80, 9.4e-3), (0.77, 9.3e-3), (0.77, 9.1e-3))
FUSED = _numbers((0.89, 5.0e-3), (0.89, 5.0e-3), (0.85, 3.8e-3), (0.85, 3.9e-3))

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "ecg-table-1",
            "ECG Transformer: aggregation of representations, length of segments",
            (
                Row(
                    "max-pool 1",
                    _numbers((0.85, 6.6e-3), (0.84, 6.4e-3), (0.78, 6.5e-3), (0.78, 6.6e-3)),
                    Recipe(aggregate="max"),
                ),
                Row(
                    "max-pool 2",
                    _numbers((0.86, 7.4e-3), (0.84, 7.3e-3), (0.80, 6.3e-3), (0.80, 5.9e-3)),
                    Recipe(aggregate="max-groups"),
                ),
                Row(
                    "average-pool 1",
                    _numbers((0.87, 8.3e-3), (0.87, 7.3e-3), (0.82, 6.2e-3), (0.82, 6.7e-3)),
                    Recipe(aggregate="average"),
                ),
                Row(
                    "average-pool 2",
                    _numbers((0.88, 4.4e-3), (0.87, 4.6e-3), (0.83, 6.4e-3), (0.83, 6.6e-3)),
                    Recipe(aggregate="average-groups"),
                ),
                Row(
                    "last",
                    _numbers((0.85, 1.3e-2), (0.84, 1.2e-2), (0.80, 7.6e-3), (0.80, 8.0e-3)),
                    Recipe(aggregate="last"),
                ),
                Row(
                    "40 s",
                    _numbers((0.86, 1.2e-2), (0.85, 1.1e-2), (0.82, 1.0e-2), (0.81, 9.9e-3)),
                    Recipe(seconds=40),
                ),
                Row(
                    "20 s",
                    _numbers((0.87, 5.6e-3), (0.86, 6.4e-3), (0.82, 7.8e-3), (0.82, 8.1e-3)),
                    Recipe(seconds=20),
                ),
                Row("CLS, 10 s", BEST, Recipe()),
            ),
        ),
        Table(
            "ecg-table-2",
            "ECG Transformer: with and without pre-training",
            (
                Row(
                    "no pre-training",
                    _numbers((0.85, 5.6e-3), (0.84, 5.8e-3), (0.80, 6.5e-3), (0.80, 6.4e-3)),
                    Recipe(pretrained=False),
                ),
                Row("pre-trained", BEST, Recipe()),
            ),
        ),
        Table(
            "ecg-table-3",
            "ECG: other approaches",
            (
                Row("Gaussian naive Bayes, 20 s, by subject", _numbers(None, 0.551, None, 0.545)),
                Row("1D-CNN, 200 peaks", _numbers(0.81, 0.76, 0.71, 0.68)),
                Row("2D-CNN, by subject", _numbers(0.83, 0.76, 0.82, 0.80)),
                Row("1D-CNN + LSTM, by subject", _numbers(None, None, 0.81, 0.80)),
                Row("convolutional autoencoder, 10 s", _numbers(0.85, 0.89, None, None)),
                Row(
                    "pre-trained CNN, same protocol",
                    _numbers((0.85, 5.4e-3), (0.84, 5.3e-3), (0.77, 5.5e-3), (0.77, 5.1e-3)),
                    Recipe(network="convnet"),
                ),
                Row("Transformer, same protocol", BEST, Recipe()),
            ),
        ),
        Table(
            "multimodal-table-1",
            "EEG Transformer: with and without pre-training",
            (
                Row(
                    "EEG, no pre-training",
                    _numbers((0.76, 7.3e-3), (0.75, 8.3e-3), (0.70, 6.4e-3), (0.70, 6.8e-3)),
                    Recipe("eeg", pretrained=False, paired=True),
                ),
                Row("EEG, pre-trained", EEG, Recipe("eeg", paired=True)),
            ),
        ),
        Table(
            "multimodal-table-2",
            "ECG, EEG and both",
            (
                Row("EEG", EEG, Recipe("eeg", paired=True)),
                Row("ECG", BEST, Recipe(paired=True)),
                Row("ECG and EEG, fused", FUSED, Recipe("fused", paired=True)),
            ),
        ),
        Table(
            "multimodal-table-3",
            "ECG and EEG, fused: with and without pre-training",
            (
                Row(
                    "no pre-training",
                    _numbers((0.86, 4.9e-3), (0.85, 5.1e-3), (0.82, 6.5e-3), (0.81, 6.8e-3)),
                    Recipe("fused", pretrained=False, paired=True),
                ),
                Row("pre-trained", FUSED, Recipe("fused", paired=True)),
            ),
        ),
        Table(
            "multimodal-table-4",
            "Baselines of AMIGOS' authors",
            (
                Row("EEG baseline", _numbers(None, 0.577, None, 0.564)),
                Row("EEG + ECG + GSR baseline", _numbers(None, 0.564, None, 0.560)),
                Row("EEG, pre-trained", EEG, Recipe("eeg", paired=True)),
                Row("ECG and EEG, fused, pre-trained", FUSED, Recipe("fused", paired=True)),
            ),
        ),
        Table("pretext", "Recognition of seven signal transformations", ()),
    )
}

PRETEXT_PUBLISHED: dict[str, float] = {"re-implementation report": 0.80, "a correct re-implementation": 0.9956}


def find_table(name: str) -> Table:
    """Return a table by its name.

    Raises:
        SettingsError: There is none of that name.
    """
    if name not in TABLES:
        raise SettingsError(f"there is no table {name!r}; there are: {', '.join(TABLES)}")
    return TABLES[name]
