"""The errors that a user can act on.

The message of each is one line: what was given, what was expected, what to type. The command line prints it without a
traceback and exits with ``exit_code``: 2 if the input is to be changed, 1 if the same command may work later.
"""

import difflib
from collections.abc import Iterable
from typing import Literal


class EmotuneError(Exception):
    """Base of all errors that a user can act on."""

    exit_code = 2


class SettingsError(EmotuneError):
    """A study, an experiment or an option is impossible. The user changes the file or the option that is named."""


class DataError(EmotuneError):
    """A recording, a corpus or a segment store cannot be used. The user repairs it, or gives another one."""


class BusyError(EmotuneError):
    """Another driver holds the journal of the search. The user waits for it, or stops it with ``emotune stop``."""


class DamageError(EmotuneError):
    """A journal or a checkpoint is not what was written. The user restores it from a backup, or gives ``--fresh``."""


class StudyChangedError(EmotuneError):
    """A search is to be resumed with a study that would give other results.

    The user gives the study it was started from, another ``--name``, or ``--fresh``.
    """


class SearchFailedError(EmotuneError):
    """A search stopped: its evaluations failed in the same way, gave no result, or its journal cannot be written.

    The user removes the cause that is named and gives the same command again: it resumes.
    """

    exit_code = 1


class ClusterError(EmotuneError):
    """Ray does not start, cannot be reached, or has lost its own files.

    The user removes the cause that is named and gives the same command again: it resumes.

    Args:
        reason: The observed fault.
        remedy: What to do, as the end of the message; empty if the reason says it.
    """

    exit_code = 1

    def __init__(self, reason: str, *, remedy: str = "") -> None:
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy


class GpuLostError(Exception):
    """Ray assigned a GPU to this process, and torch cannot use it. A fault of the machine, no result."""


class StorageRefusedError(EmotuneError):
    """A storage refuses a request: a bucket or its keys are wrong, or a file or its folder denies access.

    The user corrects the URL, the ``AWS_*`` variables or the permissions. Not repeated.
    """


class StorageAwayError(EmotuneError, OSError):
    """A bucket cannot be reached or has an error of its own; it may answer later.

    Writes are repeated for `emotune.storage.patience.PATIENCE_S` before this is raised. The user repairs the server
    or the network and gives the same command again.
    """

    exit_code = 1


class StorageConflictError(EmotuneError):
    """An object in a bucket has another version than expected: another driver wrote it.

    The storage turns it into `BusyError`; a user never gets it.
    """

    exit_code = 1


class StorageError(EmotuneError):
    """A checkpoint cannot be written: the disk is full or not mounted. The evaluation does not count as failed.

    The user makes room and gives the same command again.
    """

    exit_code = 1


class ServerError(EmotuneError):
    """MLflow's server does not start, or has ended. The user removes the cause and gives the same command again."""

    exit_code = 1


class TrainingDivergedError(Exception):
    """The loss is not finite. This is the worst result of an evaluation, not an error of the program: no retry."""


def suggestion(word: str, *, among: Iterable[str]) -> str:
    """Return an ending of an error message such as ``. Did you mean 'lr'?``; empty if no word is similar."""
    close = difflib.get_close_matches(word, list(among), n=1)
    return f". Did you mean {close[0]!r}?" if close else ""


def summary(error: BaseException, *, line: Literal["first", "last"] = "last") -> str:
    """Return an exception in one line: its type and a line of its message.

    Args:
        error: The exception.
        line: The last line is the exception itself where the message contains a traceback, as Ray's do. CUDA and the
            start of Ray add advice after the first one.
    """
    lines = [stripped for text in str(error).splitlines() if (stripped := text.strip())]
    return f"{type(error).__name__}: {lines[0 if line == 'first' else -1]}" if lines else type(error).__name__
