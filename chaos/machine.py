"""Faults of the machine: suspended processes, too little memory, deleted folders, a full disk, a lost terminal."""

import contextlib
import os
import pty
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from chaos.bench import Bench, Driver, require
from chaos.damage import fill, kill_in_the_middle, small_disk

SUSPENSION_S = 60.0
"""Time for which processes are suspended."""

GIBIBYTE = 2**30

BALLAST = """
import sys, time
memory = bytearray(int(sys.argv[1]))
memory[::4096] = bytes([1]) * len(memory[::4096])
time.sleep(60)
"""
"""A program that uses a number of bytes for 60 s."""


def gcs_suspended(bench: Bench, total: int) -> None:
    """Suspend Ray's GCS server for 60 s."""
    driver = _run_to_the_middle(bench, total)
    _suspend([driver.find("gcs_server")])
    _finish_or_resume(bench, driver)


def raylet_suspended(bench: Bench, total: int) -> None:
    """Suspend the node's raylet for 60 s."""
    driver = _run_to_the_middle(bench, total)
    _suspend([driver.find("raylet/raylet")])
    _finish_or_resume(bench, driver)


def machine_suspended(bench: Bench, total: int) -> None:
    """Suspend all processes of the search for 60 s, as on a laptop that sleeps."""
    driver = _run_to_the_middle(bench, total)
    _suspend([psutil.Process(driver.pid), *driver.family()])
    require("hung" not in driver.finish(), "a trial counts as hung")


def _run_to_the_middle(bench: Bench, total: int) -> Driver:
    driver = bench.search()
    bench.wait_for_records(bench.some_record(total), driver=driver)
    return driver


def _suspend(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    time.sleep(SUSPENSION_S)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


def _finish_or_resume(bench: Bench, driver: Driver) -> None:
    if driver.wait() != 0:
        bench.search().finish()


def memory_taken(bench: Bench, total: int) -> None:
    """Let another program take memory until Ray's memory monitor ends workers: tried again, or the search stops."""
    del total
    limit = _used_memory() + 3 * GIBIBYTE
    threshold = limit / psutil.virtual_memory().total
    bench.environment |= {"RAY_memory_usage_threshold": f"{threshold:.3f}", "RAY_memory_monitor_refresh_ms": "100"}
    driver = bench.search()
    bench.wait_for_records(4, driver=driver)
    ballast = bench.run([sys.executable, "-c", BALLAST, str(limit - _used_memory() + GIBIBYTE)])
    bench.wait_until(lambda: "ran low on memory" in driver.errors, driver=driver)
    ballast.process.kill()
    if driver.wait() != 0:  # other programs have taken the memory since: the search may stop, and resumes
        driver.refuse(code=1, saying="ran low on memory")
        bench.environment.clear()
        bench.search().finish()
    require(not bench.failed(), f"failed: {bench.failed()[:1]}")


def _used_memory() -> int:
    memory = psutil.virtual_memory()
    return memory.total - memory.available


def no_memory_left(bench: Bench, total: int) -> None:
    """Let Ray's memory monitor end every worker: the search stops, no evaluation fails, and it resumes later."""
    kill_in_the_middle(bench, total)
    failed = len(bench.failed())
    bench.environment |= {"RAY_memory_usage_threshold": "0.02", "RAY_memory_monitor_refresh_ms": "250"}
    bench.search().refuse(code=1, saying="ran low on memory")
    require(len(bench.failed()) == failed, f"failed: {bench.failed()[:1]}")
    bench.environment.clear()
    bench.search().finish()


def ray_folder_deleted(bench: Bench, total: int) -> None:
    """Delete Ray's session folder, as programs that clean /tmp do."""
    driver = _run_to_the_middle(bench, total)
    for session in bench.root.glob("ray/session_2*"):
        shutil.rmtree(session, ignore_errors=True)
    driver.finish(saying="was deleted; Ray is started again")


def tune_folder_deleted(bench: Bench, total: int) -> None:
    """Delete the temporary folder of Ray Tune."""
    driver = _run_to_the_middle(bench, total)
    folders = list(bench.temporary.glob("emotune-tune-*"))
    require(folders, "there is no folder of Ray Tune")
    for folder in folders:
        shutil.rmtree(folder)
    driver.finish()


def temporary_disk_full(bench: Bench, total: int) -> None:
    """Fill the disk of Ray's folder before a start: refused in a line. Then fill it while the search runs."""
    with small_disk(bench.root / "ray", megabytes=256) as disk, small_disk(bench.temporary, megabytes=64) as temporary:
        ballast = fill(disk, leave=0)
        bench.search().refuse(code=1, saying="Ray cannot start: ray folder: ")
        ballast.unlink()
        driver = _run_to_the_middle(bench, total)
        ballasts = [fill(disk, leave=0), fill(temporary, leave=0)]
        code = driver.wait()
        require(code in {0, 1}, f"exit code {code}: {driver.message}")
        for ballast in ballasts:
            ballast.unlink()
        bench.search().finish()


def hung_up(bench: Bench, total: int) -> None:
    """Close the terminal of the driver: it saves and stops, as with SIGTERM."""
    with terminal(bench.root / "terminal") as slave:
        heeding = ["env", "--default-signal=HUP"]  # also if the suite itself was started by nohup
        driver = bench.search(prefix=["setsid", "--ctty", *heeding], terminal=slave)
        os.close(slave)
        bench.wait_for_records(bench.some_record(total), driver=driver)
    since = time.monotonic()
    code = driver.wait()
    require(code == 128 + signal.SIGHUP, f"exit code {code}")
    require(time.monotonic() - since < 25, "it took longer than 25 s")
    require(bench.status()["state"] == "interrupted", f"the search is {bench.status()['state']}")
    bench.search().finish()


@contextlib.contextmanager
def terminal(log: Path) -> Iterator[int]:
    """Open a terminal whose output goes to a file, yield its slave side, and close it."""
    master, slave = pty.openpty()

    def copy() -> None:
        with log.open("wb") as file, contextlib.suppress(OSError):
            while content := os.read(master, 4096):
                file.write(content)

    threading.Thread(target=copy, daemon=True).start()
    try:
        yield slave
    finally:
        os.close(master)


def few_open_files(bench: Bench, total: int) -> None:
    """Limit the open files of a process to 128: a warning, and the search works."""
    del total
    driver = bench.search(prefix=["prlimit", "--nofile=128:128"])
    require("open files: at most 128" in driver.finish(), "no warning")


def long_temporary_path(bench: Bench, total: int) -> None:
    """Set RAY_TMPDIR to a path that is too long for sockets: refused in a line."""
    del total
    folder = bench.root / ("x" * 100)
    folder.mkdir()
    bench.environment["RAY_TMPDIR"] = str(folder)
    since = time.monotonic()
    bench.search().refuse(code=1, saying="is too long for Ray's sockets")
    require(time.monotonic() - since < 60, "it took longer than 60 s")
    bench.environment.clear()
    bench.search().finish()
