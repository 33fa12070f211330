"""Places in a bucket, the folders that stand for them, and files that go to and fro."""

import hashlib
import importlib
import json
import logging
import os
import shutil
import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from emotune.errors import SettingsError, StorageAwayError
from emotune.files import new_folder, write_atomically
from emotune.storage.patience import patiently

if TYPE_CHECKING:
    from emotune.storage.bucket import Bucket

logger = logging.getLogger(__name__)

MARKER = ".remote"
"""The file that makes a folder, and everything in it, stand for a place in a bucket."""


@dataclass(frozen=True)
class Remote:
    """A place in a bucket.

    Attributes:
        name: The bucket's name.
        key: The place within it, without a slash at either end; empty for the whole bucket.
    """

    name: str
    key: str

    @classmethod
    def at(cls, url: str) -> "Remote":
        """Return the place that an ``s3://`` URL names.

        Raises:
            SettingsError: It names no bucket, or has more in it than a bucket and a prefix.
        """
        parsed = urlparse(url)
        if parsed.scheme != "s3" or not parsed.netloc or "@" in parsed.netloc or parsed.query or parsed.fragment:
            raise SettingsError(
                f"--storage: {url!r} was given, expected s3://BUCKET/PREFIX; the server and the keys are told by "
                "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or by a profile"
            )
        return cls(parsed.netloc, "/".join(part for part in parsed.path.split("/") if part))

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.key}"

    def __truediv__(self, name: str) -> "Remote":
        return Remote(self.name, f"{self.key}/{name}" if self.key else name)

    @property
    def bucket(self) -> "Bucket":
        """The bucket, opened once per process.

        Raises:
            SettingsError: boto3 is not installed.
        """
        return _bucket(self.name)

    @property
    def below(self) -> str:
        """What the keys of everything in it begin with."""
        return f"{self.key}/" if self.key else ""


@lru_cache
def _bucket(name: str) -> "Bucket":
    try:
        module = importlib.import_module("emotune.storage.bucket")
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"--storage s3://... needs {error.name}, which is not installed; pip install 'emotune[s3]' on every node"
        ) from error
    return module.Bucket(name)


def cache_of(remote: Remote) -> Path:
    """Return the folder that stands for a place in a bucket; made if it is not there.

    It lies in ``$EMOTUNE_CACHE`` or ``~/.cache/emotune``, and is named by the URL and the server's address.
    """
    server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    name = hashlib.sha256(f"{server} {remote}".encode()).hexdigest()[:16]
    root = Path(os.environ.get("EMOTUNE_CACHE") or Path.home() / ".cache" / "emotune").absolute()
    folder = root / name
    if not (folder / MARKER).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        about = {"url": str(remote), "server": server, "id": uuid.uuid4().hex}
        write_atomically(folder / MARKER, json.dumps(about).encode())
    return folder


def remote_of(path: Path) -> Remote | None:
    """Return the place in a bucket that a file or folder stands for; None: it stands for itself."""
    root = _root_of(path)
    if root is None:
        return None
    remote = Remote.at(json.loads((root / MARKER).read_bytes())["url"])
    within = path.absolute().relative_to(root).as_posix()
    return remote if within == "." else remote / within


def place_of(path: Path) -> str:
    """Return where a file or folder really lies, for people: its URL, or its path."""
    return str(remote_of(path) or path)


def cache_id(path: Path) -> str:
    """Return a word that tells the cache a path lies in from those of other machines."""
    root = _root_of(path)
    assert root is not None
    return json.loads((root / MARKER).read_bytes())["id"]


def _root_of(path: Path) -> Path | None:
    absolute = path.absolute()
    return next((one for one in (absolute, *absolute.parents) if (one / MARKER).is_file()), None)


def address_of(path: Path) -> str:
    """Return how another machine finds a file or folder: its URL, or its path where folders are shared."""
    root = _root_of(path)
    if root is None:
        return str(path)
    within = path.absolute().relative_to(root).as_posix()
    return f"{json.loads((root / MARKER).read_bytes())['url'].rstrip('/')}#{within}"


def folder_at(address: str | Path) -> Path:
    """Return the file or folder on this machine that an address names."""
    url, mark, within = str(address).partition("#")
    if not (mark and url.startswith("s3://")):
        return Path(address)
    return cache_of(Remote.at(url)) / within


def push(path: Path, *, patience: float | None = None) -> None:
    """Bring a file to the bucket if its folder stands for one.

    Raises:
        StorageAwayError: The bucket could not be reached for so long.
        StorageRefusedError: It does not take it.
    """
    remote = remote_of(path)
    if remote is not None:
        patiently(lambda: remote.bucket.upload(remote.key, path), what=str(remote), seconds=patience)


def pull(path: Path) -> bool:
    """Bring a small file up to date from the bucket if its folder stands for one, and tell whether it is there.

    Raises:
        StorageAwayError: The bucket cannot be reached.
    """
    remote = remote_of(path)
    if remote is None:
        return path.is_file()
    blob = remote.bucket.get(remote.key)
    if blob is None:
        path.unlink(missing_ok=True)
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, blob.body)
    return True


def push_folder(folder: Path, *, last: str) -> None:
    """Bring a folder's files to the bucket if it stands for one; the folder counts there when the last file is there.

    Raises:
        StorageAwayError: The bucket could not be reached for minutes.
        StorageRefusedError: It does not take them.
    """
    remote = remote_of(folder)
    if remote is None:
        return
    key = (remote / last).key
    found = patiently(lambda: remote.bucket.get(key), what=str(remote))
    if found is not None and found.body == (folder / last).read_bytes():
        return
    if found is not None:
        patiently(lambda: remote.bucket.delete([key]), what=str(remote))
    names = sorted(one.name for one in folder.iterdir() if one.name != last)
    for name in (*names, last):
        push(folder / name)


def pull_folder(folder: Path, *, last: str) -> bool:
    """Bring a folder up to date from the bucket if it stands for one there, and tell whether it is there.

    Args:
        folder: Holds files only, and never changes without its ``last`` file being another.
        last: The file without which it does not count.

    Raises:
        StorageAwayError: The bucket cannot be reached.
    """
    remote = remote_of(folder)
    if remote is None:
        return folder.is_dir()
    blob = remote.bucket.get((remote / last).key)
    if blob is None:
        return False
    if (folder / last).is_file() and (folder / last).read_bytes() == blob.body:
        return True
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with new_folder(folder) as draft:
            for entry in remote.bucket.entries(remote.below):
                remote.bucket.download(entry.key, draft / entry.key.removeprefix(remote.below))
            (draft / last).write_bytes(blob.body)
    except OSError:
        if not (folder / last).is_file():  # else another process of this machine was faster
            raise
    return True


def children(folder: Path) -> list[str] | None:
    """Return the names of the folders in one that stands for a place in a bucket; None: it stands for itself."""
    remote = remote_of(folder)
    return None if remote is None else remote.bucket.folders(remote.below)


def remove_folder(folder: Path) -> None:
    """Remove a folder, in the bucket too if it stands for a place there: what is removed last does so there first.

    A bucket that is away keeps it.
    """
    remote = remote_of(folder)
    if remote is not None:
        try:
            keys = [entry.key for entry in remote.bucket.entries(remote.below)]
            remote.bucket.delete(sorted(keys, key=lambda key: not key.endswith("/manifest.json")))
        except StorageAwayError as error:
            logger.warning("%s could not be removed, and takes room only: %s", remote, error)
    shutil.rmtree(folder, ignore_errors=True)


def move(folder: Path, *, to: Path, last: str) -> None:
    """Give a folder's place in the bucket another name, if it stands for one: copy everything, then remove it.

    Args:
        folder: Which one; the folder on this machine stays.
        to: The new name, beside it.
        last: What the names of those begin with that are removed last, the last of them first: as long as any of
            them is there, the whole is taken for what it was.
    """
    remote, target = remote_of(folder), remote_of(to)
    if remote is None or target is None:
        return
    bucket = remote.bucket
    keys = [entry.key for entry in bucket.entries(remote.below) if not entry.key.endswith(".lease")]
    for key in keys:
        bucket.copy(key, to=target.below + key.removeprefix(remote.below))
    final = [key for key in keys if key.startswith(remote.below + last)]
    bucket.delete([*(key for key in keys if key not in final), *reversed(final)])
