"""Where searches, stores and MLflow's database are, from the options of a command."""

import os
import shlex
from pathlib import Path

from emotune.errors import SettingsError, suggestion
from emotune.search.records import Record
from emotune.storage import Storage, open_storage
from emotune.study.folder import JOURNAL, SearchFolder, find_searches
from emotune.study.journal import read_journal
from emotune.tracking.delivery import read_delivery_state, view_url
from emotune.tracking.uri import is_server, public_uri, sqlite_uri

MAX_NAMES = 10
"""Searches that a message lists at most."""


def store_path(store: str) -> Path:
    """Return the absolute path of a segment store."""
    return Path(store).expanduser().absolute()


def refuse_search_folder(root: Storage) -> None:
    """Refuse a storage that is the folder of one search, not the folder of all searches.

    Raises:
        SettingsError: The storage holds a journal.
    """
    if root.log(JOURNAL).exists():
        raise SettingsError(f"--storage: {root} is the folder of one search; give the folder above it")


def existing_search(name: str, *, storage: str) -> SearchFolder:
    """Return the folder of a search that has begun.

    Raises:
        SettingsError: There is no search of that name, or the storage is the folder of a search.
    """
    root = open_storage(storage)
    folder = SearchFolder.of(name, storage=root)
    if not folder.begun:
        raise SettingsError(f"there is no search {name!r} in {root}{_alternatives(name, root=root)}")
    return folder


def _alternatives(name: str, *, root: Storage) -> str:
    """Return the ending of a message that names the searches of a storage, the nearest one alone if there is one."""
    refuse_search_folder(root)
    names = [search.name for search in find_searches(root)]
    if not names:
        return "; it holds no search yet. Another folder is given by --storage"
    others = f", and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return suggestion(name, among=names) or f"; give one of: {', '.join(names[:MAX_NAMES])}{others}"


def existing_records(name: str, *, storage: str) -> tuple[SearchFolder, list[Record]]:
    """Return the folder and the records of a search, of which there is at least one.

    Raises:
        SettingsError: There is no such search, or it has no record.
        DamageError: The journal is damaged.
    """
    folder = existing_search(name, storage=storage)
    records = read_journal(folder.journal)
    if not records:
        raise SettingsError(f"the search {name!r} {describe_empty(folder)}")
    return folder, records


def describe_empty(folder: SearchFolder) -> str:
    """Return why a search has no record, and what to do."""
    if folder.driver_alive:
        return "is starting and has no record yet; try again in a minute"
    return f"has no record: its start failed; start it again, or remove {folder.storage}"


def resume_command(name: str, *, storage: str) -> str:
    """Return the command that resumes a search."""
    default = storage == os.environ.get("EMOTUNE_STORAGE", "results")
    return shlex.join(["emotune", "resume", name, *([] if default else ["--storage", storage])])


def tracking_uri_or_default(uri: str | None, *, storage: Storage) -> str:
    """Return the tracking URI; by default that of a database in the storage folder."""
    return uri or sqlite_uri(storage.local("mlflow.db"))


def mlflow_link(folder: SearchFolder) -> str | None:
    """Return the link to a search in MLflow; of a database, with the command that serves it.

    Returns:
        None if MLflow has no record of the search.
    """
    url = view_url(folder.storage)
    if url is None:
        return None
    uri = read_delivery_state(folder.storage).uri
    return url if is_server(uri) else f"`{ui_command(folder, uri=uri)}` opens {url}"


def ui_command(folder: SearchFolder, *, uri: str) -> str:
    """Return the command that serves the MLflow database with a search.

    Args:
        folder: Folder of the search.
        uri: The database, without credentials.
    """
    has_own_database = uri != public_uri(tracking_uri_or_default(None, storage=folder.root))
    options = [*_storage_options(folder), *(["--tracking-uri", uri] if has_own_database else [])]
    return shlex.join(["emotune", "ui", folder.name, *options])


def report_command(folder: SearchFolder) -> str:
    """Return the command that writes the page about a search."""
    return shlex.join(["emotune", "report", folder.name, *_storage_options(folder)])


def _storage_options(folder: SearchFolder) -> list[str]:
    """Return the option ``--storage``; empty if the folder is in the default storage."""
    storage = str(folder.root)
    is_default = storage == str(open_storage(os.environ.get("EMOTUNE_STORAGE", "results")))
    return [] if is_default else ["--storage", storage]
