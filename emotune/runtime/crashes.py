"""Crashes of worker processes: the signal that ended a process, written by the process itself.

Neither Ray nor the operating system reports to the driver why a process has ended. A process that a signal of its own
ends, such as a segmentation fault in a library, still writes the name of the signal (`faulthandler`) into a file in
the folder of the search. A process that is killed (SIGKILL: the kernel's memory killer, an operator) writes nothing.

A bus error and an illegal instruction are faults of the machine: a disk or a shared memory that is full or gone, and a
processor that the libraries were not built for.
"""

import contextlib
import faulthandler
from io import FileIO
from pathlib import Path

from emotune.search.records import Failure

PROGRAM_CRASHES = ("Segmentation fault", "Aborted", "Floating point exception", "Floating-point exception")
"""Signals by which the program itself ends, in the words of `faulthandler`."""

PATTERN = ".crash-*"
"""Names of the files in the folder of a search."""

_open: list[FileIO] = []
"""The file of this process; `faulthandler` keeps only its descriptor."""


def crash_file(folder: Path, *, evaluation_id: int) -> Path:
    """Return the file for the crash of an evaluation's worker."""
    return folder / PATTERN.replace("*", f"{evaluation_id:05d}")


def record_crashes(file: Path | None) -> None:
    """Write the signal that ends this process into a file from now on, instead of an earlier one.

    Args:
        file: The file, which is emptied; None: nowhere. Without its folder nothing is written.
    """
    earlier = list(_open)
    _open.clear()
    if file is not None:
        with contextlib.suppress(OSError):
            _open.append(FileIO(file, "w"))
    if _open:
        faulthandler.enable(_open[0], all_threads=False)
    elif earlier:
        faulthandler.disable()
    for open_file in earlier:
        open_file.close()


def read_crash(file: Path | None) -> str:
    """Return the signal by which the program itself ended a process; empty if it was something else."""
    if file is None:
        return ""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return ""
    return next((name for name in PROGRAM_CRASHES if f"Fatal Python error: {name}" in text), "")


def with_crash(failure: Failure, *, file: Path | None) -> Failure:
    """Return why a worker was lost: the crash in its file, if there is one."""
    crash = read_crash(file) if failure.kind == "worker_lost" else ""
    return Failure(kind="program_error", message=f"the worker process crashed: {crash}") if crash else failure


def remove_crash_files(folder: Path) -> None:
    """Remove the files of all evaluations of a search."""
    for file in folder.glob(PATTERN):
        file.unlink(missing_ok=True)
