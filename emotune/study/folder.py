"""The folder of one search in a storage of results."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emotune.errors import DamageError, SettingsError, StorageAwayError, StorageRefusedError
from emotune.files import safe_name
from emotune.search.records import Record, Started
from emotune.storage import Log, Storage, storage_at
from emotune.study.journal import ADVICE

STOP_POLL_INTERVAL_S = 2.0
"""Seconds between two reads of the request to stop by a driver."""

JOURNAL = "journal"
"""Name of the journal's log."""

STOP_REQUEST = "stop"
"""File with the request to stop; it exists until the next driver starts."""

StopRequest = Literal["stop", "now"]
"""``stop``: start no evaluation and run the running ones to their end; ``now``: save their checkpoints and end them."""


@dataclass(frozen=True)
class SearchFolder:
    """The folder of one search: its journal, its configurations' checkpoints, what MLflow has received."""

    root: Storage
    """Where searches are kept."""

    name: str
    """Name of the search, and of its folder."""

    @classmethod
    def of(cls, name: str, *, storage: Storage) -> "SearchFolder":
        """Return the folder of a search by name; it need not exist.

        Raises:
            SettingsError: The name cannot be a folder's name, or a file has it.
        """
        folder = cls(storage, safe_name(name))
        if folder.path.is_file():
            raise SettingsError(f"the name {name!r} cannot be used: {folder.path} is a file; give another one")
        return folder

    @classmethod
    def at(cls, path: Path) -> "SearchFolder":
        """Return the folder of a search by path; it need not exist."""
        absolute = path.absolute()
        return cls(storage_at(absolute.parent), absolute.name)

    @property
    def storage(self) -> Storage:
        """The folder itself."""
        return self.root / self.name

    @property
    def path(self) -> Path:
        """The folder on this machine: itself, or a working copy of it."""
        return self.storage.local()

    @property
    def journal(self) -> Log:
        """The log of every decision and result."""
        return self.storage.log(JOURNAL)

    @property
    def begun(self) -> bool:
        """Whether there is a journal, with or without records."""
        return self.journal.exists()

    @property
    def driver_alive(self) -> bool:
        """Whether a driver holds the journal now."""
        return self.journal.is_locked()

    def request_stop(self, request: StopRequest = "stop") -> None:
        """Request that the driver stops; a later request replaces an earlier one."""
        self.storage.write(STOP_REQUEST, f"{request}\n".encode())

    def requested_stop(self) -> StopRequest | None:
        """Return the request to stop, if there is one; one that no driver has read stays until the next one starts."""
        content = self.storage.read(STOP_REQUEST)
        if content is None:
            return None
        return "now" if content.strip() == b"now" else "stop"

    def stop_watch(self) -> Callable[[], StopRequest | None]:
        """Return a function that returns the request to stop, if there is one, and may be called often."""
        read_at: float = float("-inf")
        request: StopRequest | None = None

        def stop_request() -> StopRequest | None:
            nonlocal read_at, request
            if request != "now" and time.monotonic() - read_at >= STOP_POLL_INTERVAL_S:
                read_at = time.monotonic()
                with contextlib.suppress(StorageAwayError):
                    request = self.requested_stop() or request
            return request

        return stop_request

    def forget_stop(self) -> None:
        """Remove a request to stop, if there is one."""
        self.storage.remove(STOP_REQUEST)

    def kept_encoder(self, which: str) -> Storage:
        """Return the folder of the copy of a pre-trained encoder: ``encoder`` or ``second``."""
        return self.storage / ("encoder" if which == "encoder" else f"encoder-{which}")

    def checkpoints(self, config_id: int) -> Storage:
        """Return the folder of a configuration's checkpoints."""
        return self.storage / "configurations" / f"{config_id:05d}"

    def check_complete(self, records: Sequence[Record]) -> None:
        """Refuse a journal that has lost records: its evaluations would be computed again.

        If whole lines are gone from its end, or the whole file, only the checkpoints show it.

        Raises:
            DamageError: There are checkpoints of a configuration that no record starts.
        """
        recorded = {record.evaluation.config_id for record in records if isinstance(record, Started)}
        names = (self.storage / "configurations").folders()
        unrecorded = {int(name) for name in names if name.isdecimal()} - recorded
        if unrecorded:
            raise DamageError(
                f"{self.journal}, byte {len(self.journal.read())}: records are missing at its end, because there are "
                f"checkpoints of configuration {min(unrecorded)} and none of its {len(records)} records starts it; "
                f"{ADVICE}"
            )

    def put_aside(self) -> "SearchFolder":
        """Give the folder another name, so that a new search can have this one; nothing is lost."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = SearchFolder(self.root, f"{self.name}.until-{stamp}")
        number = 2
        while aside.path.exists() or aside.begun:
            aside = SearchFolder(self.root, f"{self.name}.until-{stamp}-{number}")
            number += 1
        self.storage.rename(aside.name, log=JOURNAL)
        return aside


def find_searches(storage: Storage) -> list[SearchFolder]:
    """Return the searches in a storage, by name, also those whose folders cannot be read."""
    folders = (SearchFolder(storage, name) for name in storage.folders())
    return [folder for folder in folders if _may_have_begun(folder)]


def _may_have_begun(folder: SearchFolder) -> bool:
    try:
        return folder.begun
    except StorageRefusedError:
        return True
