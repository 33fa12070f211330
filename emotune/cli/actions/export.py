"""``emotune export``: write the folder, and print its files; of a network, how exact they are."""

from collections.abc import Mapping
from pathlib import Path

import click

from emotune.cli.actions.consoles import console
from emotune.cli.actions.folders import existing_records, tracking_uri_or_default
from emotune.cli.actions.tables import plain_table
from emotune.cli.export import ExportRequest
from emotune.cli.output import print_json, print_message
from emotune.errors import SettingsError, StorageError
from emotune.evaluation.export import ExportSummary, export_network
from emotune.evaluation.model_folder import refuse_filled_folder
from emotune.files import new_folder
from emotune.storage import Storage, open_storage
from emotune.study.deepcave import deepcave_files
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import opened
from emotune.tracking.encoders import find_network


def export_and_print(request: ExportRequest) -> None:
    """Carry out ``emotune export`` of a network."""
    assert request.format != "deepcave"
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


def export_results(request: ExportRequest) -> None:
    """Carry out ``emotune export --format deepcave``."""
    if request.part is not None:
        raise SettingsError(
            f"--part {request.part} was given with --format deepcave, which has no network; leave it out"
        )
    out = request.out
    refuse_filled_folder(out)
    _, records = existing_records(request.model, storage=request.storage)
    results = deepcave_files(records)
    try:
        with new_folder(out) as draft:
            for name, content in results.files.items():
                (draft / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{out} could not be written: {error.strerror or error}") from error
    sizes = {name: len(content.encode()) for name, content in results.files.items()}
    if request.as_json:
        counts = {"evaluations": results.evaluations, "running": results.running}
        print_json({"folder": str(out), "format": "deepcave", "files": sizes, **counts})
        return
    _print_files(sizes)
    click.echo(f"\n{results.evaluations} evaluations written to {out}")
    if results.running:
        print_message(f"{results.running} evaluations have not ended, and are left out")


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
        **({"note": summary.note} if summary.note else {}),
    }


def _print(summary: ExportSummary) -> None:
    _print_files(summary.files)
    click.echo(f"\n{summary.part} written to {summary.folder}")
    if summary.format != "hf":
        print_message(f"largest difference from the outputs of the network: {summary.difference:.1e}")
    if summary.note:
        print_message(summary.note)


def _print_files(sizes: Mapping[str, int]) -> None:
    table = plain_table("file", "bytes", numbers=["bytes"])
    for name, size in sizes.items():
        table.add_row(name, f"{size:,}")
    console().print(table)
