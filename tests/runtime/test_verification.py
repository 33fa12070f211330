"""``emotune verify``: a configuration that is trained again is equal to its record, and a changed record is noticed."""

import json
from pathlib import Path
from typing import Any

import pytest

from emotune.data.store import SegmentStore
from emotune.runtime.driver import installed_software
from emotune.runtime.verification import first_difference
from emotune.search.records import Ended, EpochDone, Evaluation, Opened, Record, Started
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal
from emotune.study.study import Study
from emotune.training.loop import train_epoch
from tests.cli.test_program import run

__all__ = ["run"]

VALUES = {"optim.lr": 0.004, "batch_size": 16}
EPOCHS = 2


@pytest.fixture(scope="module")
def study(small_store: Path) -> Study:
    hyperparameters = [
        {"name": "optim.lr", "type": "uniform_float", "lower": 1e-4, "upper": 1e-1, "log": True},
        {"name": "batch_size", "type": "uniform_int", "lower": 8, "upper": 32},
    ]
    base = {
        "store": str(small_store),
        "fingerprint": SegmentStore.open(small_store).fingerprint,
        "model": {"channels": (4, 8), "kernels": (5, 3), "feedforward": 8, "layers": 1},
        "optim": {"warmup_epochs": 1},
        "folds": {"segments": 48},
        "epochs": 9,
    }
    space = {"hyperparameters": hyperparameters}
    return Study.model_validate({"base": base, "budget": {"min": 1, "max": 9}, "space": space})


@pytest.fixture(scope="module")
def records(study: Study) -> list[Record]:
    """The journal of a search that trained one configuration, in two rungs."""
    experiment = study.base.with_values(VALUES)
    training_data = experiment.training_data(SegmentStore.open(Path(study.base.store)))
    state = experiment.begin_untrained(training_data)
    records: list[Record] = [
        Opened(
            time=0, name="first", study=study.as_document(), digest=study.digest(), seed=0, concurrency=1,
            software=installed_software(),
        )
    ]  # fmt: skip
    for rung in range(EPOCHS):
        report = train_epoch(state, training_data, experiment.training_plan())
        assert report is not None
        numbers = {"bracket": 0, "rung": rung, "from_epoch": rung, "to_epoch": rung + 1}
        evaluation = Evaluation(id=rung, config_id=5, values=VALUES, origin="random", **numbers)
        metrics = {**report.metrics, "train/segments_per_second": 1.0}
        loss = report.metrics["val/loss"]
        records += [
            Started(time=1, evaluation=evaluation),
            EpochDone(time=2, evaluation_id=rung, config_id=5, epoch=rung + 1, metrics=metrics),
            Ended(time=3, evaluation_id=rung, config_id=5, status="done", objective=loss, seconds=1.0),
        ]
    return records


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Return a function that writes the journal of the search."""

    def write_journal(records: list[Record]) -> SearchFolder:
        folder = SearchFolder.of("first", storage=LocalStorage(tmp_path / "results"))
        folder.path.mkdir(parents=True)
        with Journal.open(folder.journal, owner="test") as journal:
            for record in records:
                journal.append(record)
        return folder

    return write_journal


def changed(records: list[Record], *, factor: float) -> list[Record]:
    """Return a journal whose last epoch has another objective."""
    last = max(number for number, record in enumerate(records) if isinstance(record, EpochDone))
    record = records[last]
    assert isinstance(record, EpochDone)
    loss = record.metrics["val/loss"]
    assert loss is not None
    metrics = record.metrics | {"val/loss": loss * factor}
    return [*records[:last], record.model_copy(update={"metrics": metrics}), *records[last + 1 :]]


def test_a_training_that_is_repeated_is_equal_to_the_last_digit(run: Any, write: Any, records: list[Record]) -> None:
    folder = write(records)
    outcome = run("verify", "first")
    assert outcome.code == 0, outcome.err
    assert "data: equal, " in outcome.out
    assert "software: equal" in outcome.out
    assert "equal: every metric of epochs 1 to 2, to the last digit" in outcome.out
    assert sorted(path.name for path in folder.path.iterdir()) == ["journal.jsonl", "journal.lock"]


def test_a_difference_is_printed_with_its_epoch_and_a_tolerance_accepts_it(
    run: Any, write: Any, records: list[Record]
) -> None:
    write(changed(records, factor=1.001))
    outcome = run("verify", "first", "--configuration", "5", "--json")
    document = json.loads(outcome.out)
    assert (outcome.code, document["equal"], document["reproduced"], document["first_difference"]) == (
        1,
        False,
        False,
        2,
    )
    assert document["difference"] == pytest.approx(1e-3, rel=1e-2)
    assert run("verify", "first", "--tolerance", "0.01").code == 0
    assert run("verify", "first", "--epochs", "1").code == 0, "the first epoch is equal"


def test_only_what_the_training_decides_is_compared() -> None:
    before = {1: {"val/loss": 1.0, "train/segments_per_second": 3.0}, 2: {"val/loss": None}}
    assert first_difference(before, {1: {"val/loss": 1.0, "val/new": 2.0}, 2: {"val/loss": float("nan")}}) is None
    assert first_difference(before, {1: {"val/loss": 1.0}}) == 2
    assert first_difference(before, {1: {"val/loss": 1.0000001}, 2: {"val/loss": None}}) == 1


REFUSED = [
    (("--configuration", "3"), "--configuration 3: the search 'first' has no result of it; it has results of 5"),
    (("--epochs", "7"), "--epochs 7: configuration 5 was trained for 2 epochs"),
    (("--store", "nowhere"), "nowhere is not a segment store"),
]


@pytest.mark.parametrize(("options", "answer"), REFUSED)
def test_a_mistake_is_answered_in_a_line(
    run: Any, write: Any, records: list[Record], options: tuple[str, ...], answer: str
) -> None:
    write(records)
    outcome = run("verify", "first", *options)
    assert outcome.code == 2
    assert answer in outcome.err
