"""Parts of a corpus, prepared by several processes."""

import contextlib
import fcntl
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from emotune.data.prepare.parts import PreparationJob, PreparedPart, prepare_part, read_finished_part
from emotune.errors import DataError, SettingsError


@dataclass(frozen=True)
class ProcessPool:
    """Pool of processes that prepare parts of a corpus."""

    workers: int
    progress: Callable[[float, str], None]

    def run(self, jobs: Sequence[PreparationJob], *, weights: Sequence[int]) -> list[PreparedPart]:
        """Run all jobs and return their parts in the order of the jobs.

        Args:
            jobs: The parts to prepare.
            weights: Amount of work of each job, for the progress.

        Raises:
            DataError: A job failed, or a process died.
        """
        self.progress(0.0, f"preparing {len(jobs)} parts")
        counter = _Counter(jobs, weights=weights, progress=self.progress)
        if min(self.workers, len(jobs)) <= 1:
            return _run_here(jobs, counter=counter)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            min(self.workers, len(jobs)), mp_context=context, initializer=_die_with_parent
        ) as processes:
            with _without_script():
                futures = [processes.submit(prepare_part, job) for job in jobs]
            try:
                known = {future: number for number, future in enumerate(futures)}
                for future in as_completed(futures):
                    future.result()
                    counter.add(known[future])
                return [future.result() for future in futures]
            except BrokenProcessPool as error:
                raise DataError(
                    f"a process that prepared {jobs[0].reader.name} died, possibly because memory ran out. "
                    "Start the same command again to resume; --workers 1 needs the least memory."
                ) from error
            except BaseException:
                processes.shutdown(wait=True, cancel_futures=True)
                raise


@contextlib.contextmanager
def _without_script() -> Iterator[None]:
    """Hide the running script from processes that are started in a ``with`` statement.

    They would run it again, from its first line if it has no ``if __name__ == "__main__"``, and need nothing of it.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


class _Counter:
    """Counts finished parts by their bytes. Parts of an earlier, interrupted preparation are not work of this one.

    Args:
        jobs: All parts.
        weights: Their sizes.
        progress: Called with the share of the bytes that this preparation has to read.
    """

    def __init__(
        self, jobs: Sequence[PreparationJob], *, weights: Sequence[int], progress: Callable[[float, str], None]
    ) -> None:
        self._jobs = jobs
        self._weights = [
            0 if read_finished_part(job.output) else weight for job, weight in zip(jobs, weights, strict=True)
        ]
        self._progress = progress
        self._bytes = self._parts = 0

    def add(self, number: int) -> None:
        """Count a part."""
        self._bytes += self._weights[number]
        self._parts += 1
        name = self._jobs[number].corpus_part.name
        self._progress(self._bytes / (sum(self._weights) or 1), f"part {self._parts} of {len(self._jobs)}: {name}")


def _run_here(jobs: Sequence[PreparationJob], *, counter: _Counter) -> list[PreparedPart]:
    """Run all jobs in this process."""
    parts: list[PreparedPart] = []
    for number, job in enumerate(jobs):
        parts.append(prepare_part(job))
        counter.add(number)
    return parts


def _die_with_parent() -> None:
    """End this process when its parent process ends, and ignore SIGINT, which the parent handles."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def scratch_folder(store: Path) -> Iterator[Path]:
    """Yield the hidden folder beside a store that holds its finished parts, locked for this process.

    The folder is removed at the end and after an error. A killed or interrupted process leaves it, and the
    next process resumes from the parts in it.

    Raises:
        SettingsError: Another process holds the lock.
    """
    folder = _scratch_path(store)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(f"{store} is being prepared by another process. Wait for it, or stop it.") from error
        try:
            yield folder
        except KeyboardInterrupt:
            raise
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder)


def remove_scratch(store: Path) -> None:
    """Remove the hidden folder of finished parts, if a process was killed after it had written the store.

    Raises:
        SettingsError: Another process holds the lock.
    """
    if _scratch_path(store).exists():
        with scratch_folder(store):
            pass


def _scratch_path(store: Path) -> Path:
    return store.with_name(f".{store.name}.parts")
