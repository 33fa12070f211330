"""Promises of a worker: it pauses when it is asked to, however short its epochs are."""

from pathlib import Path

from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.runtime.worker import Job, Worker
from emotune.storage import LocalStorage
from tests.training.conftest import tiny_experiment


def test_it_pauses_between_epochs_of_a_single_step(tmp_path: Path) -> None:
    store = tmp_path / "store"
    corpus = Synthetic(subjects=6, seconds_per_state=16.0)
    prepare("synthetic", folder=None, store=store, settings=PrepareSettings(seconds=1.0), corpus_settings=corpus)
    experiment = tiny_experiment(store, batch_size=1000)
    job = Job(
        evaluation_id=0,
        config_id=0,
        from_epoch=0,
        to_epoch=6,
        experiment=experiment,
        checkpoints=LocalStorage(tmp_path / "run"),
    )
    worker = Worker(job)
    assert [report.epoch for report in worker.work(lambda: True)] == [1]
    answers = iter([False, False, True])
    assert [report.epoch for report in worker.work(lambda: next(answers))] == [2, 3, 4]
    assert not worker.finished
