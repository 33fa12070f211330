"""Promises of a folder of results: one driver, whatever is done to its files; and every refusal is one line."""

import contextlib
import fcntl
import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from emotune.errors import BusyError, SearchFailedError, StorageRefusedError
from emotune.search.records import Closed
from emotune.storage import LocalLog, LocalStorage, open_storage
from emotune.study.journal import Journal, read_journal

RECORD = Closed(time=0, state="finished")


@pytest.fixture
def log(tmp_path: Path) -> LocalLog:
    (tmp_path / "search").mkdir()
    return LocalLog(tmp_path / "search" / "journal.jsonl")


def test_a_deleted_lock_file_does_not_let_a_second_driver_in(log: LocalLog) -> None:
    with Journal.open(log, owner="first") as journal:
        journal.append(RECORD)
        log.path.with_suffix(".lock").unlink()
        for _ in range(2):
            with pytest.raises(BusyError, match=r"driver is running this search \(its lock file was deleted\)"):
                Journal.open(log, owner="second")
        with pytest.raises(BusyError), log.lock(owner="a command with --fresh"):
            pass
        assert log.is_locked()
        journal.append(RECORD)
    assert not log.is_locked()
    assert read_journal(log) == [RECORD, RECORD]


def test_a_test_of_the_lock_never_refuses_a_driver(log: LocalLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotune.storage.local.PROBE_PATIENCE_S", 60.0)  # on a busy machine a thread waits with a lock
    with Journal.open(log, owner="first") as journal:
        journal.append(RECORD)
    stopped = threading.Event()

    def probe() -> None:
        while not stopped.is_set():
            for path in (log.path, log.path.with_suffix(".lock")):
                with path.open("rb") as file, contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    stopped.wait(1e-4)

    probes = [threading.Thread(target=probe) for _ in range(2)]
    for thread in probes:
        thread.start()
    try:
        for _ in range(8):
            Journal.open(log, owner="second").close()
    finally:
        stopped.set()
        for thread in probes:
            thread.join()


def rename(folder: Path) -> None:
    folder.rename(folder.with_name("renamed"))


def replace(folder: Path) -> None:
    shutil.copytree(folder, folder.with_name("copy"))
    rename(folder)
    folder.with_name("copy").rename(folder)


@pytest.mark.parametrize("change", [rename, shutil.rmtree, replace, lambda folder: (folder / "journal.jsonl").unlink()])
@pytest.mark.parametrize("durable", [True, False])
def test_a_search_whose_journal_is_renamed_deleted_or_replaced_stops(log: LocalLog, change, *, durable: bool) -> None:
    with Journal.open(log, owner="test") as journal:
        journal.append(RECORD)
        journal.check()
        written = log.path.open("rb")
        change(log.path.parent)
        with pytest.raises(SearchFailedError, match=r"journal.jsonl: the file or its folder was renamed or deleted"):
            journal.check()
        with pytest.raises(SearchFailedError, match="bring it back under this name; then start the same search again"):
            journal.append(RECORD, durable=durable)
        with written:
            assert written.read().count(b"\n") == 1, "nothing is written where nobody would find it"


def test_a_start_that_failed_leaves_no_journal(log: LocalLog) -> None:
    Journal.open(log, owner="test").close()
    assert not log.exists()
    assert list(log.path.parent.iterdir()) == []
    log.path.write_bytes(b"torn")
    Journal.open(log, owner="test").close()
    assert not log.exists()


def test_new_files_follow_the_umask_so_that_a_group_can_share_a_folder(log: LocalLog) -> None:
    before = os.umask(0o002)
    try:
        with Journal.open(log, owner="test") as journal:
            journal.append(RECORD)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in log.path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"journal.jsonl": 0o664, "journal.lock": 0o664}


OPEN = """
import os, sys
from pathlib import Path
from emotune.errors import EmotuneError
from emotune.storage import LocalLog
from emotune.study.journal import Journal, read_journal
log = LocalLog(Path(sys.argv[1]))
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for call in (lambda: read_journal(log), log.is_locked, log.exists, lambda: Journal.open(log, owner="other")):
    try:
        call()
        print("done")
    except EmotuneError as error:
        print(error)
"""


def as_another_user(path: Path) -> list[str]:
    """Read, test and open a journal as an unprivileged user, and return a line of each."""
    if os.geteuid() != 0:
        pytest.skip("another user needs root")
    for folder in (path.parent, *path.parent.parents):
        with contextlib.suppress(PermissionError):
            if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
                folder.chmod(0o755)
    printed = subprocess.run([sys.executable, "-c", OPEN, str(path)], capture_output=True, text=True, check=True).stdout
    return printed.splitlines()


def test_a_journal_of_another_user_is_read_and_refused_for_writing_in_a_line(log: LocalLog) -> None:
    with Journal.open(log, owner="test") as journal:
        journal.append(RECORD)
    lines = as_another_user(log.path)
    assert lines[:3] == ["done"] * 3
    assert "journal.lock: cannot be opened for writing: Permission denied; its permissions" in lines[3]
    log.path.with_suffix(".lock").chmod(0o666)
    assert "journal.jsonl: cannot be opened for writing: Permission denied" in as_another_user(log.path)[3]
    log.path.chmod(0o600)
    assert "journal.jsonl: cannot be read: Permission denied" in as_another_user(log.path)[0]


def test_an_immutable_journal_is_refused_in_a_line(log: LocalLog) -> None:
    with Journal.open(log, owner="test") as journal:
        journal.append(RECORD)
    chattr = shutil.which("chattr")
    if chattr is None or subprocess.run([chattr, "+i", log.path], capture_output=True, check=False).returncode:
        pytest.skip("this file system has no immutable files, or chattr is not allowed")
    try:
        with pytest.raises(StorageRefusedError, match=r"journal.jsonl: cannot be opened for writing: Operation not"):
            Journal.open(log, owner="test")
        assert read_journal(log) == [RECORD]
    finally:
        subprocess.run([chattr, "-i", log.path], check=True)


@pytest.mark.parametrize("option", ["~/results", "file://~/results"])
def test_the_home_folder_is_expanded(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_storage(option) == LocalStorage(tmp_path / "results")
