"""The tables of the papers, row by row: the published numbers, and the recipe of the corresponding experiment.

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
"""Mean and half width of the interval, by target and metric."""


@dataclass(frozen=True)
class Recipe:
    """The choices that determine the experiment of a row."""

    signal: Modality | Literal["fused"] = DEFAULT_MODALITY
    network: Literal["transformer", "convnet"] = "transformer"
    aggregate: Aggregate = "class"
    seconds: int = 10
    pretrained: bool = True
    paired: bool = False
    """Use only moments with both ECG and EEG."""


@dataclass(frozen=True)
class PaperRow:
    """A row of a paper's table; a row without a recipe has published numbers only."""

    name: str
    published: Numbers
    recipe: Recipe | None = None
    segment: str = ""
    """Length of a segment as the paper gives it; empty: not given, or the table has no such column."""
    subject_independent: bool | None = None
    """The paper's column "Subj. ind."; None: the table has no such column."""


@dataclass(frozen=True)
class PublishedTest:
    """A test of the difference between two rows of a table."""

    row: str
    against: str
    p: str = ""
    """The published p-value, for all columns; empty: not published."""


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper."""

    name: str
    title: str
    rows: tuple[PaperRow, ...]
    tests: tuple[PublishedTest, ...] = ()


def _numbers(*values: float | tuple[float, float] | None) -> Numbers:
    """Return the numbers of a row, given as accuracy and F1 of arousal, then of valence."""
    columns: list[tuple[Target, str]] = [(target, metric) for target in TARGETS for metric in ("accuracy", "macro_f1")]
    return {
        column: value if isinstance(value, tuple) else (value, None)
        for column, value in zip(columns, values, strict=True)
        if value is not None
    }


BEST = _numbers((0.88, 5.4e-3), (0.87, 5.4e-3), (0.83, 7.8e-3), (0.83, 7.4e-3))
EEG = _numbers((0.81, 10.7e-3), (0.80, 9.4e-3), (0.77, 9.3e-3), (0.77, 9.1e-3))
FUSED = _numbers((0.89, 5.0e-3), (0.89, 5.0e-3), (0.85, 3.8e-3), (0.85, 3.9e-3))

TABLES: dict[str, PaperTable] = {
    table.name: table
    for table in (
        PaperTable(
            "ecg-table-1",
            "ECG Transformer: aggregation of representations, length of segments",
            (
                PaperRow(
                    "max-pool 1",
                    _numbers((0.85, 6.6e-3), (0.84, 6.4e-3), (0.78, 6.5e-3), (0.78, 6.6e-3)),
                    Recipe(aggregate="max"),
                    segment="10 s",
                ),
                PaperRow(
                    "max-pool 2",
                    _numbers((0.86, 7.4e-3), (0.84, 7.3e-3), (0.80, 6.3e-3), (0.80, 5.9e-3)),
                    Recipe(aggregate="max-groups"),
                    segment="10 s",
                ),
                PaperRow(
                    "average-pool 1",
                    _numbers((0.87, 8.3e-3), (0.87, 7.3e-3), (0.82, 6.2e-3), (0.82, 6.7e-3)),
                    Recipe(aggregate="average"),
                    segment="10 s",
                ),
                PaperRow(
                    "average-pool 2",
                    _numbers((0.88, 4.4e-3), (0.87, 4.6e-3), (0.83, 6.4e-3), (0.83, 6.6e-3)),
                    Recipe(aggregate="average-groups"),
                    segment="10 s",
                ),
                PaperRow(
                    "last",
                    _numbers((0.85, 1.3e-2), (0.84, 1.2e-2), (0.80, 7.6e-3), (0.80, 8.0e-3)),
                    Recipe(aggregate="last"),
                    segment="10 s",
                ),
                PaperRow(
                    "CLS, 40 s",
                    _numbers((0.86, 1.2e-2), (0.85, 1.1e-2), (0.82, 1.0e-2), (0.81, 9.9e-3)),
                    Recipe(seconds=40),
                    segment="40 s",
                ),
                PaperRow(
                    "CLS, 20 s",
                    _numbers((0.87, 5.6e-3), (0.86, 6.4e-3), (0.82, 7.8e-3), (0.82, 8.1e-3)),
                    Recipe(seconds=20),
                    segment="20 s",
                ),
                PaperRow("CLS", BEST, Recipe(), segment="10 s"),
            ),
        ),
        PaperTable(
            "ecg-table-2",
            "ECG Transformer: with and without pre-training",
            (
                PaperRow(
                    "no pre-training",
                    _numbers((0.85, 5.6e-3), (0.84, 5.8e-3), (0.80, 6.5e-3), (0.80, 6.4e-3)),
                    Recipe(pretrained=False),
                ),
                PaperRow("pre-trained", BEST, Recipe()),
            ),
            tests=(PublishedTest("pre-trained", "no pre-training"),),
        ),
        PaperTable(
            "ecg-table-3",
            "ECG: other approaches",
            (
                PaperRow(
                    "Gaussian naive Bayes",
                    _numbers(None, 0.551, None, 0.545),
                    segment="20 s",
                    subject_independent=True,
                ),
                PaperRow("1D-CNN", _numbers(0.81, 0.76, 0.71, 0.68), segment="200 peaks", subject_independent=False),
                PaperRow("2D-CNN", _numbers(0.83, 0.76, 0.82, 0.80), subject_independent=True),
                PaperRow("1D-CNN + LSTM", _numbers(None, None, 0.81, 0.80), subject_independent=True),
                PaperRow(
                    "convolutional autoencoder",
                    _numbers(0.85, 0.89, None, None),
                    segment="10 s",
                    subject_independent=False,
                ),
                PaperRow(
                    "pre-trained CNN, same protocol",
                    _numbers((0.85, 5.4e-3), (0.84, 5.3e-3), (0.77, 5.5e-3), (0.77, 5.1e-3)),
                    Recipe(network="convnet"),
                    segment="10 s",
                    subject_independent=False,
                ),
                PaperRow("Transformer, same protocol", BEST, Recipe(), segment="10 s", subject_independent=False),
            ),
            tests=(PublishedTest("Transformer, same protocol", "pre-trained CNN, same protocol", "< .01"),),
        ),
        PaperTable(
            "multimodal-table-1",
            "EEG Transformer: with and without pre-training",
            (
                PaperRow(
                    "EEG, no pre-training",
                    _numbers((0.76, 7.3e-3), (0.75, 8.3e-3), (0.70, 6.4e-3), (0.70, 6.8e-3)),
                    Recipe("eeg", pretrained=False, paired=True),
                ),
                PaperRow("EEG, pre-trained", EEG, Recipe("eeg", paired=True)),
            ),
            tests=(PublishedTest("EEG, pre-trained", "EEG, no pre-training", "< 1e-5"),),
        ),
        PaperTable(
            "multimodal-table-2",
            "ECG, EEG and both",
            (
                PaperRow("EEG", EEG, Recipe("eeg", paired=True)),
                PaperRow("ECG", BEST, Recipe(paired=True)),
                PaperRow("ECG and EEG, fused", FUSED, Recipe("fused", paired=True)),
            ),
            tests=(
                PublishedTest("ECG and EEG, fused", "EEG"),
                PublishedTest("ECG and EEG, fused", "ECG", "< 1e-3"),
            ),
        ),
        PaperTable(
            "multimodal-table-3",
            "ECG and EEG, fused: with and without pre-training",
            (
                PaperRow(
                    "no pre-training",
                    _numbers((0.86, 4.9e-3), (0.85, 5.1e-3), (0.82, 6.5e-3), (0.81, 6.8e-3)),
                    Recipe("fused", pretrained=False, paired=True),
                ),
                PaperRow("pre-trained", FUSED, Recipe("fused", paired=True)),
            ),
            tests=(PublishedTest("pre-trained", "no pre-training", "< 1e-4"),),
        ),
        PaperTable(
            "multimodal-table-4",
            "Baselines of AMIGOS' authors",
            (
                PaperRow("EEG baseline", _numbers(None, 0.577, None, 0.564)),
                PaperRow("EEG + ECG + GSR baseline", _numbers(None, 0.564, None, 0.560)),
                PaperRow("EEG, pre-trained", EEG, Recipe("eeg", paired=True)),
                PaperRow("ECG and EEG, fused, pre-trained", FUSED, Recipe("fused", paired=True)),
            ),
        ),
        PaperTable("pretext", "Recognition of seven signal transformations", ()),
    )
}

PRETEXT_PUBLISHED: dict[str, float] = {"re-implementation report": 0.80, "a correct re-implementation": 0.9956}


def find_table(name: str) -> PaperTable:
    """Return a table by its name.

    Raises:
        SettingsError: There is no table of that name.
    """
    if name not in TABLES:
        raise SettingsError(f"there is no table {name!r}; there are: {', '.join(TABLES)}")
    return TABLES[name]
