"""What the page shows of held-out segments equals what training measured, and is left out with the reason."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from emotune.data.store import SegmentStore
from emotune.evaluation.statistics import mean_interval
from emotune.experiment import Experiment
from emotune.report import predictions
from emotune.report.content import Source, page_content
from emotune.report.data_summary import try_summary
from emotune.report.page import render_report
from emotune.report.predictions import DRAWN_SEGMENTS, classify_held_out, predict_masked, try_masked
from emotune.runtime.coordinator import Coordinator
from emotune.runtime.worker import Job, Worker
from emotune.search.criteria import StudyObjective
from emotune.search.records import Closed, Opened
from emotune.storage import LocalStorage
from emotune.study.definition import Budget
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal, read_journal
from emotune.study.results import last_metrics
from emotune.study.resume import make_optimizer
from emotune.study.study import Study
from emotune.training.loop import never_pause
from tests.evaluation.conftest import MODEL, cross_validate, make_store, unimodal

LR = {"name": "optim.lr", "type": "uniform_float", "lower": 1e-4, "upper": 1e-2, "log": True}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("stores") / "ecg", modality="ecg", subjects=5)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> LocalStorage:
    return LocalStorage(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def pretraining(store: Path, storage: LocalStorage) -> SearchFolder:
    return pretrain(store, SearchFolder.of("pretraining", storage=storage))


def pretrain(store: Path, folder: SearchFolder) -> SearchFolder:
    """Run a search with two configurations of one epoch, and return its folder."""
    base = {
        "store": str(store),
        "model": MODEL,
        "epochs": 2,
        "batch_size": 16,
        "task": {"kind": "masked_values", "head": 4},
    }
    base |= {"optim": {"warmup_epochs": 0}}
    study = Study(
        base=Experiment.model_validate(base), objective=StudyObjective(), budget=Budget(min=1, max=1, evaluations=2),
        searcher={"kind": "random"}, space={"hyperparameters": [LR]},
    )  # fmt: skip
    folder.path.mkdir()
    with Journal.open(folder.journal, owner="test") as journal:
        opened = Opened(
            time=0,
            name=folder.name,
            study=study.as_document(),
            digest=study.digest(),
            seed=0,
            concurrency=1,
            software={},
        )
        journal.append(opened)
        optimizer = make_optimizer(study, records=journal.records, concurrency=1)
        coordinator = Coordinator(optimizer, journal=journal, criteria=study.criteria)
        while (evaluation := coordinator.next_evaluation()) is not None:
            job = Job(
                evaluation_id=evaluation.id, config_id=evaluation.config_id, from_epoch=0, to_epoch=1,
                experiment=study.base.with_values(evaluation.values),
                checkpoints=folder.checkpoints(evaluation.config_id),
            )  # fmt: skip
            for report in Worker(job).work(never_pause):
                coordinator.report(evaluation.id, epoch=report.epoch, metrics=report.metrics)
            coordinator.complete(evaluation.id)
        coordinator.close(Closed(time=time.time(), state="finished"))
    return folder


@pytest.fixture(scope="module")
def finetuning(store: Path, storage: LocalStorage) -> SearchFolder:
    folder = SearchFolder.of("finetuning", storage=storage)
    cross_validate(unimodal(store, folds={"by": "subject", "count": 3, "validation": 0.3}), folder, single=True)
    return folder


@pytest.fixture(scope="module")
def folds(store: Path, storage: LocalStorage) -> SearchFolder:
    folder = SearchFolder.of("folds", storage=storage)
    cross_validate(unimodal(store), folder, shuffled=True)
    return folder


def test_the_drawn_segments_are_held_out_signals_of_different_people(pretraining: SearchFolder) -> None:
    segments = predict_masked(read_journal(pretraining.journal), folder=pretraining).drawn
    assert len(segments) == DRAWN_SEGMENTS
    for segment in segments:
        hidden = np.array([value is not None for value in segment.predicted])
        assert 0.2 < hidden.mean() < 0.8
        assert len(segment.signal) == len(segment.predicted) == 128
        predicted = np.array([value for value in segment.predicted if value is not None])
        signal = np.array(segment.signal)[hidden]
        assert np.isclose(segment.loss, np.mean((predicted - signal) ** 2), rtol=1e-2)


def test_r_peaks_and_errors_by_part_of_the_beat_are_those_of_the_held_out_segments(
    pretraining: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "peak_times", lambda signal, *, rate: (0.25,))
    result = predict_masked(read_journal(pretraining.journal), folder=pretraining)
    assert all(segment.peaks == (0.25,) for segment in result.drawn)
    page = page_content(Source(read_journal(pretraining.journal), folder=pretraining))["predictions"]
    assert page["waves"] == (None if result.waves is None else result.waves.model_dump(mode="json"))


def test_the_confusion_matrix_has_the_scores_of_the_journal(finetuning: SearchFolder) -> None:
    records = read_journal(finetuning.journal)
    result = classify_held_out(records, folder=finetuning)
    metrics = last_metrics(records, 0)
    assert result.part == "test"
    assert result.segments == result.of == sum(map(sum, result.confusion))
    for name in ("accuracy", "macro_f1", "balanced_accuracy"):
        assert result.scores[name] == pytest.approx(metrics[f"test/{name}"])
    assert sum(person.segments for person in result.people) == result.segments
    assert sum(part.segments for part in result.bins) == result.segments
    assert result.accuracy == mean_interval([person.accuracy for person in result.people])
    assert result.accuracy.half_width == pytest.approx(metrics["test/accuracy_half_width"])


def test_a_cross_validation_is_classified_by_the_network_of_each_fold(folds: SearchFolder, store: Path) -> None:
    result = classify_held_out(read_journal(folds.journal), folder=folds)
    assert result.classifiers == 3
    assert result.segments == len(np.load(store / "signal.npy", mmap_mode="r"))
    accuracies = [last_metrics(read_journal(folds.journal), config)["test/accuracy"] for config in range(3)]
    assert min(filter(None, accuracies)) <= result.scores["accuracy"] <= max(filter(None, accuracies))


def test_a_large_held_out_set_is_classified_in_part(folds: SearchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotune.report.predictions.MAX_SEGMENTS", 30)
    result = classify_held_out(read_journal(folds.journal), folder=folds)
    assert result.segments == 30
    assert result.of > 30


def test_the_data_are_those_of_the_store(pretraining: SearchFolder, finetuning: SearchFolder, store: Path) -> None:
    study = read_journal(pretraining.journal)[0].study  # type: ignore[union-attr]
    summary, _ = try_summary(study)
    assert summary is not None
    assert summary.corpora[0].people == 5
    assert sum(part.segments for part in summary.parts) == summary.corpora[0].segments
    assert summary.shared_people == 0
    assert all(part.high_share is None for part in summary.parts)
    labelled, _ = try_summary(read_journal(finetuning.journal)[0].study)  # type: ignore[union-attr]
    assert labelled is not None
    assert all(0 < (part.high_share or 0) < 1 for part in labelled.parts)


def test_what_is_not_there_is_named(pretraining: SearchFolder, tmp_path: Path) -> None:
    records = read_journal(pretraining.journal)
    assert page_content(Source(records, folder=pretraining))["predictions"]["masked"] is not None
    reason = page_content(Source(records, folder=pretraining, draw_signals=False))["predictions"]["reason"]
    assert "--no-signals" in reason
    copy = SearchFolder.at(tmp_path / "pretraining")
    shutil.copytree(pretraining.path, copy.path)
    best = page_content(Source(records))["best"]["config_id"]
    for file in (copy.path / "configurations" / f"{best:05d}").rglob("weights.safetensors"):
        file.write_bytes(b"damaged")
    assert try_masked(records, folder=copy)[0] is None
    assert "no undamaged checkpoint" in page_content(Source(records, folder=copy))["predictions"]["reason"]


def test_a_store_with_other_content_is_not_drawn(pretraining: SearchFolder) -> None:
    opened, *rest = read_journal(pretraining.journal)
    assert isinstance(opened, Opened)
    study = opened.study | {"base": opened.study["base"] | {"fingerprint": "0" * 64}}
    records = [opened.model_copy(update={"study": study}), *rest]
    content = page_content(Source(records, folder=pretraining))
    assert "other content" in content["data"]["reason"]
    assert "other content" in content["predictions"]["reason"]


def test_an_eeg_pretraining_has_the_error_of_each_electrode(tmp_path: Path, storage: LocalStorage) -> None:
    store = make_store(tmp_path / "eeg", modality="eeg", subjects=5)
    folder = pretrain(store, SearchFolder.of("brain", storage=storage))
    records = read_journal(folder.journal)
    result = predict_masked(records, folder=folder)
    assert result.waves is None
    assert result.scalp is not None
    errors = {item.name: item.error for item in result.scalp.electrodes}
    assert list(errors) == list(SegmentStore.open(store).channels)
    predictions_on_page = page_content(Source(records, folder=folder))["predictions"]
    assert len(predictions_on_page["scalp"]["electrodes"]) == len(errors)
    assert "Error at each electrode" in render_report([Source(records, folder=folder)]).decode()
