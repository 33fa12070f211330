"""Two tables of the papers are equal only if their stores, runs, weights and files are."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.bench import BrokenPromiseError
from chaos.tables import TABLE, require_equal, unsaved_epochs
from emotune.search.records import EpochDone
from emotune.storage import LocalLog
from emotune.study.journal import encode, read_journal
from tests.runtime.test_coordinator import write_finished

RUN = "folds-1"
TABLE_FILE = f"results/{TABLE}-smoke/table.md"
WEIGHTS = f"results/{RUN}/configurations/00000/epoch-000009/weights.safetensors"


@pytest.fixture
def twins(tmp_path: Path, small_store: Path) -> tuple[Path, Path]:
    """Folders of two equal tables."""
    first = tmp_path / "undisturbed"
    shutil.copytree(small_store, first / "stores" / "pool")
    for name in (TABLE_FILE, WEIGHTS, WEIGHTS.replace("000009", "000003")):
        (first / name).parent.mkdir(parents=True)
        (first / name).write_bytes(name.encode())
    write_finished(first / "results" / RUN / "journal.jsonl")
    return first, shutil.copytree(first, tmp_path / "killed")


def test_equal_tables_are_counted(twins: tuple[Path, Path]) -> None:
    earlier = twins[1] / WEIGHTS.replace("000009", "000003")
    earlier.unlink()
    earlier.parent.rmdir()  # which earlier checkpoints are kept depends on time
    assert require_equal(*twins).startswith("equal: 1 stores, 1 runs, ")
    assert require_equal(*twins).endswith("epochs, 4 files")


def change_weights(out: Path) -> None:
    (out / WEIGHTS).write_bytes(b"others")


def change_table(out: Path) -> None:
    (out / TABLE_FILE).write_text("| others |")


def leave_parts(out: Path) -> None:
    (out / "stores" / ".pool.parts").mkdir()


def lose_a_record(out: Path) -> None:
    journal = out / "results" / RUN / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-4]))


def record_an_epoch_again(out: Path) -> None:
    journal = out / "results" / RUN / "journal.jsonl"
    records = read_journal(LocalLog(journal))
    epoch = next(record for record in records if isinstance(record, EpochDone))
    journal.write_bytes(journal.read_bytes() + encode(epoch, sequence=len(records)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_weights, "content of files differs: .*weights"),
        (change_table, "content of files differs: .*table.md"),
        (leave_parts, "the folders beside the stores differ: .*pool.parts"),
        (record_an_epoch_again, f"{RUN}: epochs were recorded again"),
        (lose_a_record, f"{RUN}: the recorded epochs differ"),
    ],
)
def test_a_difference_is_named(twins: tuple[Path, Path], change: Callable[[Path], None], message: str) -> None:
    change(twins[1])
    with pytest.raises(BrokenPromiseError, match=message):
        require_equal(*twins)


def test_recorded_epochs_without_a_checkpoint_are_those_that_are_trained_again(twins: tuple[Path, Path]) -> None:
    journal = twins[0] / "results" / RUN / "journal.jsonl"
    assert unsaved_epochs(journal) == 0
    lines = journal.read_bytes().splitlines(keepends=True)
    first_end = next(number for number, line in enumerate(lines) if b'"ended"' in line)
    journal.write_bytes(b"".join(lines[:first_end]))
    shutil.rmtree(journal.parent / "configurations")
    epochs = [record for record in read_journal(LocalLog(journal)) if isinstance(record, EpochDone)]
    assert unsaved_epochs(journal) == len(epochs) > 0
    (journal.parent / "configurations" / f"{epochs[0].config_id:05d}" / "epoch-000001").mkdir(parents=True)
    assert unsaved_epochs(journal) == len(
        [epoch for epoch in epochs if epoch.config_id != epochs[0].config_id or epoch.epoch > 1]
    )
