"""The storage of results. `emotune.storage.base` states the contract; a storage is made by `open_storage`."""

from emotune.storage.backends import SCHEMES, StorageField, open_storage, storage_at
from emotune.storage.base import Log, LogWriter, Storage
from emotune.storage.local import LocalLog, LocalStorage

__all__ = [
    "SCHEMES",
    "LocalLog",
    "LocalStorage",
    "Log",
    "LogWriter",
    "Storage",
    "StorageField",
    "open_storage",
    "storage_at",
]
