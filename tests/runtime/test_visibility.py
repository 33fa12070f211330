"""Promises of what a machine sees: blind ones are told apart, and get no work."""

import shutil
from pathlib import Path

import pytest

from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.experiment import Experiment
from emotune.runtime import worker
from emotune.runtime.cluster import visibility
from emotune.runtime.cluster.visibility import InaccessibleError, Requirements, announce, check_sight, missing
from emotune.runtime.worker import EvaluationTrainable, Job
from emotune.storage import LocalStorage


@pytest.fixture
def requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Requirements:
    monkeypatch.setattr(visibility, "node_name", lambda: "here")
    store, folder = tmp_path / "store", tmp_path / "results" / "first"
    corpus = Synthetic(subjects=3, seconds_per_state=8.0)
    prepare("synthetic", folder=None, store=store, settings=PrepareSettings(seconds=1.0), corpus_settings=corpus)
    folder.mkdir(parents=True)
    return announce(LocalStorage(folder), stores={str(store): SegmentStore.open(store).fingerprint})


def test_whoever_sees_folder_and_store_may_work(requirements: Requirements) -> None:
    assert missing(Requirements.model_validate_json(requirements.model_dump_json())) == []
    check_sight(requirements)
    assert [one.name for one in requirements.folder.local().iterdir()] == [visibility.MARKER]


def test_a_folder_of_the_same_name_that_is_not_the_drivers_is_not_taken_for_it(requirements: Requirements) -> None:
    check_sight(requirements)
    requirements.folder.write(visibility.MARKER, b"of an earlier search")
    with pytest.raises(InaccessibleError, match=f"node here does not see the results in {requirements.folder}"):
        check_sight(requirements)
    shutil.rmtree(requirements.folder.local())
    assert len(missing(requirements)) == 1


def test_a_store_that_is_away_or_another_one_is_named(requirements: Requirements) -> None:
    (store,) = requirements.stores
    assert missing(requirements.model_copy(update={"stores": {store: "other"}})) == [f"the segment store {store}"]
    shutil.rmtree(store)
    assert missing(requirements) == [f"the segment store {store}"]


def test_a_blind_worker_says_so_and_idles_when_it_sees_again(
    requirements: Requirements, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job is somebody else's by then."""
    monkeypatch.setattr(worker, "LOOK_SECONDS", 0.0)
    marker = requirements.folder.local(visibility.MARKER)
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
        result = trainable.step()
        assert "does not see the results in" in result["blind"]
        assert not result["finished"]
    marker.write_text(token)
    assert trainable.step() == {"reports": [], "diverged": None, "finished": True}
    trainable.cleanup()
    assert not job.checkpoints.local().exists()
