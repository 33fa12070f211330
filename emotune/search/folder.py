"""Where a search lies on disk."""

import fcntl
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from emotune.errors import DamageError, SettingsError
from emotune.files import safe_name
from emotune.search.journal import ADVICE
from emotune.search.records import Record, Started


@dataclass(frozen=True)
class SearchFolder:
    """The folder of one search: its journal, its configurations' checkpoints, its mirror's cursor."""

    path: Path

    @classmethod
    def of(cls, name: str, *, storage: Path) -> "SearchFolder":
        """Return the folder of a search by name; it need not exist.

        Raises:
            SettingsError: The name cannot be a folder's name, or is that of a file.
        """
        path = storage / safe_name(name)
        if path.is_file():
            raise SettingsError(f"the name {name!r} cannot be used: {path} is a file; give another one")
        return cls(path)

    @property
    def name(self) -> str:
        """Name of the search."""
        return self.path.name

    @property
    def journal(self) -> Path:
        """Every decision and result: the truth about the search."""
        return self.path / "journal.jsonl"

    @property
    def stop_request(self) -> Path:
        """Present while somebody has asked the driver to stop."""
        return self.path / "stop"

    def kept_encoder(self, which: str) -> Path:
        """Folder of the copy of a pre-trained encoder that the search starts from: ``encoder`` or ``second``."""
        return self.path / ("encoder" if which == "encoder" else f"encoder-{which}")

    @property
    def driver_alive(self) -> bool:
        """Whether a driver holds the journal now."""
        try:
            handle = os.open(self.journal.with_suffix(".lock"), os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def checkpoints(self, config_id: int) -> Path:
        """Folder of a configuration's checkpoints."""
        return self.path / "configurations" / f"{config_id:05d}"

    def check_complete(self, records: Sequence[Record]) -> None:
        """Refuse a journal that has lost records: going on with it would do again what was done.

        Whole lines that are gone from its end, or the whole file, leave no other trace than the checkpoints.

        Raises:
            DamageError: There are checkpoints of a configuration that the records do not know.
        """
        known = {record.evaluation.config_id for record in records if isinstance(record, Started)}
        kept = {int(found.name) for found in self.path.glob("configurations/[0-9]*")}
        if not kept <= known:
            size = self.journal.stat().st_size if self.journal.exists() else 0
            raise DamageError(
                f"{self.journal}, byte {size}: records are missing at its end, for there are checkpoints of "
                f"configuration {min(kept - known)}, which none of its {len(records)} records is about; {ADVICE}"
            )

    def put_aside(self) -> Path:
        """Rename the folder, so that a new search can have its name; nothing is deleted."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = self.path.with_name(f"{self.name}.until-{stamp}")
        number = 2
        while aside.exists():
            aside = self.path.with_name(f"{self.name}.until-{stamp}-{number}")
            number += 1
        self.path.rename(aside)
        return aside


def storage_folder(storage: str) -> Path:
    """Return the folder that a storage option names.

    Raises:
        SettingsError: It is a URL other than ``file://``.
    """
    parsed = urlparse(storage)
    if parsed.scheme == "file":
        return Path(unquote(parsed.path)).absolute()
    if "://" in storage:
        raise SettingsError(
            f"--storage: {storage!r} was given, but results can be kept in folders only; give a folder that the driver "
            "and all workers see"
        )
    return Path(storage).absolute()


def find_searches(storage: Path) -> list[SearchFolder]:
    """Return the searches kept in a folder, by name."""
    return [SearchFolder(journal.parent) for journal in sorted(storage.glob("*/journal.jsonl"))]
