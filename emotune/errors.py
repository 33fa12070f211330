"""The few errors a user can act on.

Each message is one line: what was given, what was expected, what to do. The command line shows
it without a traceback and exits with ``exit_code``.
"""

import difflib
from collections.abc import Iterable


class EmotuneError(Exception):
    """Base of the errors that are the user's to mend."""

    exit_code = 2


class SettingsError(EmotuneError):
    """A study, an experiment or an option says something impossible."""


class DataError(EmotuneError):
    """A recording, a corpus or a segment store cannot be used as it is."""


class BusyError(EmotuneError):
    """Another driver is alive on the same search."""


class DamageError(EmotuneError):
    """A journal or a checkpoint on disk is not what was written."""


class StudyChangedError(EmotuneError):
    """A search of this name exists and was started from another study."""


class SearchFailedError(EmotuneError):
    """The search cannot go on: too many evaluations failed in the same way."""

    exit_code = 1


class StorageRefusedError(EmotuneError):
    """The bucket of the results says no: a wrong name, wrong keys, or something that it cannot do."""


class StorageAwayError(EmotuneError, OSError):
    """The bucket of the results cannot be reached, or has trouble; it may come back."""

    exit_code = 1


class StorageConflictError(EmotuneError):
    """Somebody else has written the object in the bucket."""

    exit_code = 1


class StorageError(EmotuneError):
    """A checkpoint could not be written: the disk is full, or not there. No result of the training's."""

    exit_code = 1


class TrainingDivergedError(Exception):
    """The loss is no longer a finite number. A result, and the worst one: never retried."""


def suggestion(word: str, *, among: Iterable[str]) -> str:
    """Return an ending of an error message such as ``. Did you mean 'lr'?``; empty if no word is similar."""
    close = difflib.get_close_matches(word, list(among), n=1)
    return f". Did you mean {close[0]!r}?" if close else ""
