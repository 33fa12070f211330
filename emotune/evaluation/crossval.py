"""A cross-validation is a study that searches nothing: a configuration per fold, and per fold with shuffled labels."""

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


@dataclass(frozen=True)
class Protocol:
    """What stays together on one side of a fold, and what a result by it can and cannot say."""

    by: FoldUnit
    sentence: str


PROTOCOLS: dict[ProtocolName, Protocol] = {
    "paper": Protocol(
        "moment",
        "Folds by segment, as in the papers: neighbouring seconds of a video, with the same label, stand on both "
        "sides, and so do all subjects and videos. A result says how well a model recognises a state of known people "
        "in known videos from other seconds of it; it can be high by recognising the recording alone. Compare it with "
        "the protocols trial and subject.",
    ),
    "trial": Protocol(
        "trial",
        "Folds by trial: no subject's video is on both sides, but all subjects and all videos may be. What is known "
        "of a person from other videos, and of a video from other people, helps.",
    ),
    "video": Protocol(
        "video",
        "Folds by video: no video is on both sides, whoever saw it; all subjects are. What is known of a person helps.",
    ),
    "subject": Protocol(
        "subject",
        "Folds by subject: nobody is on both sides. What remains is how a video is rated on the whole: it is on both "
        "sides, seen by others.",
    ),
}


class FoldResult(Settings):
    """One fold, measured on its test segments after the last epoch."""

    fold: int
    config_id: int
    metrics: dict[str, float]


class CrossValidation(Settings):
    """All folds of a cross-validation. Means and intervals are computed, never stored."""

    name: str
    protocol: ProtocolName
    target: str
    count: int
    """Number of folds."""
    folds: tuple[FoldResult, ...]
    shuffled: tuple[FoldResult, ...] = ()
    """The same with labels dealt anew among the training segments."""
    majority: tuple[FoldResult, ...] = ()
    """Always the more frequent label of the training segments."""
    notes: tuple[str, ...] = Field(default=())
    """What the result can and cannot say."""

    def interval(self, metric: str, *, of: Literal["folds", "shuffled", "majority"] = "folds") -> Interval | None:
        """Return mean and interval of a metric; None if there are no such folds."""
        values = [one.metrics[metric] for one in getattr(self, of)]
        return mean_interval(values) if values else None

    def compare(self, other: "CrossValidation", *, metric: str) -> Comparison:
        """Test whether another one is better, fold by fold.

        Raises:
            SettingsError: They are not made of the same folds.
        """
        if (self.protocol, self.count, self.target) != (other.protocol, other.count, other.target):
            raise SettingsError(
                f"{self.name} ({self.protocol}, {self.count} folds, {self.target}) and {other.name} ({other.protocol}, "
                f"{other.count} folds, {other.target}) are not made of the same folds; a paired test needs that"
            )
        mine, theirs = ({one.fold: one.metrics[metric] for one in many.folds} for many in (self, other))
        both = sorted(mine.keys() & theirs.keys())
        return paired_t_test([mine[fold] for fold in both], [theirs[fold] for fold in both])


def cross_validation_study(
    experiment: Experiment, *, protocol: ProtocolName, folds: int, shuffled: bool = True
) -> Study:
    """Return the study that carries out a cross-validation.

    Nothing validates: the published number of epochs is trained and the last epoch counts. What was
    tuned must have been tuned on training segments, or elsewhere.

    Args:
        experiment: What is done in each fold; its folds' ``seed`` and ``channels`` are kept.
        protocol: What stays together.
        folds: Number of folds.
        shuffled: Do each fold once more with shuffled labels. Not done with features: the models that
            made them have seen the true labels, so that the result would not be one of chance.
    """
    parts = {"by": PROTOCOLS[protocol].by, "count": folds, "index": 0, "validation": 0.0}
    base = experiment.model_copy(update={"folds": experiment.folds.model_copy(update=parts)})
    hyperparameters = [{"name": "folds.index", "type": "ordinal", "sequence": list(range(folds))}]
    features = experiment.model.kind == "features"
    if features:
        hyperparameters.append({"name": "model.fold", "type": "ordinal", "sequence": list(range(folds))})
    labels = [False, True] if shuffled and not features else [False]
    hyperparameters.append({"name": "task.shuffled", "type": "categorical", "choices": labels, "default_value": False})
    names = [str(one["name"]) for one in hyperparameters]
    points: list[dict[str, Value]] = [
        {name: dealt if name == "task.shuffled" else fold for name in names}
        for dealt, fold in itertools.product(labels, range(folds))
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
    """Return the protocol of a cross-validation's study, as it is recorded."""
    by = Study.model_validate(study).base.folds.by
    return next(name for name, protocol in PROTOCOLS.items() if protocol.by == by)


def read_cross_validation(
    records: Sequence[Record], *, materials: Mapping[int, TrainingData] | None = None, notes: Sequence[str] = ()
) -> CrossValidation:
    """Gather the folds that are done from a journal.

    Args:
        records: The journal of a cross-validation.
        materials: What is learnt from in each fold, for the majority baseline.
        notes: What else there is to say.

    Raises:
        SettingsError: It is no cross-validation.
    """
    first = opened(records)
    if first.purpose != "fold":
        raise SettingsError(f"{first.name!r} is no cross-validation; make one with `emotune crossval`")
    base = Study.model_validate(first.study).base
    done: dict[bool, list[FoldResult]] = {False: [], True: []}
    for result in evaluation_results(records):
        if result.status != "done":
            continue
        values = result.evaluation.values
        metrics = last_metrics(records, result.evaluation.config_id)
        found = {name: value for name in METRICS if (value := metrics.get(f"test/{name}")) is not None}
        fold = FoldResult(fold=_fold(values), config_id=result.evaluation.config_id, metrics=found)
        done[bool(values["task.shuffled"])].append(fold)
    by_fold = {dealt: tuple(sorted(many, key=lambda one: one.fold)) for dealt, many in done.items()}
    protocol = protocol_of(first.study)
    return CrossValidation(
        name=first.name,
        protocol=protocol,
        target=getattr(base.task, "target", base.task.kind),
        count=base.folds.count,
        folds=by_fold[False],
        shuffled=by_fold[True],
        majority=tuple(majority(training_data, fold=fold) for fold, training_data in sorted((materials or {}).items())),
        notes=(PROTOCOLS[protocol].sentence, *notes),
    )


def _fold(values: Mapping[str, Value]) -> int:
    return int(str(values["folds.index"]))


def majority(training_data: TrainingData, *, fold: int) -> FoldResult:
    """Score the more frequent label of the training segments on the test segments."""
    assert training_data.labels is not None
    train, test = training_data.labels[training_data.fold.train], training_data.labels[training_data.fold.test]
    guess = float(train.mean() > 0.5)
    right = float(np.mean(test == guess))
    both = len(np.unique(test)) > 1
    # The F1 of the label that is always given is 2 r / (1 + r), the other's is 0.
    metrics = {"accuracy": right, "macro_f1": right / (1 + right), "balanced_accuracy": 0.5 if both else right / 2}
    return FoldResult(fold=fold, config_id=-1, metrics=metrics)


def check_encoders(
    base: Experiment, *, abouts: Mapping[str, Mapping[str, object]], corpora: Sequence[str]
) -> list[str]:
    """Tell whether the pre-trained encoders have seen what they are tested on.

    Args:
        base: The experiment of a cross-validation, with its folds.
        abouts: What each encoder's checkpoint says of itself.
        corpora: Where the labelled segments are from.

    Returns:
        A sentence for each thing that a reader must know.

    Raises:
        SettingsError: By the papers' protocol, an encoder has seen moments that it is tested on.
    """
    notes = []
    for which, about in abouts.items():
        seen = sorted(set(corpora) & set(about.get("corpora", ())))  # type: ignore[arg-type]
        if not seen:
            notes.append(f"The {_called(which, abouts)} encoder was pre-trained on other corpora.")
            continue
        notes += _check_seen(base, which=which, about=about, corpus=", ".join(seen), alone=len(abouts) == 1)
    return notes


def _called(which: str, abouts: Mapping[str, object]) -> str:
    return "pre-trained" if len(abouts) == 1 else {"encoder": "first", "second": "second"}[which]


def _check_seen(base: Experiment, *, which: str, about: Mapping[str, object], corpus: str, alone: bool) -> list[str]:
    pretraining = Experiment.model_validate(about["experiment"]).folds
    if base.folds.by != "moment":
        return [
            f"The encoder was pre-trained, without labels, on signals of {corpus} too, those of test people among "
            "them. A result for new people needs an encoder that has not seen them."
        ]
    half: Literal["first", "second"] = "first" if which == "encoder" else "second"
    needed = HeldOutMoments(corpus=corpus, half=half)
    same = (pretraining.count, pretraining.seed) == (base.folds.count, base.folds.seed)
    if alone or pretraining.without != needed or not same:
        wanted = f"count: {base.folds.count}, seed: {base.folds.seed}, index: null, without: {needed.model_dump()}"
        raise SettingsError(
            f"by the protocol paper, the {half} of two encoders must be pre-trained with folds: {{{wanted}}}, for it "
            "is tested on that half. Give two: --encoder FIRST --encoder SECOND"
        )
    return [f"The {_called(which, {'encoder': 0, 'second': 0})} encoder has not seen the {half} half of the moments."]
