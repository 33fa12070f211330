"""Cross-validation as a study: its folds, its baselines, and what is on both sides of a fold."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

from emotune.cli.actions.single_run import PAPER_FOLDS
from emotune.data.corpora.synthetic import Synthetic
from emotune.data.folds import Folds
from emotune.data.people import People, people_of
from emotune.data.prepare.prepare import PrepareOptions, prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.documents import load_document, parse
from emotune.errors import DataError, SettingsError
from emotune.evaluation.crossval import (
    PROTOCOLS,
    CrossValidation,
    FoldResult,
    ProtocolName,
    cross_validation_study,
    describe_classes,
    describe_gain,
    describe_sides,
    majority_baseline,
    protocol_of,
    unit_count,
)
from emotune.evaluation.encoder_overlap import check_encoders
from emotune.experiment import Experiment, deciding_settings
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


@pytest.mark.parametrize("protocol", [protocol for protocol in PROTOCOLS if protocol != "people"])
@pytest.mark.parametrize("folds", [2, 10])
def test_every_fold_is_done_once_and_once_with_shuffled_labels(protocol: ProtocolName, folds: int) -> None:
    study = cross_validation_study(tiny(), protocol=protocol, folds=folds)
    values = all_values(study)
    expected = {(fold, dealt) for fold in range(folds) for dealt in (False, True)}
    assert {(point["folds.index"], point["task.shuffled"]) for point in values} == expected
    assert len(values) == 2 * folds
    assert study.base.folds.by == PROTOCOLS[protocol].by
    assert study.base.folds.validation == 0
    assert Study.model_validate(study.as_document()).digest() == study.digest()


NAMED = {"test": {"subjects": ["s005", "s006"]}, "train": {"subjects": ["s001", "s002", "s003"]}}


def test_with_named_people_there_is_one_fold_and_one_with_shuffled_labels(store: SegmentStore) -> None:
    study = cross_validation_study(tiny(folds=NAMED), protocol="people", folds=None)
    assert [(point["folds.index"], point["task.shuffled"]) for point in all_values(study)] == [(0, False), (0, True)]
    assert protocol_of(study.as_document()) == "people"
    assert Study.model_validate(study.as_document()).digest() == study.digest()
    fold = study.base.training_data(store).fold
    people = [sorted(set(store.index["subject"].iloc[rows])) for rows in (fold.train, fold.val, fold.test)]
    assert people == [["s001", "s002", "s003"], [], ["s005", "s006"]]


@pytest.mark.parametrize(
    ("settings", "protocol", "folds", "message"),
    [
        ({}, "people", None, "--protocol people needs the names of the test people"),
        ({"folds": NAMED}, "people", 5, "--folds 5 was given, but --protocol people has one fold"),
        ({"folds": NAMED}, "subject", 5, "--protocol subject was given, but folds.test names the test people"),
        ({"folds": NAMED, "start": {"encoder": "a", "second": "b"}}, "people", None, "give one --encoder"),
    ],
)
def test_protocol_and_named_people_must_fit_together(
    settings: dict, protocol: ProtocolName, folds: int | None, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        cross_validation_study(tiny(**settings), protocol=protocol, folds=folds)


def test_experiments_without_named_people_have_the_digest_of_older_versions() -> None:
    settings = deciding_settings(tiny().model_dump(mode="json"))
    assert not {"test", "train", "calibration_minutes"} & settings["folds"].keys()
    assert tiny(folds=NAMED).digest() != tiny().digest()


def test_folds_can_have_values_of_their_own() -> None:
    tuned = [{"optim.lr": 0.01}, {"optim.lr": 0.02, "task.dropout": 0.5}, {"optim.lr": 0.01}]
    study = cross_validation_study(tiny(), protocol="subject", folds=3, tuned=tuned)
    values = all_values(study)
    assert len(values) == 6
    for point in values:
        assert point["optim.lr"] == tuned[point["folds.index"]]["optim.lr"]
        assert point["task.dropout"] == tuned[point["folds.index"]].get("task.dropout", TINY["task"]["dropout"])
    assert Study.model_validate(study.as_document()).digest() == study.digest()


def test_shuffled_labels_can_be_left_out() -> None:
    study = cross_validation_study(tiny(), protocol="subject", folds=5, shuffled=False)
    assert [point["folds.index"] for point in all_values(study)] == [0, 1, 2, 3, 4]


def make(path: Path, *, subjects: int, collection: str = "") -> SegmentStore:
    corpus, options = Synthetic(subjects=subjects, seconds_per_state=6.0), PrepareOptions(collection=collection)
    settings = PrepareSettings(seconds=1.0)
    prepare("synthetic", folder=None, store=path, settings=settings, corpus_settings=corpus, options=options)
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


def scores(experiment: Experiment, store: SegmentStore, *, protocol: ProtocolName, folds: int | None) -> list[float]:
    study = cross_validation_study(experiment, protocol=protocol, folds=folds)
    accuracies = []
    for values in all_values(study):
        if values["task.shuffled"]:
            continue
        chosen = study.base.with_values(values)
        training_data = chosen.training_data(store)
        state = train_until(chosen.begin(training_data), training_data, chosen, until=chosen.epochs)
        accuracies.append(
            evaluate(state.objective, training_data, training_data.fold.test, prefix="test")["test/balanced_accuracy"]
        )
    return accuracies


def test_labels_that_name_the_subjects_score_at_chance_by_subject_and_high_by_segment(
    store_with: Callable[[np.ndarray], SegmentStore], store: SegmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # 20 trainings: checks of shapes double their time
    number = store.index["subject"].str[1:].astype(int).to_numpy()
    leaky = store_with(1.0 + 8.0 * (number % 2))
    # Each subject has a sine of another frequency, so that subjects can be recognised, and labels of new ones cannot.
    time = np.arange(store.signal.shape[2]) / store.rate
    sines = np.sin(2 * np.pi * (1 + 4 * number)[:, None, None] * time)
    signal = 0.2 * np.asarray(store.signal) + sines
    marked = SegmentStore(path=leaky.path, signal=signal.astype(np.float32), index=leaky.index, about=leaky.about)
    experiment = tiny(epochs=20, batch_size=8)
    by_subject = scores(experiment, marked, protocol="subject", folds=3)
    by_segment = scores(experiment, marked, protocol="paper", folds=3)
    by_name = [
        scores(tiny(epochs=20, batch_size=8, folds={"test": {"subjects": pair}}), marked, protocol="people", folds=None)
        for pair in (["s001", "s002"], ["s003", "s004"], ["s005", "s006"])
    ]
    one_out = scores(experiment, marked, protocol="subject", folds=unit_count(experiment, marked, protocol="subject"))
    corpora = replace(marked, index=marked.index.assign(corpus=np.where(number <= 3, "one", "two")))
    by_corpus = scores(experiment, corpora, protocol="corpus", folds=2)
    probe = tiny(epochs=20, batch_size=8, task={**TINY["task"], "frozen": True, "hidden": []})
    by_probe = scores(probe, marked, protocol="subject", folds=3)
    assert len(one_out) == 6
    assert np.mean(one_out) < 0.7
    assert np.mean(by_corpus) < 0.7
    assert np.mean(by_probe) < 0.7
    assert np.mean(by_name) < 0.7
    assert np.mean(by_subject) < 0.7
    assert np.mean(by_segment) > 0.9


@pytest.mark.parametrize(("protocol", "count"), [("subject", 6), ("trial", 24), ("video", 4), ("corpus", 1)])
def test_all_folds_are_as_many_as_there_are_units_with_labels(
    store: SegmentStore, protocol: ProtocolName, count: int
) -> None:
    assert unit_count(tiny(), store, protocol=protocol) == count
    half = replace(store, index=store.index.assign(rating_valence=store.index["rating_valence"].where(
        store.index["subject"] <= "s003")))  # fmt: skip
    assert unit_count(tiny(), half, protocol=protocol) == {"subject": 3, "trial": 12}.get(protocol, count)


def test_one_subject_is_tested_in_each_fold_if_there_are_as_many_folds_as_subjects(store: SegmentStore) -> None:
    study = cross_validation_study(tiny(), protocol="subject", folds=6)
    tested = [
        store.index["subject"].iloc[study.base.in_fold(fold).training_data(store).fold.test].unique().tolist()
        for fold in range(6)
    ]
    assert sorted(tested) == [[f"s{number:03d}"] for number in range(1, 7)]


@pytest.mark.parametrize("protocol", ["paper", "people"])
def test_all_folds_need_units(store: SegmentStore, protocol: ProtocolName) -> None:
    with pytest.raises(SettingsError, match=f"--folds all was given with --protocol {protocol}"):
        unit_count(tiny(), store, protocol=protocol)


def test_shuffled_labels_are_those_of_the_training_segments_only(store: SegmentStore) -> None:
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


@pytest.mark.parametrize(
    ("test", "expected"),
    [([1, 1, 0, 1], (0.75, 3 / 7, 0.5)), ([0, 0], (0.0, 0.0, 0.0)), ([1, 1], (1.0, 1.0, 1.0))],
)
def test_the_majority_label_is_that_of_the_training_segments(
    store: SegmentStore, test: list[int], expected: tuple[float, ...]
) -> None:
    labels = np.full(len(store), np.nan)
    labels[:3], labels[3 : 3 + len(test)] = [1, 1, 0], test
    fold = tiny().training_data(store).fold
    part = type(fold)(train=np.arange(3), val=np.arange(0), test=np.arange(3, 3 + len(test)))
    metrics = majority_baseline(TrainingData(store=store, fold=part, labels=labels), fold=0).metrics
    assert (metrics["accuracy"], metrics["macro_f1"], metrics["balanced_accuracy"]) == pytest.approx(expected)


def result(values: list[float], **changes: object) -> CrossValidation:
    folds = tuple(FoldResult(fold=n, config_id=n, metrics={"accuracy": value}) for n, value in enumerate(values))
    content = {"name": "a", "protocol": "subject", "target": "valence", "count": len(values), "folds": folds}
    return CrossValidation.model_validate(content | changes)


def test_cross_validations_of_equal_folds_are_compared_fold_by_fold() -> None:
    first, second = result([0.5, 0.6, 0.7]), result([0.6, 0.71, 0.79], name="b")
    test = first.compare(second, metric="accuracy")
    assert test.difference.mean == pytest.approx(0.1)
    assert test.p is not None
    assert test.p < 0.01
    with pytest.raises(SettingsError, match=r"a \(subject, 3 folds, valence\) and b \(paper"):
        first.compare(result([0.5, 0.6, 0.7], name="b", protocol="paper"), metric="accuracy")


def folds_of(store: SegmentStore, *, protocol: ProtocolName, folds: int = 3) -> tuple[Folds, dict[int, TrainingData]]:
    base = cross_validation_study(tiny(), protocol=protocol, folds=folds).base
    return base.folds, {fold: base.in_fold(fold).select(store) for fold in range(folds)}


def described(store: SegmentStore, *, corpus: str = "synthetic", subjects: int = 6, **folds: object) -> dict:
    """Return the description of an encoder that was pre-trained on the first subjects of the store."""
    rows = np.flatnonzero(store.index["subject"].str[1:].astype(int) <= subjects)
    return {
        "corpora": [corpus],
        "people": people_of(store, rows).model_dump(mode="json"),
        "experiment": tiny(folds=folds).model_dump(mode="json"),
    }


def test_by_the_papers_protocol_an_encoder_pretrained_on_its_test_segments_is_refused(store: SegmentStore) -> None:
    folds, data = folds_of(store, protocol="paper")
    halves = {
        name: described(store, count=3, index=None, without={"corpus": "synthetic", "half": half})
        for name, half in (("encoder", "first"), ("second", "second"))
    }
    assert len(check_encoders(data, folds=folds, descriptions=halves)) == 2
    swapped = {"encoder": halves["second"], "second": halves["encoder"]}
    for bad in ({"encoder": halves["encoder"]}, swapped, {"encoder": described(store)}):
        with pytest.raises(SettingsError, match="must be pre-trained with folds"):
            check_encoders(data, folds=folds, descriptions=bad)


def test_the_examples_without_a_half_are_what_the_papers_protocol_accepts(store: SegmentStore) -> None:
    amigos = replace(store, index=store.index.assign(corpus="amigos"))
    folds, data = folds_of(amigos, protocol="paper", folds=PAPER_FOLDS)
    descriptions = {}
    for role, half in (("encoder", "first"), ("second", "second")):
        path = Path(__file__).parents[2] / "examples" / f"pretrain_without_{half}.yaml"
        pretraining = parse(load_document(path), Experiment)
        fold = pretraining.select(amigos).fold
        assert not len(fold.val)
        assert not len(fold.test)
        descriptions[role] = {
            "corpora": ["amigos", "dreamer"],
            "people": people_of(amigos, fold.train).model_dump(mode="json"),
            "experiment": pretraining.model_dump(mode="json"),
        }
        tested = [data[number].fold.test for number in range(PAPER_FOLDS) if (number < 5) == (half == "first")]
        assert not np.intersect1d(fold.train, np.concatenate(tested)).size
    assert check_encoders(data, folds=folds, descriptions=descriptions) == [
        "The first encoder was not pre-trained on the first half of the moments.",
        "The second encoder was not pre-trained on the second half of the moments.",
    ]


@pytest.mark.parametrize("protocol", ["paper", "subject"])
def test_an_encoder_of_other_people_of_the_same_corpus_is_accepted(store: SegmentStore, protocol: ProtocolName) -> None:
    folds, data = folds_of(store, protocol=protocol)
    other = described(store) | {"people": People(identities=("1",), names=("2",)).model_dump()}
    assert check_encoders(data, folds=folds, descriptions={"encoder": other}) == [
        "The pre-trained encoder was pre-trained on other people."
    ]
    alike = other | {"people": {"identities": ["1"], "names": described(store)["people"]["names"]}}
    (note,) = check_encoders(data, folds=folds, descriptions={"encoder": alike})
    assert "6 people with the same names as test people, from a folder with other files" in note
    assert "--collection NAME" in note


def test_by_subject_a_note_counts_the_test_people_in_the_pretraining(store: SegmentStore) -> None:
    folds, data = folds_of(store, protocol="subject")
    (note,) = check_encoders(data, folds=folds, descriptions={"encoder": described(store, subjects=2)})
    assert "on signals of 2 of the 6 test people" in note
    old = {name: value for name, value in described(store).items() if name != "people"}
    (note,) = check_encoders(data, folds=folds, descriptions={"encoder": old})
    assert "signals of synthetic, perhaps including those of test people" in note


def test_what_is_on_both_sides_is_counted_from_the_segments(store: SegmentStore) -> None:
    _, by_subject = folds_of(store, protocol="subject")
    people, videos = describe_sides(by_subject)
    assert people == "In all folds together, 0 of 6 test subjects are in the training segments of their fold too."
    assert "12 of 12 test videos are" in videos
    index = store.index.assign(session=store.index["subject"] + store.index["session"])
    own_videos = SegmentStore(path=store.path, signal=store.signal, index=index, about=store.about)
    _, by_video = folds_of(own_videos, protocol="video")
    people, videos = describe_sides(by_video)
    assert "0 of 24 test videos are" in videos
    assert "known people" in people
    apart = index.assign(subject=index["session"])
    _, disjoint = folds_of(
        SegmentStore(path=store.path, signal=store.signal, index=apart, about=store.about), protocol="video"
    )
    assert describe_sides(disjoint)[0].startswith("In all folds together, 0 of 24 test subjects are")


def test_folds_whose_test_segments_have_one_label_are_named(
    store_with: Callable[[np.ndarray], SegmentStore], store: SegmentStore
) -> None:
    _, data = folds_of(store, protocol="subject")
    assert describe_classes(data) == []
    labels = data[0].labels
    assert labels is not None
    single = np.where(np.isin(np.arange(len(store)), data[0].fold.test), 1.0, labels)
    (note,) = describe_classes({0: replace(data[0], labels=single), 1: data[1]})
    assert note.startswith("The test segments of fold 0 have one label only. There, as in scikit-learn")


@pytest.mark.parametrize(("gain", "verdict"), [(0.3, "beyond noise"), (0.01, "within noise")])
def test_the_difference_from_the_majority_label_is_compared_with_its_interval(gain: float, verdict: str) -> None:
    baseline = [0.4, 0.5, 0.6]
    noise = [0.05, -0.05, 0.02]
    ours = [value + gain + shift for value, shift in zip(baseline, noise, strict=True)]
    series = {
        name: tuple(FoldResult(fold=n, config_id=n, metrics={"macro_f1": value}) for n, value in enumerate(values))
        for name, values in (("folds", ours), ("majority", baseline))
    }
    sentence = describe_gain(result([0.5, 0.6, 0.7], **series))
    assert sentence is not None
    assert sentence.endswith(f"{verdict}.")


def test_the_best_epoch_cannot_be_kept_without_validation_segments() -> None:
    with pytest.raises(SettingsError, match="keep: best was given, but a cross-validation has no validation segments"):
        cross_validation_study(tiny(keep="best"), protocol="subject", folds=3)


def test_with_a_partner_only_shared_moments_are_used(store: SegmentStore, tmp_path: Path) -> None:
    make(tmp_path / "partner", subjects=4)
    training_data = tiny(partner=str(tmp_path / "partner"), folds={"count": 3}).training_data(store)
    used = np.concatenate([training_data.fold.train, training_data.fold.val, training_data.fold.test])
    assert set(store.index.iloc[used]["subject"]) == {"s001", "s002", "s003", "s004"}
    assert len(used) == len(store) * 4 // 6
    wrong = tiny(partner=str(tmp_path / "partner"), partner_fingerprint="0" * 64)
    with pytest.raises(DataError, match="partner has the fingerprint"):
        wrong.training_data(store)
    make(tmp_path / "ward", subjects=4, collection="ward")
    with pytest.raises(SettingsError, match="ward have no person in common"):
        tiny(partner=str(tmp_path / "ward"), folds={"count": 3}).training_data(store)
