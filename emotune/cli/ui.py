"""``emotune ui``: MLflow's pages on the database of the storage."""

import click

from emotune.cli.options import storage_option, tracking_option


@click.command()
@click.argument("name", required=False)
@click.option(
    "--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Port of the server on 127.0.0.1."
)
@storage_option
@tracking_option
def ui(name: str | None, *, port: int, storage: str, tracking_uri: str | None) -> int:
    """Show the search or run NAME in MLflow: start MLflow's server and print the link that opens the comparison.

    Without NAME, a link is printed for every search. The server listens on 127.0.0.1 only and runs until Ctrl-C. If
    --tracking-uri is a server, nothing is started and the links are printed.

    \b
    Example:
      emotune ui first
      emotune ui --port 5001 --storage /shared/results
    """
    from emotune.cli.actions.ui import serve_and_print

    return serve_and_print(name, port=port, storage=storage, tracking_uri=tracking_uri)
