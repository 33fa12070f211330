"""Checkpoints of configurations out of the race are removed, and nothing that is needed is."""

import random
from pathlib import Path

import pytest

from emotune.errors import StorageAwayError
from emotune.runtime.coordinator import Coordinator
from emotune.runtime.retention import Retention, best_configurations
from emotune.search.records import Closed, Evaluation, Record, Removed
from emotune.storage import LocalStorage, Storage, open_storage
from emotune.storage.generations import MANIFEST
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal, read_journal
from emotune.study.results import evaluation_results, find_best, removed_checkpoints, status_document
from emotune.study.resume import make_optimizer
from tests.runtime.test_coordinator import STUDY, Killed, loss_of, opening, table

SIZE = 1000
"""Bytes of a checkpoint of these tests."""


def save(root: Storage, *, epoch: int) -> None:
    checkpoint = root / f"epoch-{epoch:06d}"
    checkpoint.local().mkdir(parents=True, exist_ok=True)
    for name, size in (("weights.safetensors", SIZE - 10), (MANIFEST, 10)):
        checkpoint.local(name).write_bytes(b"x" * size)
    checkpoint.upload(last=MANIFEST)


class Driver:
    """A driver with real folders of checkpoints in place of training. It may die after any record."""

    def __init__(self, folder: SearchFolder, *, keep: int | None = 3) -> None:
        self.folder = folder
        self.keep = keep
        self.trained_again: list[Evaluation] = []

    def drive(self, *, die_at: int | None = None) -> list[Record]:
        def die(record: Record, number: int) -> None:
            if number == die_at and number >= known:
                raise Killed

        with Journal.open(self.folder.journal, owner="test") as journal:
            known = len(journal)
            if not journal.records:
                journal.append(opening(2))
            self.folder.check_complete(journal.records)
            optimizer = make_optimizer(STUDY, records=journal.records, concurrency=2)
            retention = Retention(self.folder, keep=self.keep)
            coordinator = Coordinator(
                optimizer, journal=journal, criteria=STUDY.criteria, observers=[die], on_end=retention.remove
            )
            while not coordinator.finished:
                evaluations = []
                while (evaluation := coordinator.next_evaluation()) is not None:
                    evaluations.append(evaluation)
                for done in reversed(evaluations):
                    self.work(done, coordinator)
            retention.remove(coordinator)
            coordinator.close(Closed(time=0, state="finished"))
            return list(journal.records)

    def work(self, evaluation: Evaluation, coordinator: Coordinator) -> None:
        root = self.folder.checkpoints(evaluation.config_id)
        if evaluation.from_epoch and f"epoch-{evaluation.from_epoch:06d}" not in root.folders():
            self.trained_again.append(evaluation)
        for epoch in range(1, evaluation.to_epoch + 1):
            coordinator.report(evaluation.id, epoch=epoch, metrics={"val/loss": loss_of(evaluation, epoch)})
        save(root, epoch=evaluation.to_epoch)
        coordinator.complete(evaluation.id)


@pytest.fixture(params=["file", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> SearchFolder:
    url = request.getfixturevalue("s3_url") if request.param == "s3" else str(tmp_path / "results")
    folder = SearchFolder.of("t", storage=open_storage(url))
    folder.path.mkdir(parents=True, exist_ok=True)
    return folder


def kept(folder: SearchFolder) -> set[int]:
    root = folder.storage / "configurations"  # a server may list folders that were cleared
    return {int(name) for name in root.folders() if (root / name).size()}


def test_the_best_and_those_in_the_race_keep_their_checkpoints(folder: SearchFolder) -> None:
    records = Driver(folder).drive()
    results = evaluation_results(records)
    configurations = {result.evaluation.config_id for result in results}
    outcomes = [(result.evaluation, result.objective) for result in results]
    best = best_configurations(outcomes, count=3)
    incumbent = find_best(results, mode="min")
    assert incumbent is not None
    assert incumbent.config_id in best
    assert best <= kept(folder) < configurations
    removed = removed_checkpoints(records)
    assert removed.configurations == len(configurations - kept(folder)) >= 3
    assert removed.bytes >= removed.configurations * SIZE
    assert status_document(records, alive=False)["checkpoints_removed"] == removed.model_dump()
    for number in kept(folder):
        assert (folder.checkpoints(number).size()) >= SIZE


def test_with_all_nothing_is_removed_and_status_stays_as_it_was(tmp_path: Path) -> None:
    folder = SearchFolder.of("t", storage=LocalStorage(tmp_path))
    folder.path.mkdir(parents=True, exist_ok=True)
    records = Driver(folder, keep=None).drive()
    assert kept(folder) == {result.evaluation.config_id for result in evaluation_results(records)}
    assert "checkpoints_removed" not in status_document(records, alive=False)


def test_killed_at_any_record_the_table_is_the_same_and_nothing_is_trained_again(tmp_path: Path) -> None:
    def new(name: str) -> Driver:
        folder = SearchFolder.of(name, storage=LocalStorage(tmp_path))
        folder.path.mkdir(parents=True, exist_ok=True)
        return Driver(folder)

    undisturbed = new("undisturbed")
    expected = undisturbed.drive()
    chance = random.Random(3)
    removals = [number for number, record in enumerate(expected) if isinstance(record, Removed)]
    for number in [*removals[:3], *chance.sample(range(2, len(expected)), 6)]:
        driver = new(f"killed-{number}")
        with pytest.raises(Killed):
            driver.drive(die_at=number)
        records = driver.drive()
        assert table(records) == table(expected)
        assert kept(driver.folder) == kept(undisturbed.folder)
        assert driver.trained_again == []


def test_a_removed_checkpoint_that_is_needed_after_all_is_trained_again(tmp_path: Path) -> None:
    folder = SearchFolder.of("t", storage=LocalStorage(tmp_path))
    folder.path.mkdir(parents=True, exist_ok=True)
    driver = Driver(folder)
    expected = table(driver.drive())
    with Journal.open(folder.journal, owner="test") as journal:
        first = read_journal(folder.journal)[: len(journal) // 2]
    (tmp_path / "t" / "journal.jsonl").unlink()
    with Journal.open(folder.journal, owner="test") as journal:
        for record in first:
            journal.append(record)
    for number in kept(folder):
        folder.checkpoints(number).clear(last=MANIFEST)
    assert table(driver.drive()) == expected
    assert driver.trained_again


def test_a_storage_that_is_away_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(storage: Storage) -> int:
        raise StorageAwayError("the bucket is away")

    folder = SearchFolder.of("t", storage=LocalStorage(tmp_path))
    folder.path.mkdir(parents=True, exist_ok=True)
    with monkeypatch.context() as patched:
        patched.setattr(LocalStorage, "size", away)
        records = Driver(folder).drive()
    assert "were not removed: the bucket is away" in caplog.text
    assert kept(folder) == {result.evaluation.config_id for result in evaluation_results(records)}


def test_a_failure_that_may_be_run_again_keeps_its_checkpoints(tmp_path: Path) -> None:
    folder = SearchFolder.of("t", storage=LocalStorage(tmp_path))
    folder.path.mkdir(parents=True, exist_ok=True)
    records = Driver(folder).drive()
    diverged = {result.evaluation.config_id for result in evaluation_results(records) if result.status == "failed"}
    assert diverged
    assert not diverged & kept(folder)
