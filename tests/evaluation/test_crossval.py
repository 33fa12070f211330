"""Cross-validation as a study: which folds, what is measured, what can leak."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.errors import DataError, SettingsError
from emotune.evaluation.crossval import (
    PROTOCOLS,
    CrossValidation,
    FoldResult,
    ProtocolName,
    check_encoders,
    cross_validation_study,
    majority_baseline,
)
from emotune.experiment import Experiment
from emotune.search.optimizer import Optimizer
from emotune.study.resume import make_optimizer
from emotune.study.study import Study
from emotune.training.loop import TrainingData, evaluate
from tests.support.training import train_until

TINY = {
    "model": {"channels": [8], "kernels": [9], "feedforward": 16, "layers": 1, "heads": 1, "attention_dropout": 0.0},
    "task": {"kind": "classify", "target": "valence", "hidden": [16], "dropout": 0.0},
    "optim": {"lr": 5e-3, "warmup_epochs": 0, "weight_decay": 0.0},
    "epochs": 6,
    "batch_size": 16,
}


def tiny(**changes: object) -> Experiment:
    return Experiment.model_validate(TINY | changes)


def all_values(study: Study) -> list[dict]:
    optimizer: Optimizer = make_optimizer(study, records=[], concurrency=2)
    values = []
    while (evaluation := optimizer.ask()) is not None:
        values.append(evaluation.values)
        assert (evaluation.from_epoch, evaluation.to_epoch) == (0, study.base.epochs)
        optimizer.tell(evaluation.id, 1.0)
    return values


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
@pytest.mark.parametrize("folds", [2, 10])
def test_every_fold_is_done_once_and_once_with_shuffled_labels(protocol: ProtocolName, folds: int) -> None:
    study = cross_validation_study(tiny(), protocol=protocol, folds=folds)
    values = all_values(study)
    expected = {(fold, dealt) for fold in range(folds) for dealt in (False, True)}
    assert {(one["folds.index"], one["task.shuffled"]) for one in values} == expected
    assert len(values) == 2 * folds
    assert study.base.folds.by == PROTOCOLS[protocol].by
    assert study.base.folds.validation == 0
    assert Study.model_validate(study.as_document()).digest() == study.digest()


def test_shuffled_labels_can_be_left_out() -> None:
    study = cross_validation_study(tiny(), protocol="subject", folds=5, shuffled=False)
    assert [one["folds.index"] for one in all_values(study)] == [0, 1, 2, 3, 4]


def make(path: Path, *, subjects: int) -> SegmentStore:
    corpus = Synthetic(subjects=subjects, seconds_per_state=6.0)
    prepare("synthetic", folder=None, store=path, settings=PrepareSettings(seconds=1.0), corpus_settings=corpus)
    return SegmentStore.open(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SegmentStore:
    return make(tmp_path_factory.mktemp("stores") / "made up", subjects=6)


@pytest.fixture
def store_with(store: SegmentStore) -> Callable[[np.ndarray], SegmentStore]:
    """The store of six subjects with other ratings of valence."""

    def make(ratings: np.ndarray) -> SegmentStore:
        index = store.index.assign(rating_valence=ratings)
        return SegmentStore(path=store.path, signal=store.signal, index=index, about=store.about)

    return make


def scores(experiment: Experiment, store: SegmentStore, *, protocol: ProtocolName, folds: int) -> list[float]:
    study = cross_validation_study(experiment, protocol=protocol, folds=folds)
    found = []
    for values in all_values(study):
        if values["task.shuffled"]:
            continue
        chosen = study.base.with_values(values)
        training_data = chosen.training_data(store)
        state = train_until(chosen.begin(training_data), training_data, chosen, until=chosen.epochs)
        found.append(
            evaluate(state.objective, training_data, training_data.fold.test, prefix="test")["test/balanced_accuracy"]
        )
    return found


def test_a_store_whose_labels_name_the_subjects_scores_at_chance_by_subject_and_high_by_segment(
    store_with: Callable[[np.ndarray], SegmentStore], store: SegmentStore
) -> None:
    number = store.index["subject"].str[1:].astype(int).to_numpy()
    leaky = store_with(1.0 + 8.0 * (number % 2))
    # A hum of the subject's own tells who it is; nothing tells the label of somebody new.
    time = np.arange(store.signal.shape[2]) / store.rate
    hum = np.sin(2 * np.pi * (1 + 4 * number)[:, None, None] * time)
    signal = 0.2 * np.asarray(store.signal) + hum
    told = SegmentStore(path=leaky.path, signal=signal.astype(np.float32), index=leaky.index, about=leaky.about)
    experiment = tiny(epochs=20, batch_size=8)
    by_subject = scores(experiment, told, protocol="subject", folds=3)
    by_segment = scores(experiment, told, protocol="paper", folds=3)
    assert np.mean(by_subject) < 0.7
    assert np.mean(by_segment) > 0.9


def test_shuffled_labels_are_those_of_the_training_segments_and_no_other(store: SegmentStore) -> None:
    experiment = tiny()
    plain = experiment.training_data(store)
    shuffled = experiment.with_values({"task.shuffled": True}).training_data(store)
    assert plain.labels is not None
    assert shuffled.labels is not None
    train = plain.fold.train
    assert np.array_equal(shuffled.fold.train, train)
    assert not np.array_equal(shuffled.labels[train], plain.labels[train])
    assert shuffled.labels[train].sum() == plain.labels[train].sum()
    others = np.setdiff1d(np.arange(len(store)), train)
    assert np.array_equal(shuffled.labels[others], plain.labels[others], equal_nan=True)


@pytest.mark.parametrize(("test", "expected"), [([1, 1, 0, 1], (0.75, 3 / 7, 0.5)), ([0, 0], (0.0, 0.0, 0.0))])
def test_the_majority_label_is_that_of_the_training_segments(
    store: SegmentStore, test: list[int], expected: tuple[float, ...]
) -> None:
    labels = np.full(len(store), np.nan)
    labels[:3], labels[3 : 3 + len(test)] = [1, 1, 0], test
    fold = tiny().training_data(store).fold
    part = type(fold)(train=np.arange(3), val=np.arange(0), test=np.arange(3, 3 + len(test)))
    found = majority_baseline(TrainingData(store=store, fold=part, labels=labels), fold=0).metrics
    assert (found["accuracy"], found["macro_f1"], found["balanced_accuracy"]) == pytest.approx(expected)


def result(values: list[float], **changes: object) -> CrossValidation:
    folds = tuple(FoldResult(fold=n, config_id=n, metrics={"accuracy": one}) for n, one in enumerate(values))
    content = {"name": "a", "protocol": "subject", "target": "valence", "count": len(values), "folds": folds}
    return CrossValidation.model_validate(content | changes)


def test_cross_validations_of_the_same_folds_are_compared_fold_by_fold() -> None:
    first, second = result([0.5, 0.6, 0.7]), result([0.6, 0.71, 0.79], name="b")
    test = first.compare(second, metric="accuracy")
    assert test.difference.mean == pytest.approx(0.1)
    assert test.p is not None
    assert test.p < 0.01
    with pytest.raises(SettingsError, match=r"a \(subject, 3 folds, valence\) and b \(paper"):
        first.compare(result([0.5, 0.6, 0.7], name="b", protocol="paper"), metric="accuracy")


def about(*, corpora: list[str], **folds: object) -> dict:
    return {"corpora": corpora, "experiment": tiny(folds=folds).model_dump(mode="json")}


def test_by_the_papers_protocol_an_encoder_pretrained_on_its_test_segments_is_refused() -> None:
    base = cross_validation_study(tiny(), protocol="paper", folds=10).base
    halves = {
        name: about(corpora=["amigos", "dreamer"], count=10, index=None, without={"corpus": "amigos", "half": half})
        for name, half in (("encoder", "first"), ("second", "second"))
    }
    assert len(check_encoders(base, descriptions=halves, corpora=["amigos"])) == 2
    swapped = {"encoder": halves["second"], "second": halves["encoder"]}
    for bad in ({"encoder": halves["encoder"]}, swapped, {"encoder": about(corpora=["amigos"])}):
        with pytest.raises(SettingsError, match="must be pre-trained with folds"):
            check_encoders(base, descriptions=bad, corpora=["amigos"])
    elsewhere = check_encoders(base, descriptions={"encoder": about(corpora=["dreamer"])}, corpora=["amigos"])
    assert elsewhere == ["The pre-trained encoder was pre-trained on other corpora."]


def test_by_subject_a_note_says_that_test_subjects_were_in_the_pretraining() -> None:
    base = cross_validation_study(tiny(), protocol="subject", folds=10).base
    (note,) = check_encoders(base, descriptions={"encoder": about(corpora=["amigos"])}, corpora=["amigos"])
    assert "including those of the test subjects" in note


def test_with_a_partner_only_shared_moments_are_used(store: SegmentStore, tmp_path: Path) -> None:
    make(tmp_path / "partner", subjects=4)
    training_data = tiny(partner=str(tmp_path / "partner"), folds={"count": 3}).training_data(store)
    used = np.concatenate([training_data.fold.train, training_data.fold.val, training_data.fold.test])
    assert set(store.index.iloc[used]["subject"]) == {"s001", "s002", "s003", "s004"}
    assert len(used) == len(store) * 4 // 6
    wrong = tiny(partner=str(tmp_path / "partner"), partner_fingerprint="0" * 64)
    with pytest.raises(DataError, match="partner has the fingerprint"):
        wrong.training_data(store)
