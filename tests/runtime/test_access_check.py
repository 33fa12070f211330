"""The access check: a machine without access to the results or a store is found, and gets no evaluations."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.errors import StorageError
from emotune.experiment import Experiment
from emotune.runtime import evaluation
from emotune.runtime.cluster import access_check
from emotune.runtime.cluster.access_check import (
    InaccessibleError,
    Requirements,
    check_access,
    check_nodes,
    find_missing,
    write_marker,
)
from emotune.runtime.step_report import StepReport
from emotune.runtime.worker import EvaluationTrainable, Job
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder


@pytest.fixture
def requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Requirements:
    monkeypatch.setattr(access_check, "this_node_name", lambda: "here")
    store, folder = tmp_path / "store", tmp_path / "results" / "first"
    corpus = Synthetic(subjects=3, seconds_per_state=8.0)
    prepare("synthetic", folder=None, store=store, settings=PrepareSettings(seconds=1.0), corpus_settings=corpus)
    folder.mkdir(parents=True)
    return write_marker(LocalStorage(folder), stores={str(store): SegmentStore.open(store).fingerprint})


def test_a_machine_with_folder_and_store_has_access(requirements: Requirements) -> None:
    assert find_missing(Requirements.model_validate_json(requirements.model_dump_json())) == []
    check_access(requirements)
    assert [path.name for path in requirements.folder.local().iterdir()] == [access_check.MARKER]


def test_another_folder_of_the_same_name_is_inaccessible(requirements: Requirements) -> None:
    check_access(requirements)
    requirements.folder.write(access_check.MARKER, b"of an earlier search")
    with pytest.raises(InaccessibleError, match=f"node here cannot access the results in {requirements.folder}"):
        check_access(requirements)
    shutil.rmtree(requirements.folder.local())
    assert len(find_missing(requirements)) == 1


def test_a_driver_that_cannot_write_its_marker_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: LocalStorage, name: str, content: bytes) -> None:
        del self, name, content
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(LocalStorage, "write", write)
    folder = SearchFolder.of("full", storage=LocalStorage(tmp_path))
    with pytest.raises(StorageError, match=r"full: the driver's file could not be written \(No space left on device\)"):
        check_nodes(folder, stores={})


def test_a_missing_or_different_store_is_named(requirements: Requirements) -> None:
    (store,) = requirements.stores
    assert find_missing(requirements.model_copy(update={"stores": {store: "other"}})) == [f"the segment store {store}"]
    shutil.rmtree(store)
    assert find_missing(requirements) == [f"the segment store {store}"]


def test_a_worker_without_access_reports_it_and_idles_when_it_has_access(
    requirements: Requirements, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker has its job by then."""
    monkeypatch.setattr(evaluation, "ACCESS_POLL_INTERVAL_S", 0.0)
    marker = requirements.folder.local(access_check.MARKER)
    token = marker.read_text()
    marker.unlink()
    job = Job(
        evaluation_id=0,
        config_id=0,
        from_epoch=0,
        to_epoch=1,
        experiment=Experiment(),
        checkpoints=requirements.folder / "configurations",
        requirements=requirements,
    )
    trainable = EvaluationTrainable({"job": job.model_dump_json()})
    for _ in range(2):
        report = StepReport.from_result(trainable.step())
        assert "cannot access the results in" in str(report.inaccessible)
        assert not report.ended
    marker.write_text(token)
    assert StepReport.from_result(trainable.step()) == StepReport(finished=True)
    trainable.cleanup()
    assert not job.checkpoints.local().exists()
