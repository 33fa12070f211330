import fcntl
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.errors import BusyError, DamageError, SearchFailedError
from emotune.search import Evaluation, Optimizer
from emotune.search.records import Closed, Ended, EpochDone, Record, Started
from emotune.storage import LocalLog
from emotune.study.journal import Journal, read_journal
from emotune.study.resume import optimizer_from_records
from tests.search.searching import loss_of, mixed_space, table

SEARCH = {"kind": "hyperband", "max_budget": 9, "evaluations": 18, "concurrency": 2, "seed": 3}


def result_of(evaluation: Evaluation) -> Ended:
    loss = loss_of(evaluation, failures=0)
    return Ended(
        time=2.5,
        evaluation_id=evaluation.id,
        config_id=evaluation.config_id,
        status="done",
        objective=loss,
        seconds=0.1,
    )


def drive(path: Path, *, records: int | None = None) -> Optimizer:
    """Search with a journal until the end, or until this driver has written a number of records."""
    with Journal.open(LocalLog(path), owner="test") as journal:
        optimizer = optimizer_from_records(mixed_space(), journal.records, settings=SEARCH)
        last = len(journal) + (records if records is not None else 10**6)
        while not optimizer.finished and len(journal) < last:
            evaluation = optimizer.ask()
            if evaluation is not None:
                journal.append(Started(time=1.5, evaluation=evaluation))
            else:
                first = optimizer.running()[0]
                journal.append(result_of(first))
                optimizer.tell(first.id, result_of(first).objective)
    return optimizer


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "journal.jsonl"
    drive(path)
    return path.read_bytes()


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    values = {"a": 1, "b": 1.0, "c": 1e-300, "d": True, "e": "ü\n", "f": 0.1 + 0.2, "g": -0.0, "h": "1"}
    evaluation = Evaluation(
        id=0, config_id=0, bracket=0, rung=0, from_epoch=0, to_epoch=1, values=values, origin="default"
    )
    records: list[Record] = [
        Started(time=0.1, evaluation=evaluation),
        EpochDone(time=1, evaluation_id=0, config_id=0, epoch=1, metrics={"val/loss": None, "x": 1 / 3}),
        Closed(time=2, state="interrupted", reason="\x00\r\n\u2028"),
    ]
    with Journal.open(LocalLog(tmp_path / "j.jsonl"), owner="test") as journal:
        for number, record in enumerate(records):
            journal.append(record, durable=number > 0)
    restored = read_journal(LocalLog(tmp_path / "j.jsonl"))
    assert restored == records
    assert isinstance(restored[0], Started)
    assert [type(value) for value in restored[0].evaluation.values.values()] == [type(v) for v in values.values()]
    assert read_journal(LocalLog(tmp_path / "none.jsonl")) == []


def test_a_driver_killed_after_any_record_changes_nothing(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "whole.jsonl").write_bytes(whole)
    expected = table(drive(tmp_path / "whole.jsonl"))
    assert len(expected) == SEARCH["evaluations"]
    for kill in range(whole.count(b"\n")):
        path = tmp_path / f"{kill}.jsonl"
        path.write_bytes(b"".join(whole.splitlines(keepends=True)[:kill]))
        assert table(drive(path)) == expected
        assert path.read_bytes() == whole


def test_a_last_record_torn_at_any_byte_is_cut_off(
    tmp_path: Path, whole: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    *lines, last = whole.splitlines(keepends=True)
    path = tmp_path / "journal.jsonl"
    for length in range(len(last)):
        path.write_bytes(b"".join(lines) + last[:length])
        assert len(read_journal(LocalLog(path))) == len(lines), "reading does not change it"
        caplog.clear()
        with caplog.at_level(logging.WARNING), Journal.open(LocalLog(path), owner="test") as journal:
            assert len(journal) == len(lines)
            assert ("are removed" in caplog.text) == (length > 0)
        assert path.read_bytes() == b"".join(lines)
    drive(path)
    assert path.read_bytes() == whole


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_damage_with_line_and_byte(tmp_path: Path, whole: bytes, position: float, bit: int) -> None:
    damaged = bytearray(whole)
    byte = int(position * len(damaged))
    damaged[byte] ^= 1 << bit
    path = tmp_path / "journal.jsonl"
    path.write_bytes(damaged)
    line = whole[:byte].count(b"\n") + 1
    with pytest.raises(DamageError, match=rf"journal.jsonl, line {line}, byte \d+: .*backup") as caught:
        read_journal(LocalLog(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(DamageError):
        Journal.open(LocalLog(path), owner="test")
    assert path.read_bytes() == damaged, "nothing is lost"


@given(cut=st.floats(0, 1))
def test_a_journal_that_was_cut_anywhere_is_continued_to_the_same_end(tmp_path: Path, whole: bytes, cut: float) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(whole[: int(cut * len(whole))])
    lines = path.read_bytes().count(b"\n")
    assert len(read_journal(LocalLog(path))) == lines
    drive(path)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("change", ["swap", "drop", "twice", "unknown", "empty", "two"])
def test_lines_that_are_whole_but_not_as_written_are_damage(tmp_path: Path, whole: bytes, change: str) -> None:
    lines = whole.splitlines(keepends=True)
    match change:
        case "swap":
            lines[3], lines[4] = lines[4], lines[3]
        case "drop":
            del lines[3]
        case "twice":
            lines.insert(3, lines[3])
        case "unknown":
            lines[3] = b'{"n": 3, "crc": "00000000", "record": {}}\n'
        case "empty":
            lines.insert(3, b"\n")
        case _:
            lines = lines[:4] + lines
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"".join(lines))
    with pytest.raises(DamageError, match=r"journal.jsonl, line [45], byte [1-9]\d+: "):
        Journal.open(LocalLog(path), owner="test")
    assert path.read_bytes() == b"".join(lines), "nothing is lost"


def test_a_journal_without_its_first_record_is_damage(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[1:]))
    with pytest.raises(DamageError, match="line 1, byte 0: record 1 was read, expected record 0"):
        Journal.open(LocalLog(path), owner="test")


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal.open(LocalLog(path), owner="test") as journal:
        journal.append(Closed(time=0, state="finished"))
        before = path.read_bytes()
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, old[1]))
        try:
            with pytest.raises(SearchFailedError, match=r"journal.jsonl.*(EFBIG|ENOSPC)"):
                journal.append(Closed(time=1, state="finished", reason="x" * 5000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        assert path.read_bytes() == before
        journal.append(Closed(time=2, state="finished"))
        assert [record.time for record in read_journal(LocalLog(path))] == [0, 2]


def test_only_one_driver_at_a_time_and_the_other_gets_its_name(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal.open(LocalLog(path), owner="first"):
        with pytest.raises(BusyError, match=rf"first, pid {os.getpid()} on .* since 20\d\d-"):
            Journal.open(LocalLog(path), owner="second")
        assert read_journal(LocalLog(path)) == []
    Journal.open(LocalLog(path), owner="second").close()


HOLD = """
import sys, time
from pathlib import Path
from emotune.storage import LocalLog
from emotune.study.journal import Journal
with Journal.open(LocalLog(Path(sys.argv[1])), owner="holder"):
    print("open", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_driver_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(BusyError, match=f"pid {holder.pid}"):
            Journal.open(LocalLog(path), owner="test")
        os.kill(holder.pid, signal.SIGKILL)
    with Journal.open(LocalLog(path), owner="test") as journal:
        journal.append(Closed(time=0, state="finished"))


ROUNDS = 50


def race(path: Path, barrier: Any, results: Any, number: int) -> None:
    """Try to open the journal at the same moment as the other one, in each round, and report the result."""
    for turn in range(ROUNDS):
        barrier.wait(60)
        try:
            with Journal.open(LocalLog(path), owner=f"racer {number}") as journal:
                journal.append(Closed(time=number, state="finished"), durable=False)
                results.put((turn, "", number, os.getpid()))
                barrier.wait(60)
        except BusyError as error:
            results.put((turn, str(error), number, os.getpid()))
            barrier.wait(60)


def test_of_two_drivers_at_once_one_gets_the_journal_and_the_other_its_name(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    both = [context.Process(target=race, args=(path, barrier, results, number)) for number in range(2)]
    for process in both:
        process.start()
    # a queue keeps the order of each process only
    outcomes = sorted(results.get(timeout=60) for _ in range(2 * ROUNDS))
    winners = []
    for (_, no_error, winner, pid), (_, error, *_) in zip(outcomes[::2], outcomes[1::2], strict=True):
        assert no_error == ""
        assert f"(racer {winner}, pid {pid} on " in error
        winners.append(winner)
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert [record.time for record in read_journal(LocalLog(path))] == winners


def test_a_driver_does_not_open_a_journal_that_is_put_aside_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "search" / "journal.jsonl"
    path.parent.mkdir()
    lock = fcntl.flock

    def rename_first(handle: int, how: int) -> None:
        if path.parent.exists():
            path.parent.rename(tmp_path / "aside")
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", rename_first)
    with pytest.raises(BusyError, match="another driver has just renamed"):
        Journal.open(LocalLog(path), owner="late")
