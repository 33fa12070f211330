"""Results in a bucket of an S3-compatible server, under a prefix."""

import contextlib
import dataclasses
import hashlib
import importlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from emotune.errors import SettingsError, StorageAwayError
from emotune.files import new_folder, write_atomically
from emotune.storage.base import Address, Log, Storage
from emotune.storage.lease import Lease, is_held
from emotune.storage.local import LocalLog
from emotune.storage.object_log import ObjectLogWriter, is_begun, read_lines
from emotune.storage.patience import patiently

if TYPE_CHECKING:
    from emotune.storage.bucket import Bucket

logger = logging.getLogger(__name__)

CACHE_RECORD = ".remote"
"""File at the top of a cache folder: the URL and server it is of, and a random id of this machine's cache."""


@dataclass(frozen=True)
class S3Storage(Storage):
    """A prefix in a bucket, with a working copy in the cache of this machine.

    Server, region and keys are those of the environment (``AWS_*`` variables or a profile), on every machine.
    """

    bucket_name: str

    prefix: str
    """Prefix of the whole storage, without a slash at either end; empty for the whole bucket."""

    cache: Path
    """Working copy of the whole storage on this machine."""

    within: str = ""
    """Path of this folder within the whole storage."""

    scheme = "s3"
    mounted = False

    @classmethod
    def from_url(cls, url: str) -> "S3Storage":
        """Return the storage of ``s3://BUCKET/PREFIX``, after one request to the server."""
        storage = cls._of(url)
        storage.bucket.entries(f"{storage._inside}.none")
        return storage

    @classmethod
    def from_json(cls, address: Address) -> "S3Storage":
        """Return the storage of an address, with the cache of this machine."""
        return dataclasses.replace(cls._of(address["url"]), within=address["within"])

    @classmethod
    def _of(cls, url: str) -> "S3Storage":
        parsed = urlparse(url)
        if parsed.scheme != "s3" or not parsed.netloc or "@" in parsed.netloc or parsed.query or parsed.fragment:
            raise SettingsError(
                f"--storage: {url!r} was given, expected s3://BUCKET/PREFIX; set the server and the keys by "
                "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or by a profile"
            )
        prefix = "/".join(part for part in parsed.path.split("/") if part)
        return cls(parsed.netloc, prefix, _make_cache(f"s3://{parsed.netloc}/{prefix}"))

    @classmethod
    def of_working_copy(cls, path: Path) -> "S3Storage | None":
        """Return the storage of a path in the cache, ``$EMOTUNE_CACHE`` or ``~/.cache/emotune``."""
        if not path.is_relative_to(_cache_root()):
            return None
        name, *within = path.relative_to(_cache_root()).parts or ("",)
        record = _cache_root() / name / CACHE_RECORD
        if not record.is_file():
            return None
        whole = cls._of(json.loads(record.read_bytes())["url"])
        return dataclasses.replace(whole, cache=_cache_root() / name, within="/".join(within))

    def to_json(self) -> Address:
        """Return the URL of the whole storage, and the path within it."""
        return {"scheme": self.scheme, "url": f"s3://{self.bucket_name}/{self.prefix}", "within": self.within}

    def describe(self) -> str:
        """Return the URL."""
        return f"s3://{self.bucket_name}/{self._key('')}"

    def __truediv__(self, name: str) -> "S3Storage":
        return dataclasses.replace(self, within=_join(self.within, name))

    def local(self, key: str = "") -> Path:
        """Return the path in the cache."""
        return self.cache / self.within / key

    @property
    def bucket(self) -> "Bucket":
        """The bucket, opened once per process.

        Raises:
            SettingsError: boto3 is not installed.
        """
        return _open_bucket(self.bucket_name)

    def _key(self, key: str) -> str:
        return _join(self.prefix, self.within, key)

    @property
    def _inside(self) -> str:
        """What the keys of all that is in this folder begin with."""
        key = self._key("")
        return f"{key}/" if key else ""

    def read(self, key: str) -> bytes | None:
        """Return an object's content."""
        blob = self.bucket.get(self._key(key))
        return None if blob is None else blob.body

    def write(self, key: str, content: bytes, *, patience: float | None = None) -> None:
        """Write an object."""
        where = self / key
        patiently(lambda: self.bucket.write(self._key(key), content), what=where, seconds=patience)

    def remove(self, key: str) -> None:
        """Delete an object."""
        self.bucket.delete([self._key(key)])

    def folders(self) -> list[str]:
        """Return the names of the folders in the bucket."""
        return self.bucket.folders(self._inside)

    def upload(self, *, last: str) -> None:
        """Write the files of the working copy."""
        key, folder = self._key(last), self.local()
        present = patiently(lambda: self.bucket.get(key), what=self)
        if present is not None and present.body == (folder / last).read_bytes():
            return
        if present is not None:
            patiently(lambda: self.bucket.delete([key]), what=self)
        for name in (*sorted(path.name for path in folder.iterdir() if path.name != last), last):
            patiently(lambda name=name: self.bucket.upload(self._key(name), folder / name), what=self / name)

    def download(self, *, last: str) -> bool:
        """Replace the working copy, unless it has the same ``last`` file."""
        folder, blob = self.local(), self.bucket.get(self._key(last))
        if blob is None:
            return False
        if (folder / last).is_file() and (folder / last).read_bytes() == blob.body:
            return True
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with new_folder(folder) as draft:
                for entry in self.bucket.entries(self._inside):
                    self.bucket.download(entry.key, draft / entry.key.removeprefix(self._inside))
                (draft / last).write_bytes(blob.body)
        except OSError:
            if not (folder / last).is_file():  # otherwise another process of this machine was faster
                raise
        return True

    def clear(self, *, last: str) -> None:
        """Delete all objects, ``last`` first, and the working copy."""
        try:
            keys = [entry.key for entry in self.bucket.entries(self._inside)]
            self.bucket.delete(sorted(keys, key=lambda key: key != self._key(last)))
        except StorageAwayError as error:
            logger.warning("%s could not be removed and takes up space: %s", self, error)
        shutil.rmtree(self.local(), ignore_errors=True)

    def size(self) -> int:
        """Return the bytes of the objects."""
        return sum(entry.size for entry in self.bucket.entries(self._inside))

    def rename(self, name: str, *, log: str) -> None:
        """Copy all objects, then delete them: the log last, its last object first; rename the working copy.

        After a crash in between, the search still exists under its old name.
        """
        target = dataclasses.replace(self, within=_join(self.within.rpartition("/")[0], name))
        keys = [entry.key for entry in self.bucket.entries(self._inside) if not entry.key.endswith(".lease")]
        for key in keys:
            self.bucket.copy(key, to=target._inside + key.removeprefix(self._inside))
        final = [key for key in keys if key.startswith(f"{self._inside}{log}/")]
        self.bucket.delete([*(key for key in keys if key not in final), *reversed(final)])
        if self.local().exists():
            self.local().rename(target.local())

    def check_writable(self) -> None:
        """Do nothing: whether keys may write shows when the lease is taken."""

    def log(self, name: str) -> "ObjectLog":
        """Return the log whose lines are in objects ``NAME/000000.jsonl``, with the lease ``NAME.lease``."""
        return ObjectLog(self, name)


@dataclass(frozen=True)
class ObjectLog(Log):
    """A log in objects of a bucket. One machine at a time holds its lease, one process there the machine's lock."""

    storage: S3Storage
    name: str

    def __str__(self) -> str:
        return f"{self.storage}/{self.name}.jsonl"

    def open(self, *, owner: str) -> ObjectLogWriter:
        """Take lock and lease, and open the log."""
        with contextlib.ExitStack() as held:
            lease = held.enter_context(self._held_lease(owner=owner))
            return ObjectLogWriter(self.storage.bucket, self._parts, lease=lease, held=held.pop_all())

    @contextlib.contextmanager
    def lock(self, *, owner: str) -> Iterator[None]:
        """Hold lock and lease."""
        with self._held_lease(owner=owner):
            yield

    @contextlib.contextmanager
    def _held_lease(self, *, owner: str) -> Iterator[Lease]:
        with LocalLog(self.storage.local(f"{self.name}.jsonl")).lock(owner=owner):
            cache_id = _read_cache_id(self.storage.cache)
            lease = Lease.take(self.storage.bucket, self._lease, owner=owner, cache_id=cache_id)
            try:
                yield lease
            finally:
                lease.release()

    def is_locked(self) -> bool:
        """Return whether a driver renews the lease."""
        return is_held(self.storage.bucket, self._lease)

    def exists(self) -> bool:
        """Return whether there is an object of the log."""
        return is_begun(self.storage.bucket, self._parts)

    def read(self) -> bytes:
        """Return the lines of all objects."""
        return read_lines(self.storage.bucket, self._parts)

    @property
    def _parts(self) -> str:
        return self.storage._key(self.name)

    @property
    def _lease(self) -> str:
        return self.storage._key(f"{self.name}.lease")


@lru_cache
def _open_bucket(name: str) -> "Bucket":
    try:
        module = importlib.import_module("emotune.storage.bucket")
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"--storage s3://... needs {error.name}, which is not installed; pip install 'emotune[s3]' on every node"
        ) from error
    return module.Bucket(name)


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def _cache_root() -> Path:
    return Path(os.environ.get("EMOTUNE_CACHE") or Path.home() / ".cache" / "emotune").absolute()


def _make_cache(url: str) -> Path:
    """Return the cache folder of a storage, named by its URL and the server's address; made if it does not exist."""
    server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    folder = _cache_root() / hashlib.sha256(f"{server} {url}".encode()).hexdigest()[:16]
    if not (folder / CACHE_RECORD).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        record = {"url": url, "server": server, "id": uuid.uuid4().hex}
        write_atomically(folder / CACHE_RECORD, json.dumps(record).encode())
    return folder


def _read_cache_id(cache: Path) -> str:
    """Return the random id that distinguishes a cache from those of other machines."""
    return json.loads((cache / CACHE_RECORD).read_bytes())["id"]
