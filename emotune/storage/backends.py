"""The kinds of storage by URL scheme, and the storage that an option, a path or an address names."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlparse

from pydantic import PlainSerializer, PlainValidator

from emotune.errors import SettingsError
from emotune.storage.base import Address, Storage
from emotune.storage.local import LocalStorage
from emotune.storage.s3 import S3Storage

SCHEMES: dict[str, type[Storage]] = {kind.scheme: kind for kind in (LocalStorage, S3Storage)}
"""Every kind of storage, by the scheme of its URLs."""


def open_storage(option: str) -> Storage:
    """Return the storage that ``--storage`` names: a URL, or a folder by path, in which ``~`` is the home folder.

    Raises:
        SettingsError: The URL is of another scheme or malformed, the path is that of a file, or a package is missing.
        StorageAwayError: The storage cannot be reached.
        StorageRefusedError: It refuses access.
    """
    scheme = urlparse(option).scheme
    if scheme in SCHEMES:
        return SCHEMES[scheme].from_url(option)
    if "://" in option:
        raise SettingsError(
            f"--storage: {option!r} was given, but results can be kept in folders and in S3-compatible buckets only; "
            "give a folder that the driver and all workers can access, or s3://BUCKET/PREFIX"
        )
    folder = Path(option).expanduser()
    if folder.is_file():
        raise SettingsError(f"--storage {option}: this is a file; give a folder, which is made if it does not exist")
    return storage_at(folder)


def storage_at(path: Path) -> Storage:
    """Return the storage of a folder given by path.

    A path in the working copy of a bucket means the bucket. This is the only place that a path is checked for that:
    users may copy such a path from a message or a log into an option.
    """
    absolute = path.absolute()
    copies = (kind.of_working_copy(absolute) for kind in SCHEMES.values())
    return next((storage for storage in copies if storage is not None), LocalStorage(absolute))


def from_address(address: Address | Storage) -> Storage:
    """Return the storage of an address (`Storage.to_json`) on this machine."""
    return address if isinstance(address, Storage) else SCHEMES[address["scheme"]].from_json(address)


StorageField = Annotated[Storage, PlainValidator(from_address), PlainSerializer(lambda storage: storage.to_json())]
"""A field of settings that are sent to another machine: written as an address, read as a storage."""
