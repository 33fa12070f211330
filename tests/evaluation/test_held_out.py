"""The table of out-of-fold predictions: what it holds, `emotune scores`, and `compare` over people."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emotune.cli.actions import crossval
from emotune.data.folds import unit_keys
from emotune.data.store import SegmentStore
from emotune.errors import DamageError, SettingsError
from emotune.evaluation.crossval import read_cross_validation
from emotune.evaluation.held_out import PREDICTIONS_FILE, kept_predictions, predictions_of
from emotune.evaluation.held_out_scores import COLUMNS, decisions, level_scores, scores_of
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from tests.evaluation.conftest import cross_validate, unimodal
from tests.support.commands import call

Pair = tuple[SearchFolder, SearchFolder]


@pytest.fixture
def copied(pair: Pair, tmp_path: Path) -> SearchFolder:
    """The cross-validation on ECG, with the results of its folds, in a folder that the test may change."""
    folder = SearchFolder.of("ecg-cv", storage=LocalStorage(tmp_path / "results"))
    shutil.copytree(pair[0].path, folder.path)
    result = read_cross_validation(read_journal(folder.journal))
    folder.storage.write(crossval.RESULT_FILE, result.model_dump_json().encode())
    return folder


def test_every_segment_is_predicted_once_by_the_fold_that_did_not_train_on_it(
    copied: SearchFolder, stores: dict[str, Path]
) -> None:
    table = predictions_of(copied)
    store = SegmentStore.open(stores["ecg"])
    assert list(table.columns) == list(COLUMNS)
    assert sorted(unit_keys(table, by="moment")) == sorted(unit_keys(store.index, by="moment"))
    assert set(table["fold"]) == {0, 1, 2}
    assert table["probability"].between(0, 1).all()


def test_the_table_has_the_test_scores_of_the_journal(copied: SearchFolder) -> None:
    table = predictions_of(copied)
    for fold in read_cross_validation(read_journal(copied.journal)).folds:
        part = table[table["fold"] == fold.fold]
        scores = scores_of(decisions(part, level="segments"))
        for metric in ("accuracy", "macro_f1", "balanced_accuracy"):
            assert scores[metric] == pytest.approx(fold.metrics[metric]), metric
        assert level_scores(part, level="segments").ece == pytest.approx(fold.metrics["ece"], abs=1e-6)


def test_the_table_is_computed_once_and_kept(copied: SearchFolder) -> None:
    assert kept_predictions(copied) is None
    first = predictions_of(copied)
    shutil.rmtree(copied.path / "configurations")
    pd.testing.assert_frame_equal(predictions_of(copied), first)
    (copied.path / PREDICTIONS_FILE).write_bytes(b"PAR1 torn")
    with pytest.raises(DamageError, match=r"predictions.parquet is damaged: .*; remove it, and it is computed again"):
        predictions_of(copied)


def test_a_fine_tuning_has_a_table_of_its_test_people(stores: dict[str, Path], tmp_path: Path) -> None:
    folder = SearchFolder.of("tuned", storage=LocalStorage(tmp_path / "results"))
    folds = {"by": "subject", "validation": 0.4, "test": {"subjects": ["s002", "s003"]}}
    cross_validate(unimodal(stores["ecg"], folds=folds), folder, single=True)
    document = json.loads(call("scores", "tuned", "--json", folder=folder).stdout)
    people = document["levels"]["segments"]["people"]
    assert [part["person"] for part in people] == ["synthetic/s002", "synthetic/s003"]
    assert document["levels"]["mean"]["count"] == 8


def test_scores_are_printed_and_written(copied: SearchFolder, tmp_path: Path) -> None:
    result = call("scores", "ecg-cv", "--csv", str(tmp_path / "segments.csv"), folder=copied)
    assert "mean over 4 people, with 95 % interval" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("synthetic/")]
    assert [row[:3] for row in rows] == [[f"synthetic/s00{number}", "32", "50%"] for number in range(1, 5)]
    assert "trials, vote" in result.stdout
    assert f"predictions: {copied.path / PREDICTIONS_FILE}" in result.stderr
    written = pd.read_csv(tmp_path / "segments.csv")
    assert np.allclose(written["probability"], predictions_of(copied)["probability"])


def test_runs_are_compared_over_people_and_those_without_a_table_are_named(copied: SearchFolder) -> None:
    second = SearchFolder(copied.root, "other")
    shutil.copytree(copied.path, second.path)
    table = predictions_of(copied)
    before = call("compare", "ecg-cv", "other", folder=copied)
    assert "other keeps no predictions.parquet; `emotune scores other` computes it" in before.stderr
    raised = table.assign(weighted_probability=table["label"].astype(float))
    raised.to_parquet(second.path / PREDICTIONS_FILE)
    document = json.loads(call("compare", "ecg-cv", "other", "--json", folder=copied).stdout)
    first = level_scores(table, level="segments").over_people["accuracy"].mean
    test = document["people_tests"]["other"]["segments"]["accuracy"]
    assert test["people"] == 4
    assert test["test"]["difference"]["mean"] == pytest.approx(1 - first)
    assert document["corrected_tests"]["ecg-cv"]["accuracy"]["p"] is None, "both have the same folds"
    printed = call("compare", "ecg-cv", "other", folder=copied).stdout
    assert "corrected (Nadeau-Bengio)" in printed
    assert "minus ecg-cv" in printed.split("mean over people")[1]


def test_what_has_no_test_segments_is_refused(pair: Pair, tmp_path: Path, stores: dict[str, Path]) -> None:
    del pair
    folder = SearchFolder.of("cut", storage=LocalStorage(tmp_path / "results"))
    cross_validate(unimodal(stores["ecg"]), folder, finish=False)
    with pytest.raises(SettingsError, match="'cut' is not finished"):
        call("scores", "cut", folder=folder)


def test_a_cross_validation_keeps_its_predictions_and_its_result_without_them(
    copied: SearchFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    crossval._keep_predictions(copied, baselines=None)
    assert "scores by person and by trial: emotune scores ecg-cv" in capsys.readouterr().err
    assert kept_predictions(copied) is not None
    (copied.path / PREDICTIONS_FILE).unlink()
    shutil.rmtree(copied.path / "configurations" / "00001")
    crossval._keep_predictions(copied, baselines=None)
    assert "predictions.parquet was not written: 'ecg-cv' has no undamaged checkpoint" in capsys.readouterr().err
    assert crossval.load_result(copied).count == 3
