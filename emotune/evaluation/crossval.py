"""Cross-validation as a study without a searched value: one configuration per fold, and one with shuffled labels.

The folds run, resume and are tracked as the configurations of a search.
"""

import functools
import itertools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from emotune.base import Settings
from emotune.data.folds import FoldUnit, unit_keys
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.evaluation.statistics import Comparison, Interval, corrected_t_test, mean_interval, paired_t_test
from emotune.experiment import Experiment
from emotune.search.criteria import StudyObjective
from emotune.search.records import Record, Value
from emotune.study.definition import Budget
from emotune.study.results import evaluation_results, last_metrics, opened
from emotune.study.study import Study
from emotune.tasks.scores import label_scores, majority_label
from emotune.training.loop import TrainingData

ProtocolName = Literal["paper", "trial", "video", "subject", "corpus", "people"]
METRICS = ("accuracy", "macro_f1", "balanced_accuracy")
"""Metrics of the test segments that are summarised over the folds (0 to 1)."""

CALIBRATION_ERROR = "ece"
"""Expected calibration error of the test segments, which results of older versions do not have."""


@dataclass(frozen=True)
class Protocol:
    """How the segments are divided into folds, and what a result by it means."""

    by: FoldUnit
    """The unit that is never divided between training and test segments."""
    meaning: str
    """What is never divided, in a sentence for the reader; `describe_sides` counts what is on both sides."""


PROTOCOLS: dict[ProtocolName, Protocol] = {
    "paper": Protocol(
        "moment",
        "Folds by segment, as in the papers: neighbouring seconds of a recording, with the same label, may be trained "
        "on and tested. Compare the result with the protocols trial and subject.",
    ),
    "trial": Protocol(
        "trial",
        "Folds by trial: the recording of a subject and a video is either trained on or tested.",
    ),
    "video": Protocol(
        "video",
        "Folds by video: a test video is not trained on, by any subject.",
    ),
    "subject": Protocol(
        "subject",
        "Folds by subject: a test subject is not trained on.",
    ),
    "corpus": Protocol(
        "corpus",
        "Folds by corpus: no segment of a test corpus is trained on. Its labels are those of its own thresholds.",
    ),
    "people": Protocol(
        "subject",
        "One fold with the test people that folds.test names: they are not trained on.",
    ),
}

CONSEQUENCES = {
    "subject": "A result shows how well a model recognises the state of known people, not of new ones.",
    "video": "A model can learn how a video is rated by most people, without reading the signal of the test subject.",
}
"""What a result does not show, by the unit that is on both sides of a fold."""


class FoldResult(Settings):
    """The metrics of one fold's test segments after the last epoch."""

    fold: int
    config_id: int
    metrics: dict[str, float]


class CrossValidation(Settings):
    """The folds of a cross-validation. Means and intervals are computed, not stored."""

    name: str
    protocol: ProtocolName
    target: str
    count: int
    """Number of folds."""
    folds: tuple[FoldResult, ...]
    shuffled: tuple[FoldResult, ...] = ()
    """Folds trained on shuffled labels of the training segments."""
    majority: tuple[FoldResult, ...] = ()
    """Baseline: predict the more frequent label of the training segments."""
    baselines: dict[str, tuple[FoldResult, ...]] = Field(default={})
    """Folds of each baseline (`emotune.evaluation.baselines`), by its name."""
    notes: tuple[str, ...] = Field(default=())
    """What the result does and does not show, in sentences for the reader."""

    def interval(self, metric: str, *, of: Literal["folds", "shuffled", "majority"] = "folds") -> Interval | None:
        """Return mean and interval of a metric; None if there are no such folds, or one lacks the metric."""
        folds = getattr(self, of)
        values = [fold.metrics[metric] for fold in folds if metric in fold.metrics]
        return mean_interval(values) if values and len(values) == len(folds) else None

    def document(self) -> dict[str, object]:
        """Return the folds with their means and intervals under ``summary``, as plain JSON."""
        summary = {
            series: {
                metric: interval.model_dump()
                for metric in (*METRICS, CALIBRATION_ERROR)
                if (interval := self.interval(metric, of=series)) is not None
            }
            for series in ("folds", "shuffled", "majority")
        }
        content = self.model_dump(mode="json")
        if not self.baselines:
            del content["baselines"]
            return {**content, "summary": summary}
        return {**content, "summary": summary, "summary_of_baselines": self._summary_of_baselines()}

    def baseline_interval(self, name: str, metric: str) -> Interval:
        """Return mean and interval of a metric of a baseline over the folds."""
        return mean_interval([fold.metrics[metric] for fold in self.baselines[name]])

    def _summary_of_baselines(self) -> dict[str, object]:
        return {
            name: {metric: self.baseline_interval(name, metric).model_dump() for metric in METRICS}
            for name in self.baselines
        }

    def minus_baseline(self, name: str, *, metric: str) -> Comparison:
        """Return the corrected paired t-test of the network minus a baseline over the folds (`corrected_t_test`)."""
        other = {fold.fold: fold.metrics[metric] for fold in self.baselines[name]}
        pairs = [(other[fold.fold], fold.metrics[metric]) for fold in self.folds if fold.fold in other]
        return corrected_t_test(*zip(*pairs, strict=True), test_ratio=1 / max(1, self.count - 1))

    def compare(self, other: "CrossValidation", *, metric: str, corrected: bool = False) -> Comparison:
        """Compare with another cross-validation by a paired t-test over the folds.

        Args:
            other: A cross-validation by the same protocol, with the same target and number of folds.
            metric: One of `METRICS`.
            corrected: Correct the test for the training data that the folds share (`corrected_t_test`).

        Raises:
            SettingsError: Protocol, target or number of folds differ.
        """
        if (self.protocol, self.count, self.target) != (other.protocol, other.count, other.target):
            raise SettingsError(
                f"{self.name} ({self.protocol}, {self.count} folds, {self.target}) and {other.name} ({other.protocol}, "
                f"{other.count} folds, {other.target}) do not have the same folds; a paired test needs the same folds"
            )
        first, second = ({fold.fold: fold.metrics[metric] for fold in result.folds} for result in (self, other))
        shared = sorted(first.keys() & second.keys())
        pair = [first[fold] for fold in shared], [second[fold] for fold in shared]
        return corrected_t_test(*pair, test_ratio=1 / max(1, self.count - 1)) if corrected else paired_t_test(*pair)


def in_protocol(experiment: Experiment, *, protocol: ProtocolName, folds: int | None) -> Experiment:
    """Return the experiment of the first fold of a cross-validation, without validation segments.

    Args:
        experiment: The experiment of each fold; ``seed`` and ``channels`` of its folds are kept.
        protocol: How the segments are divided into folds.
        folds: Number of folds; None with the protocol ``people``, which has one.

    Raises:
        SettingsError: The experiment keeps the best epoch, which needs validation segments; or protocol, number of
            folds and ``folds.test`` do not fit together.
    """
    _check_protocol(experiment, protocol=protocol, folds=folds)
    fold_settings = {"by": PROTOCOLS[protocol].by, "index": 0, "validation": 0.0}
    fold_settings |= {} if folds is None else {"count": folds}
    if experiment.keep == "best":
        raise SettingsError(
            "keep: best was given, but a cross-validation has no validation segments to choose an epoch by; "
            "give keep: last (--set keep=last)"
        )
    return experiment.model_copy(update={"folds": experiment.folds.model_copy(update=fold_settings)})


def cross_validation_study(
    experiment: Experiment,
    *,
    protocol: ProtocolName,
    folds: int | None,
    shuffled: bool = True,
    tuned: Sequence[Mapping[str, Value]] = (),
) -> Study:
    """Return the study of a cross-validation.

    There are no validation segments: all epochs are trained, and the metrics are those of the last one.
    Settings must have been tuned on the training segments of each fold (``tuned``), or on other data.

    Args:
        experiment: The experiment of each fold; ``seed`` and ``channels`` of its folds are kept.
        protocol: How the segments are divided into folds.
        folds: Number of folds; None with the protocol ``people``, which has one.
        shuffled: Also train each fold on shuffled labels. Ignored for features: their networks were
            trained on the true labels, so that the result would not be that of chance.
        tuned: Values of each fold, by the name of the setting; empty: all folds have the experiment's.

    Raises:
        SettingsError: See `in_protocol`.
    """
    base = in_protocol(experiment, protocol=protocol, folds=folds)
    numbers = list(base.folds.numbers)
    hyperparameters = [{"name": "folds.index", "type": "ordinal", "sequence": numbers}]
    features = experiment.model.kind == "features"
    if features:
        hyperparameters.append({"name": "model.fold", "type": "ordinal", "sequence": numbers})
    labels = [False, True] if shuffled and not features else [False]
    hyperparameters.append({"name": "task.shuffled", "type": "categorical", "choices": labels, "default_value": False})
    names = [str(hyperparameter["name"]) for hyperparameter in hyperparameters]
    values = _in_each_fold(base, tuned)
    hyperparameters += [
        {"name": name, "type": "categorical", "choices": list(dict.fromkeys(column)), "default_value": column[0]}
        for name, column in values.items()
    ]
    points: list[dict[str, Value]] = [
        {name: is_shuffled if name == "task.shuffled" else fold for name in names}
        | {name: column[number] for name, column in values.items()}
        for is_shuffled, (number, fold) in itertools.product(labels, enumerate(numbers))
    ]
    return Study(
        base=base,
        objective=StudyObjective(metric="train/loss", mode="min"),
        budget=Budget(min=base.epochs, max=base.epochs, evaluations=len(points)),
        searcher={"kind": "random"},
        seed=experiment.seed,
        space={"hyperparameters": hyperparameters},
        earlier=tuple(points[1:]),
    )


def _in_each_fold(base: Experiment, tuned: Sequence[Mapping[str, Value]]) -> dict[str, list[Value]]:
    """Return the values of each fold by the name of the setting; where a fold has none, the experiment's value."""
    names = dict.fromkeys(name for values in tuned for name in values)
    document = base.model_dump(mode="json")
    own: dict[str, Any] = {name: functools.reduce(operator.getitem, name.split("."), document) for name in names}
    return {name: [values.get(name, own[name]) for values in tuned] for name in names}


def unit_count(experiment: Experiment, store: SegmentStore, *, protocol: ProtocolName) -> int:
    """Return the number of people, trials, videos or corpora that can be left out one at a time.

    Args:
        experiment: The experiment of each fold.
        store: Its store.
        protocol: What is left out.

    Raises:
        SettingsError: The protocol has no such units.
        DataError: The store has no labels for the task.
    """
    if protocol in ("paper", "people"):
        raise SettingsError(
            f"--folds all was given with --protocol {protocol}; expected a number of folds"
            if protocol == "paper"
            else "--folds all was given with --protocol people, which has one fold; remove --folds"
        )
    by = PROTOCOLS[protocol].by
    everything = experiment.folds.model_copy(update={"by": by, "index": None, "validation": 0.0})
    return len(np.unique(unit_keys(store.index.iloc[experiment.rows(store, folds=everything)], by=by)))


def _check_protocol(experiment: Experiment, *, protocol: ProtocolName, folds: int | None) -> None:
    named, start = experiment.folds.test is not None, experiment.start
    if protocol != "people" and named:
        raise SettingsError(
            f"--protocol {protocol} was given, but folds.test names the test people; give --protocol people, or remove "
            "folds.test"
        )
    if protocol != "people":
        return
    if not named:
        raise SettingsError(
            "--protocol people needs the names of the test people; give folds: {test: {subjects: [...]}} or "
            "{split: NAME} or {corpora: [NAME]} in its place, in the experiment (--set folds.test.subjects=[NAME,NAME])"
        )
    if folds is not None:
        raise SettingsError(f"--folds {folds} was given, but --protocol people has one fold; remove --folds")
    if start is not None and start.second is not None:
        raise SettingsError("two encoders were given, but --protocol people has one fold; give one --encoder")


def protocol_of(study: Mapping[str, object]) -> ProtocolName:
    """Return the protocol of a cross-validation's study, as recorded in the journal."""
    folds = Study.recorded(study).base.folds
    if folds.test is not None:
        return "people"
    return next(name for name, protocol in PROTOCOLS.items() if protocol.by == folds.by)


def read_cross_validation(
    records: Sequence[Record], *, training_data: Mapping[int, TrainingData] | None = None, notes: Sequence[str] = ()
) -> CrossValidation:
    """Collect the finished folds from a journal.

    Args:
        records: The journal of a cross-validation.
        training_data: Training data by fold, for the majority baseline.
        notes: Further sentences for the reader.

    Raises:
        SettingsError: The journal is not that of a cross-validation.
    """
    first = opened(records)
    if first.purpose != "fold":
        raise SettingsError(f"{first.name!r} is not a cross-validation; run one with `emotune crossval`")
    base = Study.recorded(first.study).base
    done: dict[bool, list[FoldResult]] = {False: [], True: []}
    for result in evaluation_results(records):
        if result.status != "done":
            continue
        values = result.evaluation.values
        metrics = last_metrics(records, result.evaluation.config_id)
        scores = {
            name: value for name in (*METRICS, CALIBRATION_ERROR) if (value := metrics.get(f"test/{name}")) is not None
        }
        fold = FoldResult(fold=_fold(values), config_id=result.evaluation.config_id, metrics=scores)
        done[bool(values["task.shuffled"])].append(fold)
    by_fold = {shuffled: tuple(sorted(folds, key=lambda fold: fold.fold)) for shuffled, folds in done.items()}
    protocol, data = protocol_of(first.study), training_data or {}
    computed = [*describe_sides(data), *describe_classes(data)] if data else []
    return CrossValidation(
        name=first.name,
        protocol=protocol,
        target=getattr(base.task, "target", base.task.kind),
        count=len(base.folds.numbers),
        folds=by_fold[False],
        shuffled=by_fold[True],
        majority=tuple(majority_baseline(part, fold=fold) for fold, part in sorted(data.items())),
        notes=(PROTOCOLS[protocol].meaning, *computed, *notes),
    )


def _fold(values: Mapping[str, Value]) -> int:
    return int(str(values["folds.index"]))


def majority_baseline(training_data: TrainingData, *, fold: int) -> FoldResult:
    """Return the test metrics of predicting the more frequent label of the training segments.

    With both labels among the test segments, and the share ``r`` of the predicted one, the macro F1 is ``r / (1 + r)``.
    """
    assert training_data.labels is not None
    train, test = training_data.labels[training_data.fold.train], training_data.labels[training_data.fold.test]
    predicted = np.full(len(test), majority_label(train))
    return FoldResult(fold=fold, config_id=-1, metrics=label_scores(predicted, truth=test))


def describe_sides(training_data: Mapping[int, TrainingData]) -> list[str]:
    """Return sentences about the people and videos that are on both sides of the folds, counted from the segments.

    Args:
        training_data: Training data by fold.
    """
    sentences = []
    for unit in ("subject", "video"):
        tested, trained = 0, 0
        for data in training_data.values():
            train, test = (
                set(unit_keys(data.store.index.iloc[rows], by=unit)) for rows in (data.fold.train, data.fold.test)
            )
            tested += len(test)
            trained += len(test & train)
        consequence = f" {CONSEQUENCES[unit]}" if trained else ""
        sentences.append(
            f"In all folds together, {trained} of {tested} test {unit}s are in the training segments of their fold too."
            f"{consequence}"
        )
    return sentences


def describe_classes(training_data: Mapping[int, TrainingData]) -> list[str]:
    """Return a sentence about the folds whose test segments all have the same label; none if there are none."""
    single = []
    for fold, data in training_data.items():
        assert data.labels is not None
        if len(np.unique(data.labels[data.fold.test])) == 1:
            single.append(str(fold))
    if not single:
        return []
    folds = f"fold {single[0]} have" if len(single) == 1 else f"folds {', '.join(single)} have"
    return [
        f"The test segments of {folds} one label only. There, as in scikit-learn, balanced accuracy is the recall of "
        "that label, and macro F1 is the mean over the labels that occur among test segments or predictions."
    ]


def describe_gain(result: CrossValidation) -> str | None:
    """Return a sentence about the difference of the macro F1 from the majority label's; None without one.

    A difference is within noise if its interval over the folds includes 0.
    """
    metric = "macro_f1"
    baseline = {fold.fold: fold.metrics[metric] for fold in result.majority}
    pairs = [(baseline[fold.fold], fold.metrics[metric]) for fold in result.folds if fold.fold in baseline]
    if len(pairs) < 2:
        return None
    difference = paired_t_test(*zip(*pairs, strict=True)).difference
    return f"The macro F1 minus that of the majority label is {difference.text}: {significance(difference)}."


def significance(difference: Interval) -> str:
    """Return ``within noise`` if the interval of a difference includes 0, otherwise ``beyond noise``."""
    width = difference.half_width
    return "within noise" if width is None or abs(difference.mean) <= width else "beyond noise"
