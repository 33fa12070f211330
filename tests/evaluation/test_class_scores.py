"""Several classes from end to end: the table of predictions, its scores, `scores`, `compare`, `predict`, the report."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

from emotune.cli.actions import crossval
from emotune.data.store import SegmentStore
from emotune.evaluation.class_scores import (
    PROBABILITY,
    WEIGHTED,
    class_decisions,
    class_level_scores,
    class_names,
    top_label_error,
)
from emotune.evaluation.crossval import read_cross_validation
from emotune.evaluation.export import export_network
from emotune.evaluation.held_out import PREDICTIONS_FILE, predictions_of
from emotune.evaluation.prediction import UNDECIDED, find_predictor, label_of
from emotune.report.predictions import classify_held_out
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from tests.evaluation.conftest import cross_validate, unimodal
from tests.support.commands import call

NAMES = ("rest", "stress", "fun")
CLASSES = ["low arousal, low valence", "high arousal, low valence", "high arousal, high valence"]
TASK = {"kind": "classify", "target": "condition", "classes": CLASSES, "hidden": (8,), "dropout": 0.1}


def table_of(*trials: tuple[str, str, int, list[tuple[float, ...]]]) -> pd.DataFrame:
    """Return a table from trials: person, session, label, and the weighted probabilities of each segment."""
    rows = [
        {
            **dict(
                corpus="made", subject=person, session=session, channel="II", start=10.0 * number, fold=0, label=label
            ),
            **{f"{PROBABILITY}{name}": value for name, value in zip(NAMES, values, strict=True)},
            **{f"{WEIGHTED}{name}": value for name, value in zip(NAMES, values, strict=True)},
        }
        for person, session, label, segments in trials
        for number, values in enumerate(segments)
    ]
    return pd.DataFrame(rows)


TABLE = table_of(
    ("a", "v1", 0, [(0.6, 0.3, 0.1), (0.2, 0.5, 0.3), (0.5, 0.4, 0.1)]),
    ("a", "v2", 1, [(0.1, 0.2, 0.7), (0.1, 0.8, 0.1)]),  # a tie of the votes: the means are .1, .5, .4
    ("b", "v1", 2, [(0.4, 0.35, 0.25)]),
)


def test_segments_are_scored_by_hand() -> None:
    scores = class_level_scores(TABLE, level="segments")
    assert class_names(TABLE) == NAMES
    assert scores.confusion == {
        "rest": {"rest": 2, "stress": 1, "fun": 0},
        "stress": {"rest": 0, "stress": 1, "fun": 1},
        "fun": {"rest": 1, "stress": 0, "fun": 0},
    }
    assert scores.pooled["accuracy"] == pytest.approx(3 / 6)
    assert scores.pooled["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert scores.pooled["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert scores.by_class["stress"]["precision"] == pytest.approx(1 / 2)
    assert scores.people[0].shares == {"rest": 0.6, "stress": 0.4, "fun": 0.0}
    assert "auc" not in scores.people[1].scores
    assert scores.values("accuracy") == {"made/a": 0.6, "made/b": 0.0}


def test_a_tie_of_the_votes_is_decided_by_the_mean() -> None:
    assert class_decisions(TABLE, level="vote").predicted.tolist() == [0, 1, 0]
    assert class_decisions(TABLE, level="mean").predicted.tolist() == [0, 1, 0]


def test_the_scores_of_a_large_table_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    labels, values = random.integers(0, 3, 200), random.dirichlet(np.ones(3), 200)
    table = table_of(*(("a", "v", int(label), [tuple(row)]) for label, row in zip(labels, values, strict=True)))
    scores = class_level_scores(table, level="segments")
    expected = confusion_matrix(labels, values.argmax(axis=1))
    assert [list(row.values()) for row in scores.confusion.values()] == expected.tolist()
    assert scores.pooled["auc"] == pytest.approx(roc_auc_score(labels, values, multi_class="ovr"))
    assert scores.ece == pytest.approx(top_label_error(values, labels=labels))
    assert 0.2 < top_label_error(values, labels=labels) < 0.5


@pytest.fixture(scope="module")
def finished(stores: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> SearchFolder:
    """A cross-validation of three of the four conditions of a generated store, by person."""
    folder = SearchFolder.of("three", storage=LocalStorage(tmp_path_factory.mktemp("results")))
    folds = {"by": "subject", "count": 2, "validation": 0}
    cross_validate(unimodal(stores["ecg"], task=TASK, folds=folds), folder, shuffled=True)
    result = read_cross_validation(read_journal(folder.journal))
    folder.storage.write(crossval.RESULT_FILE, result.model_dump_json().encode())
    predictions_of(folder)
    return folder


def test_the_table_has_a_probability_for_each_class_and_the_scores_of_the_journal(
    finished: SearchFolder, stores: dict[str, Path]
) -> None:
    table, store = predictions_of(finished), SegmentStore.open(stores["ecg"])
    assert class_names(table) == tuple(CLASSES)
    assert len(table) == store.index["condition"].isin(CLASSES).sum()
    for prefix in (PROBABILITY, WEIGHTED):
        assert table[[f"{prefix}{name}" for name in CLASSES]].sum(axis=1).to_numpy() == pytest.approx(1.0)
    for fold in read_cross_validation(read_journal(finished.journal)).folds:
        scores = class_level_scores(table[table["fold"] == fold.fold], level="segments")
        for metric in ("accuracy", "macro_f1", "balanced_accuracy"):
            assert scores.pooled[metric] == pytest.approx(fold.metrics[metric]), metric
        assert scores.ece == pytest.approx(fold.metrics["ece"], abs=1e-6)


def test_scores_prints_the_confusion_of_the_classes_by_name(finished: SearchFolder) -> None:
    printed = call("scores", "three", folder=finished).stdout
    assert all(name in " ".join(printed.split()) for name in ("segments by label", "precision", "mean over 4 people"))
    document = json.loads(call("scores", "three", "--json", folder=finished).stdout)
    assert document["classes"] == CLASSES
    segments = document["levels"]["segments"]
    assert sum(sum(row.values()) for row in segments["confusion"].values()) == segments["count"]


def test_compare_tests_the_people_of_two_runs_of_classes(finished: SearchFolder) -> None:
    other = SearchFolder.of("other", storage=LocalStorage(finished.path.parent))
    shutil.copytree(finished.path, other.path)
    assert (other.path / PREDICTIONS_FILE).is_file()
    document = json.loads(call("compare", "three", "other", "--json", folder=finished).stdout)
    assert document["people_tests"]["other"]["segments"]["accuracy"]["test"]["difference"]["mean"] == 0


def test_the_report_has_a_confusion_matrix_of_the_classes(finished: SearchFolder) -> None:
    result = classify_held_out(read_journal(finished.journal), folder=finished)
    assert result.names == tuple(CLASSES)
    assert np.array(result.confusion).shape == (3, 3)
    assert sum(map(sum, result.confusion)) == result.segments
    assert sum(part.segments for part in result.bins) == result.segments


def test_predict_names_the_classes(finished: SearchFolder, stores: dict[str, Path]) -> None:
    predictor = find_predictor(str(finished.path), storage=LocalStorage(finished.path.parent), find_checkpoint=refuse)
    assert predictor.class_names == tuple(CLASSES)
    assert predictor.shares is not None
    assert sum(predictor.shares) == pytest.approx(1.0)
    probabilities = predictor.probabilities(np.array(SegmentStore.open(stores["ecg"]).signal[:5]))
    assert probabilities.shape == (5, 3)
    assert probabilities.sum(axis=1) == pytest.approx(1.0)


def test_an_exported_classifier_has_an_output_for_each_class(finished: SearchFolder, tmp_path: Path) -> None:
    checkpoint = next(finished.checkpoints(0).local("").glob("epoch-*"))
    summary = export_network(checkpoint, to=tmp_path / "out", format="pt2", name="three")
    assert summary.difference < 1e-5


@pytest.mark.parametrize(
    ("probabilities", "label"), [((0.2, 0.5, 0.3), "stress"), ((0.3, 0.45, 0.25), UNDECIDED), ((0.1, 0.0, 0.9), "fun")]
)
def test_a_class_is_named_if_it_is_clearly_the_likeliest(probabilities: tuple[float, ...], label: str) -> None:
    assert label_of(probabilities, names=NAMES) == label


def refuse(source: str, *, storage: object) -> Path:
    raise AssertionError((source, storage))
