"""A resumed search says what is done and what is repeated, and needs no options again."""

from pathlib import Path

import pytest

from emotune.errors import SearchFailedError
from emotune.runtime import driver
from emotune.runtime.coordinator import Coordinator
from emotune.runtime.options import RunOptions
from emotune.search.records import Ended, Evaluation, Opened, Record, Started
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.invocation import INVOCATION_FILE, Invocation, read_invocation, write_invocation
from emotune.study.journal import Journal, read_journal
from emotune.study.results import evaluation_results
from emotune.study.resume import make_optimizer
from emotune.study.resumption import describe_resumption
from tests.runtime.test_coordinator import STUDY, write_finished


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    folder = SearchFolder.of("first", storage=LocalStorage(tmp_path))
    folder.path.mkdir()
    return folder


def opened(folder: SearchFolder, *, purpose: str = "configuration") -> Opened:
    document = STUDY.as_document()
    about = {"time": 0, "digest": STUDY.digest(), "seed": STUDY.seed, "concurrency": 1, "software": {}}
    return Opened(name=folder.name, study=document, purpose=purpose, **about)  # pyright: ignore[reportArgumentType]


def started(number: int) -> Started:
    evaluation = Evaluation(
        id=number, config_id=number, bracket=0, rung=1, from_epoch=1, to_epoch=3, values={}, origin="random"
    )
    return Started(time=0, evaluation=evaluation)


def ended(number: int, status: str = "done") -> Ended:
    objective = 1.0 if status == "done" else None
    numbers = {"evaluation_id": number, "config_id": number}
    return Ended(time=0, status=status, objective=objective, seconds=1, **numbers)  # pyright: ignore[reportArgumentType]


def save(folder: SearchFolder, number: int, *names: str) -> None:
    for name in names:
        folder.checkpoints(number).local(name).mkdir(parents=True)


def test_a_resumed_search_says_what_is_done_and_what_is_repeated(folder: SearchFolder) -> None:
    records: list[Record] = [opened(folder), *map(started, range(4)), ended(0), ended(1, "failed")]
    line = describe_resumption(records, folder=folder)
    total = int(line.split("about ")[1].split()[0])
    assert total > 4
    start = f"resuming first: 2 of about {total} evaluations done, 1 of them failed"
    assert line == f"{start}, 2 to repeat from epoch 0"
    save(folder, 2, "epoch-000001", "epoch-000002-step-000007")
    save(folder, 3, "epoch-000002")
    assert describe_resumption(records, folder=folder) == f"{start}, 2 to repeat from epoch 2"
    save(folder, 3, "epoch-000003")
    assert describe_resumption(records, folder=folder) == f"{start}, 2 to repeat from epochs 2 to 3"
    assert describe_resumption([*records, ended(2), ended(3)], folder=folder).startswith("resuming first: 4 of about")


def test_a_resumed_run_says_how_many_epochs_are_done(folder: SearchFolder) -> None:
    records = [opened(folder, purpose="pretrain"), started(0)]
    save(folder, 0, "epoch-000002")
    assert describe_resumption(records, folder=folder) == f"resuming first: 2 of {STUDY.base.epochs} epochs done"


def test_the_options_of_the_last_start_are_read_back(folder: SearchFolder) -> None:
    invocation = Invocation(concurrency=3, workers=(1, 4), trials_per_gpu="auto", tracking_uri="http://host:5000")
    write_invocation(invocation, folder=folder.storage)
    assert read_invocation(folder.storage) == invocation
    folder.storage.write(INVOCATION_FILE, b"damaged")
    assert read_invocation(folder.storage) == Invocation()


def fail_last(folder: SearchFolder) -> None:
    """Rewrite a journal so that its last evaluation has failed."""
    records = read_journal(folder.journal)
    last = max(number for number, record in enumerate(records) if isinstance(record, Ended))
    (folder.path / "journal.jsonl").unlink()
    with Journal.open(folder.journal, owner="test") as journal:
        for record in records[:last]:
            journal.append(record, durable=False)
        end = records[last].model_copy(update={"status": "failed", "objective": None, "failure_kind": "program_error"})
        journal.append(end)


def test_the_driver_records_a_retry_and_the_next_driver_runs_the_failed_evaluation(folder: SearchFolder) -> None:
    write_finished(folder.path / "journal.jsonl")
    fail_last(folder)
    for expected in ("failed", "running"):
        with Journal.open(folder.journal, owner="test") as journal:
            assert evaluation_results(journal.records)[-1].status == expected
            driver._retry(journal, STUDY, RunOptions(retry_failed=expected == "failed"))
            optimizer = make_optimizer(STUDY, records=journal.records, concurrency=1)
            coordinator = Coordinator(optimizer, journal=journal, criteria=STUDY.criteria)
            assert coordinator.next_evaluation() == evaluation_results(journal.records)[-1].evaluation
    with Journal.open(folder.journal, owner="test") as journal:
        length = len(journal)
        driver._retry(journal, STUDY, RunOptions(retry_failed=True))
        assert len(journal) == length, "nothing has failed"


def test_a_coordinator_notices_that_its_journal_is_gone(folder: SearchFolder) -> None:
    with Journal.open(folder.journal, owner="test") as journal:
        journal.append(opened(folder))
        optimizer = make_optimizer(STUDY, records=journal.records, concurrency=1)
        coordinator = Coordinator(optimizer, journal=journal, criteria=STUDY.criteria)
        coordinator.check_journal()
        folder.path.rename(folder.path.with_name("renamed"))
        coordinator._journal_checked_at = float("-inf")
        with pytest.raises(SearchFailedError, match="renamed or deleted"):
            coordinator.check_journal()
