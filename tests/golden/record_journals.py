"""Write the journals of ``tests/golden/journals`` with real searches: ``python -m tests.golden.record_journals``.

Later versions must read these journals, so ``make golden`` does not renew them.
Store and results are in ``/tmp/emotune-golden``, so that the journals contain no path of a machine.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from emotune.storage import LocalLog
from tests.golden.content import Record, read_journal
from tests.golden.journals import FOLDER
from tests.golden.stores import prepare_store

ROOT = Path("/tmp/emotune-golden")
STORE, RESULTS = ROOT / "store", ROOT / "results"
RAY = {"RAY_ADDRESS": "local", "RAY_AUTH_MODE": "disabled", "EMOTUNE_STORAGE": str(RESULTS), "OMP_NUM_THREADS": "1"}
TINY = ("model.channels=[4, 8]", "model.kernels=[9, 5]", "model.feedforward=16", "folds.segments=48", "batch_size=16")

POLL_INTERVAL_S = 0.1
"""Time between two reads of a journal that a search writes."""
RECORD_TIMEOUT_S = 300.0
"""Maximal wait for a record of a running search, or for its end."""


def finished() -> None:
    """Run a search to its end, then extend it by four evaluations."""
    tiny = [part for setting in TINY for part in ("--set", f"base.{setting}")]
    for end in (("--brackets", "1"), ("--evaluations", "+4")):
        with _search("smoke", "finished", *tiny, *end) as driver:
            assert driver.wait(RECORD_TIMEOUT_S) == 0


def interrupted() -> None:
    """Interrupt a search with SIGTERM, resume it, and kill it while evaluations run."""
    study = str(Path(__file__).parents[1] / "ray" / "conditional.yaml")
    with _search(study, "interrupted") as driver:
        _wait_for("interrupted", lambda records: _count(records, "ended") >= 12)
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(RECORD_TIMEOUT_S) == 128 + signal.SIGTERM
    with _search(study, "interrupted"):
        _wait_for("interrupted", lambda records: _count(records, "ended") >= 36 and _is_training(records))


def with_failures() -> None:
    """Run a search in which losses diverge, workers are killed and a worker hangs."""
    name = "with-failures"
    with _search(str(FOLDER / f"{name}.yaml"), name) as driver:
        _wait_for(name, lambda records: _count(records, "ended") >= 4)
        _disturb(driver, signal.SIGKILL, until=lambda records: "died" in _errors(records))
        _disturb(driver, signal.SIGSTOP, until=lambda records: "hung" in _errors(records))
        # 1: after failures, no configuration may reach the largest budget.
        assert driver.wait(RECORD_TIMEOUT_S) in {0, 1}


@contextlib.contextmanager
def _search(study: str, name: str, *arguments: str) -> Iterator[subprocess.Popen]:
    """Start a search from the command line; at the end, kill it and all its processes."""
    options = ["--store", str(STORE), "--name", name, "--concurrency", "2", *arguments]
    command = [sys.executable, "-m", "emotune", "search", study, *options]
    with subprocess.Popen(command, env=os.environ | RAY, start_new_session=True) as driver:
        try:
            yield driver
        finally:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                family = psutil.Process(driver.pid).children(recursive=True)
                driver.kill()
                for process in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()


def _disturb(driver: subprocess.Popen, number: signal.Signals, *, until: Callable[[list[Record]], bool]) -> None:
    """Send a signal to every training process until the journal contains the resulting failure."""
    family = psutil.Process(driver.pid)
    for _ in _waiting():
        if until(_records("with-failures")):
            return
        for process in family.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "Trainable" in " ".join(process.cmdline()) and process.status() != psutil.STATUS_STOPPED:
                    process.send_signal(number)


def _wait_for(name: str, ready: Callable[[list[Record]], bool]) -> None:
    for _ in _waiting():
        if ready(_records(name)):
            return


def _waiting() -> Iterator[None]:
    end = time.monotonic() + RECORD_TIMEOUT_S
    while time.monotonic() < end:
        yield
        time.sleep(POLL_INTERVAL_S)
    raise TimeoutError(f"the record was not written within {RECORD_TIMEOUT_S:.0f} s")


def _records(name: str) -> list[Record]:
    journal = RESULTS / name / "journal.jsonl"
    return read_journal(LocalLog(journal)) if journal.exists() else []


def _count(records: list[Record], kind: str) -> int:
    return sum(record.kind == kind for record in records)


def _is_training(records: list[Record]) -> bool:
    """Return whether two evaluations run and the last record is an epoch of one of them."""
    return _count(records, "started") - _count(records, "ended") == 2 and records[-1].kind == "epoch"


def _errors(records: list[Record]) -> str:
    return "\n".join(record.error or "" for record in records if record.kind == "ended")


def main(names: list[str]) -> None:
    """Record the journals of these names, or all, and copy them to ``journals``."""
    runs = {"finished": finished, "interrupted": interrupted, "with-failures": with_failures}
    if not STORE.exists():
        prepare_store(STORE)
    for name in names or runs:
        shutil.rmtree(RESULTS / name, ignore_errors=True)
        runs[name]()
        (FOLDER / name).mkdir(exist_ok=True)
        shutil.copy(RESULTS / name / "journal.jsonl", FOLDER / name)


if __name__ == "__main__":
    main(sys.argv[1:])
