"""Baselines in the folds of a cross-validation: features that need no training, and classifiers of scikit-learn.

Each baseline is trained on the training segments of a fold and predicts its test segments, with the labels of the
network. Features of a segment are those of the segment alone (`emotune.evaluation.physiology`), or its embedding by the
frozen encoder that the cross-validation starts from. Centred features are the exception: the median of the person's
features, over all segments of the person in the fold, without labels, is subtracted. A missing feature gets the median
of the training segments; features are standardised by the training segments. Classes have the same total weight.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from scipy.special import expit, softmax

from emotune.data.folds import unit_keys
from emotune.data.modality import Modality
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.evaluation.crossval import FoldResult
from emotune.evaluation.encoders import BATCH_SEGMENTS, PretrainedEncoder
from emotune.evaluation.held_out import prediction_table
from emotune.evaluation.physiology import FEATURES, HEART_RATE, Features, Segments
from emotune.models import Encoder
from emotune.tasks.aggregation import embed
from emotune.tasks.ridge import standardise
from emotune.tasks.scores import label_scores
from emotune.training.loop import TrainingData

BASELINE = "baseline/"
"""Beginning of the columns of a table of predictions with the probabilities of baselines."""

MAX_SVM_SEGMENTS = 5000
"""Training segments of a support-vector machine at most, drawn evenly; its time grows with their square."""

TREES = 200
"""Trees of a random forest."""

CHUNK_SEGMENTS = 2048
"""Segments whose features are computed at a time."""

Chosen = Literal["all", "heart_rate", "embedding"]
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Baseline:
    """A classifier on features."""

    title: str
    """Its name in a table."""
    features: Chosen
    classifier: Literal["logistic", "svm", "forest"]
    centred: bool = False
    """Whether the person's median is subtracted."""


CLASSIFIERS: Mapping[Literal["logistic", "svm", "forest"], str] = MappingProxyType(
    {"logistic": "logistic regression", "svm": "SVM", "forest": "random forest"}
)

BASELINES: Mapping[Modality, Mapping[str, Baseline]] = MappingProxyType(
    {
        "ecg": {
            "heart_rate": Baseline("heart rate, logistic regression", "heart_rate", "logistic"),
            "centred_heart_rate": Baseline(
                "centred heart rate, logistic regression", "heart_rate", "logistic", centred=True
            ),
            **{f"hrv_{name}": Baseline(f"HRV, {title}", "all", name) for name, title in CLASSIFIERS.items()},
            "centred_hrv": Baseline("centred HRV, logistic regression", "all", "logistic", centred=True),
        },
        "eeg": {
            f"power_{name}": Baseline(f"entropy and band power, {title}", "all", name)
            for name, title in CLASSIFIERS.items()
        }
        | {
            "centred_power": Baseline(
                "centred entropy and band power, logistic regression", "all", "logistic", centred=True
            )
        },
    }
)
"""Baselines by modality and name."""

OF_ENCODER: Mapping[str, Baseline] = MappingProxyType(
    {
        "encoder": Baseline("frozen encoder, logistic regression", "embedding", "logistic"),
        "centred_encoder": Baseline(
            "centred frozen encoder, logistic regression", "embedding", "logistic", centred=True
        ),
    }
)
"""Baselines of a cross-validation that starts from pre-trained encoders, by name."""


@dataclass(frozen=True, eq=False)
class BaselineResults:
    """The results of all baselines."""

    folds: dict[str, tuple[FoldResult, ...]]
    """Metrics of the test segments of each fold, by the baseline's name."""
    columns: pd.DataFrame
    """Names, start and fold of each test segment, and the probabilities of the baselines."""


def baselines_of(store: SegmentStore) -> Mapping[str, Baseline]:
    """Return the baselines of a store's modality, by name.

    Raises:
        SettingsError: The store holds features, or scikit-learn is not installed.
    """
    if store.modality not in BASELINES:
        raise SettingsError(
            f"--baselines was given, but {store.path} holds {store.modality}; baselines are for a store of signals"
        )
    try:
        import sklearn  # noqa: F401, PLC0415 (an extra; loading it takes a second)
    except ModuleNotFoundError as error:
        raise SettingsError("--baselines needs scikit-learn; type pip install 'emotune[sklearn]'") from error
    return BASELINES[store.modality]


def run_baselines(
    training_data: Mapping[int, TrainingData],
    *,
    classes: Sequence[str] = (),
    seed: int = 0,
    encoders: Mapping[int, Path] | None = None,
    progress: Progress = lambda share, doing: None,
) -> BaselineResults:
    """Train all baselines in all folds, and predict the test segments.

    Args:
        training_data: Training data by fold.
        classes: Names of the classes of the task; none for low and high.
        seed: Seed of the random forests and of the segments that a support-vector machine is trained on.
        encoders: Checkpoint of the pre-trained encoder by fold; None: there is none.
        progress: Receives the finished share and what is computed.

    Raises:
        SettingsError: The store holds features, or scikit-learn is not installed.
    """
    store = next(iter(training_data.values())).store
    chosen = {**baselines_of(store), **(OF_ENCODER if encoders else {})}
    rows = np.unique(
        np.concatenate([np.concatenate([data.fold.train, data.fold.test]) for data in training_data.values()])
    )
    names = {number: str(path) for number, path in (encoders or {}).items()}
    features = {"": _features_of(store, rows, name="", progress=progress)}
    for name in sorted(set(names.values())):
        features[name] = _features_of(store, rows, name=name, progress=progress)
    folds: dict[str, list[FoldResult]] = {name: [] for name in chosen}
    tables = []
    for position, (number, data) in enumerate(sorted(training_data.items())):
        progress(0.5 + position / len(training_data) / 2, f"baselines of fold {number}")
        columns: dict[str, Any] = {}
        for name, baseline in chosen.items():
            own = features[names[number] if baseline.features == "embedding" else ""]
            probabilities, metrics = _run(baseline, own, data=data, count=len(classes), seed=seed)
            folds[name].append(FoldResult(fold=number, config_id=-1, metrics=metrics))
            columns |= _columns(name, probabilities, classes=classes)
        assert data.labels is not None
        tested = prediction_table(store, rows=data.fold.test, labels=data.labels[data.fold.test], fold=number)
        tables.append(tested.drop(columns="label").assign(**columns))
    return BaselineResults(
        {name: tuple(results) for name, results in folds.items()}, pd.concat(tables, ignore_index=True)
    )


def with_baselines(table: pd.DataFrame, columns: pd.DataFrame) -> pd.DataFrame:
    """Return a table of predictions with the probabilities of baselines; earlier ones are replaced."""
    kept = table[[name for name in table if not str(name).startswith(BASELINE)]]
    keys = [name for name in columns if not str(name).startswith(BASELINE)]
    return kept.merge(columns, on=keys, how="left", validate="one_to_one")


def _features_of(store: SegmentStore, rows: Int64[np.ndarray, " row"], *, name: str, progress: Progress) -> Features:
    """Return features of all segments of a store, NaN outside the rows.

    Args:
        store: The store.
        rows: The rows whose features are computed.
        name: Checkpoint of an encoder, whose embeddings are the features; empty: those of the modality.
        progress: Receives the finished share and what is computed.
    """
    encoder = PretrainedEncoder(Path(name)).encoder.eval() if name else None
    chunks = []
    for begin in range(0, len(rows), CHUNK_SEGMENTS):
        progress(begin / len(rows) / 2, "embeddings" if name else "features")
        signals = np.array(store.signal[rows[begin : begin + CHUNK_SEGMENTS]])
        chunks.append(
            FEATURES[store.modality](signals, rate=store.rate) if encoder is None else _embed(signals, encoder)
        )
    computed = np.concatenate(chunks)
    features = np.full((len(store), computed.shape[1]), np.nan)
    features[rows] = computed
    return features


@torch.no_grad()
def _embed(signals: Segments, encoder: Encoder) -> Features:
    batches = torch.from_numpy(signals).split(BATCH_SEGMENTS)
    return torch.cat([embed(batch, encoder=encoder) for batch in batches]).double().numpy()


def select_features(
    features: Features, *, baseline: Baseline, people: np.ndarray, rows: np.ndarray
) -> Float[np.ndarray, "row chosen"]:
    """Return the features of some rows that a baseline uses.

    Args:
        features: Features of all segments of the store.
        baseline: The baseline.
        people: The person of each of the rows.
        rows: The rows.
    """
    own = features[rows]
    if baseline.features == "heart_rate":
        own = own[:, [HEART_RATE]]
    return own - pd.DataFrame(own).groupby(people).transform("median").to_numpy() if baseline.centred else own


def _run(
    baseline: Baseline, features: Features, *, data: TrainingData, count: int, seed: int
) -> tuple[np.ndarray, dict[str, float]]:
    """Return the weighted probabilities of a baseline on the test segments of a fold, and its scores."""
    assert data.labels is not None
    train, test = data.fold.train, data.fold.test
    rows = np.concatenate([train, test])
    people = unit_keys(data.store.index.iloc[rows], by="subject")
    values = select_features(features, baseline=baseline, people=people, rows=rows)
    fitted, predicted = values[: len(train)], values[len(train) :]
    if baseline.classifier == "svm" and len(fitted) > MAX_SVM_SEGMENTS:
        kept = np.linspace(0, len(fitted) - 1, MAX_SVM_SEGMENTS).astype(int)
        fitted, train = fitted[kept], train[kept]
    probabilities = fit_and_predict(
        baseline.classifier, fitted, labels=data.labels[train], predicted=predicted, seed=seed
    )
    labels = probabilities.argmax(axis=1).astype(float)
    scores = label_scores(labels, truth=data.labels[test])
    return (probabilities if count else probabilities[:, 1]), scores


def fit_and_predict(
    classifier: Literal["logistic", "svm", "forest"],
    fitted: Float[np.ndarray, "train feature"],
    *,
    labels: Float[np.ndarray, " train"],
    predicted: Float[np.ndarray, "test feature"],
    seed: int,
) -> Float[np.ndarray, "test label"]:
    """Train a classifier of scikit-learn, and return the probability of each class.

    Classes have the same total weight. The probabilities of a support-vector machine are the logistic function, or the
    softmax, of its decision function, and are not calibrated.

    Args:
        classifier: Which classifier.
        fitted: Features of the training segments.
        labels: Their labels, 0, 1, 2 and so on; all occur.
        predicted: Features of the segments to predict.
        seed: Seed of a random forest.
    """
    # an extra of the package; loading it takes a second
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.svm import SVC  # noqa: PLC0415

    fitted, predicted = standardise(fitted, predicted)
    weights: Any = {"class_weight": "balanced"}
    if classifier == "svm":
        model = SVC(**weights).fit(fitted, labels)
        decisions = model.decision_function(predicted)
        if decisions.ndim == 2:
            return softmax(decisions, axis=1)
        return np.stack([expit(-decisions), expit(decisions)], axis=1)
    if classifier == "logistic":
        return LogisticRegression(max_iter=2000, **weights).fit(fitted, labels).predict_proba(predicted)
    forest = RandomForestClassifier(TREES, min_samples_leaf=5, random_state=seed, **weights)
    return forest.fit(fitted, labels).predict_proba(predicted)


def _columns(name: str, probabilities: np.ndarray, *, classes: Sequence[str]) -> dict[str, np.ndarray]:
    if not classes:
        return {f"{BASELINE}{name}": probabilities}
    return {f"{BASELINE}{name}/{label}": probabilities[:, number] for number, label in enumerate(classes)}


def baseline_tables(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return for each baseline of a table of predictions the table in which it takes the place of the network.

    Its probability in data such as the training segments is not known; both columns have the weighted one.
    """
    columns = [str(name).removeprefix(BASELINE) for name in table if str(name).startswith(BASELINE)]
    tables: dict[str, pd.DataFrame] = {}
    for name in dict.fromkeys(column.partition("/")[0] for column in columns):
        own = {
            column.partition("/")[2]: f"{BASELINE}{column}" for column in columns if column.partition("/")[0] == name
        }
        replaced = {
            f"{prefix}{f'_{label}' if label else ''}": table[column]
            for label, column in own.items()
            for prefix in ("probability", "weighted_probability")
        }
        tables[name] = table.assign(**replaced)
    return tables


def titles_of() -> dict[str, str]:
    """Return the title of every baseline, by name."""
    tables = (*BASELINES.values(), OF_ENCODER)
    return {name: part.title for baselines in tables for name, part in baselines.items()}
