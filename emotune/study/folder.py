"""Where a search lies on disk."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from emotune.errors import DamageError, SettingsError, StorageAwayError
from emotune.files import safe_name
from emotune.search.records import Record, Started
from emotune.storage.logs import log_exists, log_is_open, log_prefix, read_log
from emotune.storage.remote import Remote, cache_of, children, move, place_of, pull, push, remote_of
from emotune.study.journal import ADVICE

LOOK_SECONDS = 2.0
"""So often a driver looks into a bucket for a request to stop."""


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

    @property
    def begun(self) -> bool:
        """Whether there is a journal, with or without records."""
        return log_exists(self.journal)

    def request_stop(self) -> None:
        """Ask the driver to stop."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.stop_request.write_bytes(b"stop\n")
        push(self.stop_request)

    def stop_watch(self) -> Callable[[], bool]:
        """Return what tells whether somebody has asked the driver to stop; to be asked often."""
        if remote_of(self.path) is None:
            return self.stop_request.exists
        looked, found = float("-inf"), False

        def look() -> bool:
            nonlocal looked, found
            if not found and time.monotonic() - looked > LOOK_SECONDS:
                looked = time.monotonic()
                with contextlib.suppress(StorageAwayError):
                    found = pull(self.stop_request)
            return found

        return look

    def forget_stop(self) -> None:
        """Take a request to stop, if there is one, for carried out."""
        self.stop_request.unlink(missing_ok=True)
        remote = remote_of(self.stop_request)
        if remote is not None:
            remote.bucket.delete([remote.key])

    def kept_encoder(self, which: str) -> Path:
        """Folder of the copy of a pre-trained encoder that the search starts from: ``encoder`` or ``second``."""
        return self.path / ("encoder" if which == "encoder" else f"encoder-{which}")

    @property
    def driver_alive(self) -> bool:
        """Whether a driver holds the journal now."""
        return log_is_open(self.journal)

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
        names = children(self.path / "configurations")
        if names is None:
            names = [found.name for found in self.path.glob("configurations/[0-9]*")]
        kept = set(map(int, names))
        if not kept <= known:
            size = len(read_log(self.journal))
            raise DamageError(
                f"{place_of(self.journal)}, byte {size}: records are missing at its end, for there are checkpoints of "
                f"configuration {min(kept - known)}, which none of its {len(records)} records is about; {ADVICE}"
            )

    def put_aside(self) -> "SearchFolder":
        """Give the folder another name, so that a new search can have this one; nothing is lost.

        In a bucket everything is copied first, and then removed, the end of the journal last but its beginning.
        """
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = SearchFolder(self.path.with_name(f"{self.name}.until-{stamp}"))
        number = 2
        while aside.path.exists() or aside.begun:
            aside = SearchFolder(self.path.with_name(f"{self.name}.until-{stamp}-{number}"))
            number += 1
        move(self.path, to=aside.path, last=log_prefix(self.journal))
        self.path.rename(aside.path)
        return aside


def storage_folder(storage: str) -> Path:
    """Return the folder that a storage option names: of an ``s3://`` URL, the one that stands for it here.

    Raises:
        SettingsError: It is another kind of URL, or boto3 is not installed.
    """
    parsed = urlparse(storage)
    if parsed.scheme == "s3":
        remote = Remote.at(storage)
        remote.bucket.entries(f"{remote.below}.none")
        return cache_of(remote)
    if parsed.scheme == "file":
        return Path(unquote(parsed.path)).absolute()
    if "://" in storage:
        raise SettingsError(
            f"--storage: {storage!r} was given, but results can be kept in folders and in S3-compatible buckets only; "
            "give a folder that the driver and all workers see, or s3://BUCKET/PREFIX"
        )
    return Path(storage).absolute()


def find_searches(storage: Path) -> list[SearchFolder]:
    """Return the searches kept in a folder, by name."""
    names = children(storage)
    if names is not None:
        return [folder for name in names if (folder := SearchFolder(storage / name)).begun]
    return [SearchFolder(journal.parent) for journal in sorted(storage.glob("*/journal.jsonl"))]
