"""``emotune status``, ``stop`` and ``best``: what is known of searches, from their journals."""

from pathlib import Path
from typing import Any

import click

from emotune.cli.options import find_folder, json_option, print_json, storage_option
from emotune.documents import dump_document
from emotune.errors import SettingsError
from emotune.storage import open_storage
from emotune.study.folder import SearchFolder, find_searches
from emotune.study.journal import read_journal
from emotune.study.reliability import RungReliability, describe_reliability
from emotune.study.results import opened, status_document
from emotune.tracking.cursor import mlflow_runs


def read_status(folder: SearchFolder) -> dict[str, Any]:
    """Return everything about a search as one document; also while a driver is at work on it.

    Raises:
        SettingsError: The search has not begun to write.
        DamageError: The journal is not what was written.
    """
    alive = folder.driver_alive
    records = read_journal(folder.journal)
    if not records:
        raise SettingsError(f"the search {folder.name!r} has no record yet; start it again with the same command")
    return status_document(records, alive=alive, mlflow_runs=mlflow_runs(folder.storage))


@click.command()
@click.argument("name", required=False)
@storage_option
@json_option
def status(name: str | None, *, storage: str, as_json: bool) -> None:
    """Show all searches, or the search NAME in full.

    \b
    Example:
      emotune status
      emotune status first --json
    """
    if name is not None:
        document = read_status(find_folder(name, storage=storage))
        print_json(document) if as_json else _show(document)
        return
    documents = [read_status(folder) for folder in find_searches(open_storage(storage))]
    if as_json:
        print_json(
            [{key: value for key, value in one.items() if key not in {"evaluations", "rungs"}} for one in documents]
        )
        return
    for one in documents:
        click.echo(_headline(one))
    if not documents:
        click.echo(f"no searches in {open_storage(storage)}")


def _headline(document: dict[str, Any]) -> str:
    best = document["best"]
    done = sum(one["status"] != "running" for one in document["evaluations"])
    result = "no result yet" if best is None else f"{document['objective']['metric']} {best['objective']:.6g}"
    return f"{document['name']:<24} {document['state']:<12} {done:>4} evaluations, best {result}"


def _show(document: dict[str, Any]) -> None:
    click.echo(_headline(document))
    if document["warning"] is not None:
        click.echo(document["warning"])
    for line in describe_reliability([RungReliability.model_validate(rung) for rung in document["rungs"]]):
        click.echo(line)
    click.echo(
        f"{'id':>4} {'config':>6} {'bracket':>7} {'epochs':>9} {'origin':<10} {'status':<8} {'objective':>12}  values"
    )
    for one in document["evaluations"]:
        values = " ".join(
            f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in one["values"].items()
        )
        objective = "" if one["objective"] is None else f"{one['objective']:.6g}"
        epochs = f"{one['from_epoch']}-{one['to_epoch']}"
        click.echo(
            f"{one['id']:>4} {one['config_id']:>6} {one['bracket']:>7} {epochs:>9} {one['origin']:<10} "
            f"{one['status']:<8} {objective:>12}  {one['error'] or values}"
        )


@click.command()
@click.argument("name")
@storage_option
def stop(name: str, *, storage: str) -> None:
    """Ask the running search NAME to stop after its running evaluations.

    \b
    Example:
      emotune stop first
    """
    folder = find_folder(name, storage=storage)
    if not folder.driver_alive:
        raise SettingsError(f"the search {name!r} is not running; nothing was done")
    folder.request_stop()
    click.echo(f"{name} stops when its running evaluations are done; the command that started it goes on with it")


@click.command()
@click.argument("name")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Experiment file to write.")
@storage_option
def best(name: str, *, out: Path, storage: str) -> None:
    """Write the best configuration of the search NAME as a complete experiment.

    \b
    Example:
      emotune best first --out experiment.yaml
    """
    folder = find_folder(name, storage=storage)
    document = read_status(folder)
    found = document["best"]
    if found is None:
        raise SettingsError(f"the search {name!r} has no result yet: let it finish its first evaluations")
    base = opened(read_journal(folder.journal)).study["base"]
    for key, value in found["values"].items():
        place = base
        *path, last = key.split(".")
        for part in path:
            place = place[part]
        place[last] = value
    if not out.parent.is_dir():
        raise SettingsError(f"--out: the folder {out.parent} does not exist; make it first")
    header = (
        f"Best configuration of the search {name} (number {found['config_id']}): "
        f"{document['objective']['metric']} {found['objective']:.6g} after {found['epochs']} epochs."
    )
    dump_document(out, base, header=header)
    click.echo(f"written to {out}")
