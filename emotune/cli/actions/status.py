"""``emotune status``, ``stop`` and ``best``, from the journals alone: without torch, Ray or MLflow."""

from pathlib import Path
from typing import Any

import click

from emotune.cli.actions.folders import (
    describe_empty,
    existing_records,
    existing_search,
    mlflow_link,
    refuse_search_folder,
    resume_command,
)
from emotune.cli.output import print_json, size
from emotune.documents import encode_document
from emotune.durations import HOUR_S, duration
from emotune.errors import DamageError, SettingsError, StorageRefusedError
from emotune.files import check_output, write_output
from emotune.search.records import Record
from emotune.storage import open_storage
from emotune.study.folder import SearchFolder, find_searches
from emotune.study.front import describe_best_rule, describe_front
from emotune.study.journal import read_journal
from emotune.study.recorded import KINDS, can_resume, complete_study, kind_of
from emotune.study.reliability import RungReliability, describe_reliability
from emotune.study.results import failures_to_retry, opened, status_document
from emotune.tracking.delivery import mlflow_runs


def print_all(storage: str, *, as_json: bool) -> None:
    """Print one line, or one JSON object, per search; one that cannot be read is listed with the reason."""
    if as_json:
        print_json(read_all(storage))
        return
    root = open_storage(storage)
    documents = [_summary(folder) for folder in find_searches(root)]
    for document in documents:
        click.echo(_headline(document))
    if not documents:
        refuse_search_folder(root)
        click.echo(f"no searches in {root}")


def read_all(storage: str) -> list[dict[str, Any]]:
    """Return a document per search, without evaluations; of one that cannot be read, only its name, state and error."""
    omitted = {"evaluations", "rungs"}
    documents = [_summary(folder) for folder in find_searches(open_storage(storage))]
    return [{key: value for key, value in document.items() if key not in omitted} for document in documents]


def _summary(folder: SearchFolder) -> dict[str, Any]:
    """Return the document of a search; of one without a readable record, only its name, state and error."""
    try:
        # the name that commands take: that of the folder, which --fresh may have renamed
        return read_status(folder, with_rungs=False) | {"name": folder.name}
    except SettingsError:
        state, error = ("starting" if folder.driver_alive else "empty"), describe_empty(folder)
    except StorageRefusedError as refused:
        state, error = "unreadable", str(refused)
    except DamageError as damage:
        state, error = "damaged", str(damage)
    return dict.fromkeys(("study_digest", "seed", "concurrency", "budget", "objective", "best", "warning")) | {
        "name": folder.name,
        "state": state,
        "error": error,
    }


def print_status(name: str, *, storage: str, as_json: bool) -> None:
    """Print everything about one search."""
    folder = existing_search(name, storage=storage)
    records, alive = _read_records(folder)
    document = _describe(folder, records, alive=alive)
    if as_json:
        print_json(document)
        return
    _print_document(document)
    if (link := mlflow_link(folder)) is not None:
        click.echo(f"MLflow: {link}")
    if document["state"] not in {"interrupted", "failed"}:
        return
    if not can_resume(opened(records).study):
        click.echo("resume it by running its script again")
    else:
        command = resume_command(folder.name, storage=storage)
        click.echo(f"resume it with: {command}")
        if failures_to_retry(records):
            click.echo(f"or run its failed evaluations again, too: {command} --retry-failed")


def read_status(folder: SearchFolder, *, with_rungs: bool = True) -> dict[str, Any]:
    """Return everything about a search as one document; also while a driver is running it.

    Args:
        folder: Folder of the search.
        with_rungs: Include the reliability of the rungs, which takes a model fit.

    Raises:
        SettingsError: The search has no record.
        DamageError: The journal is damaged.
        StorageRefusedError: The journal cannot be read.
    """
    records, alive = _read_records(folder)
    return _describe(folder, records, alive=alive, with_rungs=with_rungs)


def _describe(folder: SearchFolder, records: list[Record], *, alive: bool, with_rungs: bool = True) -> dict[str, Any]:
    return status_document(
        records,
        alive=alive,
        mlflow_runs=mlflow_runs(folder.storage),
        stop_request=folder.requested_stop(),
        with_rungs=with_rungs,
    )


def _read_records(folder: SearchFolder) -> tuple[list[Record], bool]:
    """Return the records of a search, and whether a driver is running it; raises as `read_status` does."""
    alive = folder.driver_alive  # before the journal is read: a driver that ends in between has written its end
    records = read_journal(folder.journal)
    if not records:
        raise SettingsError(f"the search {folder.name!r} {describe_empty(folder)}")
    return records, alive


def _headline(document: dict[str, Any]) -> str:
    state = "stopping" if "stop_requested" in document else document["state"]
    start = f"{document['name']:<24} {state:<12}"
    if "error" in document:
        return f"{start} {document['error']}"
    best = document["best"]
    ended = sum(evaluation["status"] in {"done", "failed"} for evaluation in document["evaluations"])
    result = "no result yet" if best is None else f"{document['objective']['metric']} {best['objective']:.6g}"
    word = "best" if best is None or best["values"] else "result"  # a run without a search has no best configuration
    return f"{start} {ended:>4} evaluations, {word}: {result}"


def _print_document(document: dict[str, Any]) -> None:
    click.echo(_headline(document))
    if document["warning"] is not None:
        click.echo(document["warning"])
    for line in (*_pending_stop(document), *describe_front(document), *_room_and_time(document)):
        click.echo(line)
    for line in describe_reliability([RungReliability.model_validate(rung) for rung in document["rungs"]]):
        click.echo(line)
    click.echo(
        f"{'id':>4} {'config':>6} {'bracket':>7} {'epochs':>9} {'origin':<10} {'status':<11} {'objective':>12}  values"
    )
    for evaluation in document["evaluations"]:
        click.echo(_evaluation_row(evaluation, alive=document["state"] == "running"))


def _pending_stop(document: dict[str, Any]) -> list[str]:
    """Return a line about the request to stop that the driver has not finished, if there is one."""
    if "stop_requested" not in document:
        return []
    running = sum(evaluation["status"] == "running" for evaluation in document["evaluations"])
    number = "1 running evaluation" if running == 1 else f"{running} running evaluations"
    how = "saves checkpoints of" if document["stop_requested"] == "now" else "starts no evaluation, and ends after"
    return [f"a stop was requested: the search {how} its {number}"]


def _room_and_time(document: dict[str, Any]) -> list[str]:
    """Return lines about removed checkpoints and the limit of the running time, if there are any."""
    lines = []
    if (removed := document.get("checkpoints_removed")) is not None:
        lines.append(
            f"removed the checkpoints of {removed['configurations']} configurations out of the race: "
            f"{size(removed['bytes'])} saved"
        )
    if (hours := document.get("running_hours")) is not None:
        used, limit = (duration(hours[name] * HOUR_S) for name in ("used", "limit"))
        lines.append(f"running time: {used} of at most {limit}")
    return lines


def _evaluation_row(evaluation: dict[str, Any], *, alive: bool) -> str:
    status = "interrupted" if evaluation["status"] == "running" and not alive else evaluation["status"]
    values = " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in evaluation["values"].items()
    )
    objective = "" if evaluation["objective"] is None else f"{evaluation['objective']:.6g}"
    epochs = f"{evaluation['from_epoch']}-{evaluation['to_epoch']}"
    return (
        f"{evaluation['id']:>4} {evaluation['config_id']:>6} {evaluation['bracket']:>7} {epochs:>9} "
        f"{evaluation['origin']:<10} {status:<11} {objective:>12}  {evaluation['error'] or values}"
    )


def request_stop(name: str, *, storage: str, now: bool) -> None:
    """Request that a running search stops.

    Args:
        name: Name of the search or run.
        storage: The storage of all searches.
        now: End the running evaluations too, after a checkpoint.

    Raises:
        SettingsError: No driver runs it, it runs in a ``Tuner`` of the user's own, or it is one run without a search,
            which only ``--now`` ends before its last epoch.
    """
    folder = existing_search(name, storage=storage)
    if not folder.driver_alive:
        raise SettingsError(f"the search {name!r} is not running; there is nothing to stop")
    records = read_journal(folder.journal)
    if records and kind_of(opened(records).study) == "tuner":
        raise SettingsError(f"the search {name!r} {KINDS['tuner']}; stop it there, with Ctrl-C")
    if not now and records and opened(records).purpose in {"pretrain", "finetune"}:
        raise SettingsError(
            f"{name!r} is one run, which ends after its last epoch; `emotune stop {name} --now` saves a checkpoint "
            "and ends it"
        )
    folder.request_stop("now" if now else "stop")


def stop_and_print(name: str, *, storage: str, now: bool) -> None:
    """Carry out ``emotune stop``; raises as `request_stop` does."""
    request_stop(name, storage=storage, now=now)
    how = "saves checkpoints of its running evaluations and stops" if now else "stops after its running evaluations"
    click.echo(f"{name} {how}; resume it with `{resume_command(name, storage=storage)}`")


def write_best(name: str, *, file: Path, storage: str) -> None:
    """Carry out ``emotune best``."""
    check_output(file)
    folder, records = existing_records(name, storage=storage)
    document = read_status(folder, with_rungs=False)
    best = document["best"]
    if best is None:
        raise SettingsError(f"the search {name!r} has no result yet; wait until an evaluation has ended")
    experiment = complete_study(opened(records).study)["base"]
    for key, value in best["values"].items():
        section = experiment
        *path, setting = key.split(".")
        for part in path:
            section = section.setdefault(part, {})
        section[setting] = value
    header = (
        f"Best configuration of the search {name} (number {best['config_id']}): "
        f"{document['objective']['metric']} {best['objective']:.6g} after {best['epochs']} epochs."
        f"{describe_best_rule(document)}"
    )
    is_file = write_output(file, encode_document(experiment, header=header))
    click.echo(f"written to {file}", err=not is_file)  # the file may be standard output
    for line in describe_front(document):
        click.echo(line, err=not is_file)
