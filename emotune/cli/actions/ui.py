"""``emotune ui``: start MLflow's server on the right database, and print the links to the searches."""

from collections.abc import Sequence

from emotune.cli.actions.folders import existing_search, tracking_uri_or_default
from emotune.cli.output import print_line, print_message
from emotune.errors import SettingsError, StorageRefusedError
from emotune.storage import open_storage
from emotune.study.folder import SearchFolder, find_searches
from emotune.tracking.delivery import CONTENT_VERSION, read_delivery_state, view_url
from emotune.tracking.uri import is_server, public_uri, sqlite_path
from emotune.tracking.web_server import HOST, check_port, serve


def serve_and_print(name: str | None, *, port: int, storage: str, tracking_uri: str | None) -> int:
    """Carry out ``emotune ui``; returns the exit code.

    Raises:
        SettingsError: There is no such search or database, MLflow does not have the search, or the port is in use.
        ServerError: MLflow's server does not start.
    """
    folder = None if name is None else existing_search(name, storage=storage)
    default = tracking_uri_or_default(None, storage=open_storage(storage))
    uri = tracking_uri or (folder and _tracking_uri_of(folder)) or default
    folders = _folders_in(uri, storage=storage) if folder is None else [folder]
    if folder is not None:
        _check_delivered(folder, uri=uri)
    if is_server(uri):
        _print_links(folders, server=public_uri(uri))
        return 0
    if uri.startswith("sqlite:///") and not sqlite_path(uri).exists():
        raise SettingsError(f"there is no MLflow database {public_uri(uri)}; the first search creates it")
    check_port(port)
    print_message(f"starting MLflow on {public_uri(uri)} ...")
    serve(uri, port=port, on_ready=lambda: _print_running(folders, server=f"http://{HOST}:{port}"))
    return 0


def _tracking_uri_of(folder: SearchFolder) -> str | None:
    """Return the server or database that has a search; None if nothing was sent to one."""
    return read_delivery_state(folder.storage).uri or None


def _folders_in(uri: str, *, storage: str) -> list[SearchFolder]:
    """Return the searches of a storage that a server or database has."""
    folders = []
    for folder in find_searches(open_storage(storage)):
        try:
            state = read_delivery_state(folder.storage)
        except StorageRefusedError:
            continue  # `emotune status` names the reason
        if state.experiment_id and state.uri == public_uri(uri):
            folders.append(folder)
    return folders


def _check_delivered(folder: SearchFolder, *, uri: str) -> None:
    """Refuse a search that MLflow does not have; print how to add the view to one of an older version."""
    state = read_delivery_state(folder.storage)
    if not state.experiment_id or state.uri != public_uri(uri):
        raise SettingsError(
            f"MLflow at {public_uri(uri)} has no records of {folder.name!r}; send them with "
            f"`emotune sync {folder.name} --tracking-uri {public_uri(uri)}`"
        )
    if state.content != CONTENT_VERSION:
        print_message(f"an older version sent {folder.name!r}; add the charts with `emotune sync {folder.name}`")


def _print_links(folders: Sequence[SearchFolder], *, server: str) -> None:
    links = {folder.name: view_url(folder.storage, server=server) for folder in folders}
    if len(links) == 1:
        print_line(next(iter(links.values())) or server)
        return
    if not links:
        print_line(server)
    width = max(map(len, links), default=0)
    for name, link in links.items():
        print_line(f"{name:<{width}}  {link}")


def _print_running(folders: Sequence[SearchFolder], *, server: str) -> None:
    _print_links(folders, server=server)
    print_message("press Ctrl-C to stop the server")
