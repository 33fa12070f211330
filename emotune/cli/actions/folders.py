"""Where searches, stores and MLflow's database are, from the options of a command."""

from pathlib import Path

from emotune.errors import SettingsError
from emotune.storage import Storage, open_storage
from emotune.study.folder import SearchFolder, find_searches
from emotune.tracking.uri import sqlite_uri


def store_path(store: str) -> Path:
    """Return the absolute path of a segment store."""
    return Path(store).expanduser().absolute()


def existing_search(name: str, *, storage: str) -> SearchFolder:
    """Return the folder of a search that has begun.

    Raises:
        SettingsError: There is no search of that name.
    """
    root = open_storage(storage)
    folder = SearchFolder.of(name, storage=root)
    if not folder.begun:
        names = ", ".join(search.name for search in find_searches(root))
        raise SettingsError(f"there is no search {name!r} in {root}; give one of: {names or '(none yet)'}")
    return folder


def tracking_uri_or_default(uri: str | None, *, storage: Storage) -> str:
    """Return the tracking URI; by default that of a database in the storage folder."""
    return uri or sqlite_uri(storage.local("mlflow.db"))
