"""Cross-validation as a study without a searched value: one configuration per fold, and one with shuffled labels.

The folds run, resume and are tracked as the configurations of a search.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from emotune.base import Settings
from emotune.data.folds import FoldUnit, HeldOutMoments
from emotune.errors import SettingsError
from emotune.evaluation.statistics import Comparison, Interval, mean_interval, paired_t_test
from emotune.experiment import Experiment
from emotune.search.records import Record, Value
from emotune.study.results import evaluation_results, last_metrics, opened
from emotune.study.study import Budget, Study, StudyObjective
from emotune.training.loop import TrainingData

ProtocolName = Literal["paper", "trial", "video", "subject"]
METRICS = ("accuracy", "macro_f1", "balanced_accuracy")
"""Metrics of the test segments that are summarised over the folds (0 to 1)."""


@dataclass(frozen=True)
class Protocol:
    """How the segments are divided into folds, and what a result by it means."""

    by: FoldUnit
    """The unit that is never divided between training and test segments."""
    meaning: str
    """What a result does and does not show, in sentences for the reader."""


PROTOCOLS: dict[ProtocolName, Protocol] = {
    "paper": Protocol(
        "moment",
        "Folds by segment, as in the papers: training and test segments include neighbouring seconds of the same "
        "video, with the same label, and all subjects and videos. A result shows how well a model recognises the state "
        "of known people in known videos from other seconds; it can be high if the model only recognises the "
        "recording. Compare it with the protocols trial and subject.",
    ),
    "trial": Protocol(
        "trial",
        "Folds by trial: the recording of a subject and a video is either trained on or tested; other recordings of "
        "the subject and of the video may be trained on, which makes the test easier.",
    ),
    "video": Protocol(
        "video",
        "Folds by video: test videos are not trained on, by any subject; all subjects are trained on, which makes the "
        "test easier.",
    ),
    "subject": Protocol(
        "subject",
        "Folds by subject: test subjects are not trained on. All videos are trained on, so that a model can learn how "
        "a video is rated by most people.",
    ),
}


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
    notes: tuple[str, ...] = Field(default=())
    """What the result does and does not show, in sentences for the reader."""

    def interval(self, metric: str, *, of: Literal["folds", "shuffled", "majority"] = "folds") -> Interval | None:
        """Return mean and interval of a metric; None if there are no such folds."""
        values = [fold.metrics[metric] for fold in getattr(self, of)]
        return mean_interval(values) if values else None

    def compare(self, other: "CrossValidation", *, metric: str) -> Comparison:
        """Compare with another cross-validation by a paired t-test over the folds.

        Args:
            other: A cross-validation by the same protocol, with the same target and number of folds.
            metric: One of `METRICS`.

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
        return paired_t_test([first[fold] for fold in shared], [second[fold] for fold in shared])


def cross_validation_study(
    experiment: Experiment, *, protocol: ProtocolName, folds: int, shuffled: bool = True
) -> Study:
    """Return the study of a cross-validation.

    There are no validation segments: all epochs are trained, and the metrics are those of the last one.
    Settings must have been tuned on training segments, or on other data.

    Args:
        experiment: The experiment of each fold; ``seed`` and ``channels`` of its folds are kept.
        protocol: How the segments are divided into folds.
        folds: Number of folds.
        shuffled: Also train each fold on shuffled labels. Ignored for features: their networks were
            trained on the true labels, so that the result would not be that of chance.
    """
    fold_settings = {"by": PROTOCOLS[protocol].by, "count": folds, "index": 0, "validation": 0.0}
    base = experiment.model_copy(update={"folds": experiment.folds.model_copy(update=fold_settings)})
    hyperparameters = [{"name": "folds.index", "type": "ordinal", "sequence": list(range(folds))}]
    features = experiment.model.kind == "features"
    if features:
        hyperparameters.append({"name": "model.fold", "type": "ordinal", "sequence": list(range(folds))})
    labels = [False, True] if shuffled and not features else [False]
    hyperparameters.append({"name": "task.shuffled", "type": "categorical", "choices": labels, "default_value": False})
    names = [str(hyperparameter["name"]) for hyperparameter in hyperparameters]
    points: list[dict[str, Value]] = [
        {name: is_shuffled if name == "task.shuffled" else fold for name in names}
        for is_shuffled, fold in itertools.product(labels, range(folds))
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


def protocol_of(study: Mapping[str, object]) -> ProtocolName:
    """Return the protocol of a cross-validation's study, as recorded in the journal."""
    by = Study.model_validate(study).base.folds.by
    return next(name for name, protocol in PROTOCOLS.items() if protocol.by == by)


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
    base = Study.model_validate(first.study).base
    done: dict[bool, list[FoldResult]] = {False: [], True: []}
    for result in evaluation_results(records):
        if result.status != "done":
            continue
        values = result.evaluation.values
        metrics = last_metrics(records, result.evaluation.config_id)
        scores = {name: value for name in METRICS if (value := metrics.get(f"test/{name}")) is not None}
        fold = FoldResult(fold=_fold(values), config_id=result.evaluation.config_id, metrics=scores)
        done[bool(values["task.shuffled"])].append(fold)
    by_fold = {shuffled: tuple(sorted(folds, key=lambda fold: fold.fold)) for shuffled, folds in done.items()}
    protocol = protocol_of(first.study)
    return CrossValidation(
        name=first.name,
        protocol=protocol,
        target=getattr(base.task, "target", base.task.kind),
        count=base.folds.count,
        folds=by_fold[False],
        shuffled=by_fold[True],
        majority=tuple(majority_baseline(data, fold=fold) for fold, data in sorted((training_data or {}).items())),
        notes=(PROTOCOLS[protocol].meaning, *notes),
    )


def _fold(values: Mapping[str, Value]) -> int:
    return int(str(values["folds.index"]))


def majority_baseline(training_data: TrainingData, *, fold: int) -> FoldResult:
    """Return the test metrics of predicting the more frequent label of the training segments.

    With the share ``r`` of that label among the test segments, its F1 is ``2 r / (1 + r)`` and the other
    label's is 0, so that the macro F1 is ``r / (1 + r)``.
    """
    assert training_data.labels is not None
    train, test = training_data.labels[training_data.fold.train], training_data.labels[training_data.fold.test]
    label = float(train.mean() > 0.5)
    share = float(np.mean(test == label))
    balanced_accuracy = 0.5 if len(np.unique(test)) > 1 else share / 2
    metrics = {"accuracy": share, "macro_f1": share / (1 + share), "balanced_accuracy": balanced_accuracy}
    return FoldResult(fold=fold, config_id=-1, metrics=metrics)


def check_encoders(
    base: Experiment, *, descriptions: Mapping[str, Mapping[str, object]], corpora: Sequence[str]
) -> list[str]:
    """Check that pre-trained encoders were not pre-trained on their test segments.

    Args:
        base: The experiment of a cross-validation, with its folds.
        descriptions: The description (``about``) in each encoder's checkpoint, by ``encoder`` and ``second``.
        corpora: The corpora of the labelled segments.

    Returns:
        One sentence per encoder about its pre-training, for the reader of the result.

    Raises:
        SettingsError: By the papers' protocol, an encoder was pre-trained on its test moments.
    """
    notes = []
    for role, about in descriptions.items():
        seen = sorted(set(corpora) & set(about.get("corpora", ())))  # type: ignore[arg-type]
        if not seen:
            notes.append(f"The {_adjective(role, descriptions)} encoder was pre-trained on other corpora.")
            continue
        notes += _check_seen(base, role=role, about=about, corpus=", ".join(seen), alone=len(descriptions) == 1)
    return notes


def _adjective(role: str, descriptions: Mapping[str, object]) -> str:
    return "pre-trained" if len(descriptions) == 1 else {"encoder": "first", "second": "second"}[role]


def _check_seen(base: Experiment, *, role: str, about: Mapping[str, object], corpus: str, alone: bool) -> list[str]:
    pretraining = Experiment.model_validate(about["experiment"]).folds
    if base.folds.by != "moment":
        return [
            f"The encoder was pre-trained, without labels, on signals of {corpus} too, including those of the test "
            "subjects. A result for new people needs an encoder that was not pre-trained on them."
        ]
    half: Literal["first", "second"] = "first" if role == "encoder" else "second"
    needed = HeldOutMoments(corpus=corpus, half=half)
    same = (pretraining.count, pretraining.seed) == (base.folds.count, base.folds.seed)
    if alone or pretraining.without != needed or not same:
        expected = f"count: {base.folds.count}, seed: {base.folds.seed}, index: null, without: {needed.model_dump()}"
        raise SettingsError(
            f"with --protocol paper, the {half} encoder must be pre-trained with folds: {{{expected}}}, "
            "because it is tested on the {half} half; give two: --encoder FIRST --encoder SECOND"
        )
    return [f"The {half} encoder was not pre-trained on the {half} half of the moments."]
