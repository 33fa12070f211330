"""``emotune export``: write the folder, and print its files and how exact they are."""

from pathlib import Path

import click

from emotune.cli.actions.consoles import console
from emotune.cli.actions.folders import tracking_uri_or_default
from emotune.cli.actions.tables import plain_table
from emotune.cli.export import ExportRequest
from emotune.cli.output import print_json, print_message
from emotune.errors import SettingsError
from emotune.evaluation.export import ExportSummary, export_network
from emotune.storage import Storage, open_storage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import opened
from emotune.tracking.encoders import find_network


def export_and_print(request: ExportRequest) -> None:
    """Carry out ``emotune export``."""
    root = open_storage(request.storage)
    _refuse_folds(request, root=root)
    uri = tracking_uri_or_default(request.tracking_uri, storage=root)
    source = find_network(request.model, storage=root, tracking_uri=uri)
    summary = export_network(
        source, to=request.out, format=request.format, part=request.part, name=Path(request.model).name
    )
    if request.as_json:
        print_json(_document(summary))
    else:
        _print(summary)


def _refuse_folds(request: ExportRequest, *, root: Storage) -> None:
    """Refuse to export the classifier of a cross-validation, which has one for each fold."""
    folder = SearchFolder.at(Path(request.model))
    folder = folder if folder.begun else SearchFolder(root, request.model)
    records = read_journal(folder.journal) if folder.begun else []
    if records and opened(records).purpose == "fold" and request.part != "encoder":
        raise SettingsError(
            f"{request.model!r} is a cross-validation with a classifier for each fold, expected one; give a checkpoint "
            f"folder such as {folder.path}/configurations/00000/epoch-000010, or --part encoder"
        )


def _document(summary: ExportSummary) -> dict[str, object]:
    return {
        "folder": str(summary.folder),
        "part": summary.part,
        "format": summary.format,
        "files": summary.files,
        "difference": summary.difference,
    }


def _print(summary: ExportSummary) -> None:
    table = plain_table("file", "bytes", numbers=["bytes"])
    for name, size in summary.files.items():
        table.add_row(name, f"{size:,}")
    console().print(table)
    click.echo(f"\n{summary.part} written to {summary.folder}")
    if summary.format != "hf":
        print_message(f"largest difference from the outputs of the network: {summary.difference:.1e}")
