"""Faults of the results folder: renamed, deleted, locked, immutable, of another user; MLflow's database replaced."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from chaos.bench import Bench, Driver, require
from chaos.damage import kill_in_the_middle

STOP_TIMEOUT_S = 90.0
"""Longest time for a driver to stop after its folder is gone: a minute, and the end of its processes."""

USERS, GROUP = (4001, 4002), 4000
"""Numbers of two users and of their group; they need no names."""


def results_renamed(bench: Bench, total: int) -> None:
    """Rename the search's folder while it runs: the driver stops; renamed back, it resumes."""
    driver = _run_to_the_middle(bench, total)
    elsewhere = bench.folder.with_name("renamed")
    bench.folder.rename(elsewhere)
    _require_stop(driver)
    require(not bench.folder.exists(), f"the folder was created again: {sorted(bench.folder.rglob('*'))[:5]}")
    elsewhere.rename(bench.folder)
    bench.search().finish()


def results_deleted(bench: Bench, total: int) -> None:
    """Delete the search's folder while it runs: the driver stops; the same command starts a new search."""
    driver = _run_to_the_middle(bench, total)
    _delete(bench.folder)
    _require_stop(driver)
    require(not bench.folder.exists(), f"the folder was created again: {sorted(bench.folder.rglob('*'))[:5]}")
    _delete(bench.storage)
    bench.search().finish()


def _delete(folder: Path) -> None:
    """Delete a folder in which other processes write and delete files; several attempts may be needed."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def _run_to_the_middle(bench: Bench, total: int) -> Driver:
    driver = bench.search()
    bench.wait_for_records(bench.some_record(total), driver=driver)
    return driver


def _require_stop(driver: Driver) -> None:
    since = time.monotonic()
    code = driver.wait(STOP_TIMEOUT_S)
    require(code == 1, f"exit code {code} after {time.monotonic() - since:.0f} s: {driver.message}")
    lines = [line for line in driver.errors.splitlines() if line.startswith("emotune: ")]
    require(len(lines) == 1 and "journal.jsonl" in lines[0], f"messages: {lines}")


def lock_deleted(bench: Bench, total: int) -> None:
    """Delete the lock file of a running search, and start a second driver: refused."""
    del total
    driver = bench.search()
    bench.wait_for_records(4, driver=driver)
    driver.process.send_signal(signal.SIGSTOP)  # so that it does not end before the second one has started
    (bench.folder / "journal.lock").unlink()
    bench.search().refuse(code=2, saying="another driver is running this search")
    driver.process.send_signal(signal.SIGCONT)
    driver.finish()


def journal_immutable(bench: Bench, total: int) -> None:
    """Make the journal immutable, first for a driver that starts, then for one that runs.

    The file system must have attributes, as ext4 has.
    """
    kill_in_the_middle(bench, total)
    with immutable(bench.journal):
        refused = bench.search()
        require(refused.wait() in {1, 2}, f"exit code {refused.wait()}: {refused.message}")
        require("journal.jsonl" in refused.errors, f"messages: {refused.message}")
    driver = bench.search()
    bench.wait_for_records(bench.records() + 2, driver=driver)
    with immutable(bench.journal):
        require(driver.wait() == 1, f"exit code {driver.wait()}: {driver.message}")
        require("journal.jsonl" in driver.errors, f"messages: {driver.message}")
    bench.search().finish()


@contextlib.contextmanager
def immutable(path: Path) -> Iterator[None]:
    """Make a file immutable, for root too."""
    subprocess.run(["chattr", "+i", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)


def another_user(bench: Bench, total: int) -> None:
    """Resume a search of another member of a group, with the umask of groups; a stranger is refused."""
    first, second = USERS
    bench.storage.mkdir()
    for folder in (bench.root, bench.storage, bench.temporary):
        os.chown(folder, first, GROUP)
        folder.chmod(0o2775)
    driver = bench.search(prefix=_as_user(bench, first))
    bench.wait_for_records(bench.some_record(total), driver=driver)
    driver.process.terminate()
    require(driver.wait() == 143, f"exit code {driver.wait()}: {driver.message}")
    stranger = bench.search(prefix=_as_user(bench, 4003, group=4003))
    require(stranger.wait() in {1, 2}, f"exit code {stranger.wait()}: {stranger.message}")
    bench.search(prefix=_as_user(bench, second)).finish()


def _as_user(bench: Bench, user: int, *, group: int = GROUP) -> list[str]:
    """Return the prefix that runs a command as another user, with an own home and an own folder for Ray.

    The user may read all files, because the interpreter may be in the home of root; writing needs the right.
    """
    home = bench.root / f"home-{user}"
    if not home.exists():
        home.mkdir(mode=0o700)
        os.chown(home, user, group)
    variables = [f"HOME={home}", f"RAY_TMPDIR={home}", f"TMPDIR={home}"]
    capability = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"]
    change = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", *capability]
    return [*change, "env", *variables, "sh", "-c", 'umask 002; exec "$@"', "sh"]


def tracking_replaced(bench: Bench, total: int) -> None:
    """Overwrite MLflow's database by garbage, which ``sync`` refuses, then by an empty file, which it fills."""
    driver = _run_to_the_middle(bench, total)
    for name in ("mlflow.db-wal", "mlflow.db-shm"):
        (bench.storage / name).unlink(missing_ok=True)
    database = bench.storage / "mlflow.db"
    database.write_bytes(b"this is no database\n" * 5000)
    driver.finish()
    since = time.monotonic()
    refused = bench.start("sync", "try")
    require(refused.wait() != 0, "sync reports success")
    require("mlflow.db" in refused.errors, f"messages: {refused.message}")
    require(time.monotonic() - since < 60, f"sync took {time.monotonic() - since:.0f} s to refuse the database")
    database.write_bytes(b"")
    bench.start("sync", "try").finish()
