"""Measure the cost of an outage of MLflow, with real `emotune search` and MLflow with passwords over PostgreSQL.

    python benchmarks/outage.py [--kinds undisturbed server database] [--repeats 1] [--outage 60] [--out outage]

Searches run in turn undisturbed, with the server killed (kill -9) after ten seconds for OUTAGE seconds, and with
PostgreSQL killed for the same time. Needs PostgreSQL's programs. Prints a line for each search: seconds between
the first and the last record of its journal and of the whole command, and the differences of MLflow and journal at the
end. `--kinds rates` measures the records per second that the mirror delivers. The page OUT/outage.md has all
searches in OUT so far. Exits with 1 if there is a difference, or a password in any result, log or database.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from benchmarks.markdown import markdown
from benchmarks.servers import Mlflow, Postgres, postgres_programs, tracking, until
from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.search.records import Ended, EpochDone, Evaluation, Opened, Record, Started
from emotune.storage import LocalLog, LocalStorage
from emotune.study.journal import read_journal
from emotune.study.results import evaluation_results
from emotune.tracking.delivery import read_delivery_state
from emotune.tracking.mlflow import MlflowMirror, deliver_all

KINDS = ("undisturbed", "server", "database")
"""Kinds of outage: none, the MLflow server killed, PostgreSQL killed."""

OUTAGE_START_S = 10.0
"""Duration of a search before the outage begins."""

SINGLE_RECORDS = 30
"""Number of records that are delivered one at a time."""

SETTINGS = ("base.folds.segments=200", "base.folds.validation_segments=100", "budget.brackets=15", "seed=7")


@dataclass(frozen=True)
class Outcome:
    """The result of one search.

    Attributes:
        kind: One of `KINDS`.
        code: Exit code of the command.
        searching: Seconds from the first to the last record of its journal.
        seconds: Seconds of the whole command.
        differences: Differences between MLflow and the journal.
        table: Every evaluation with its objective.
        epochs: Number of epochs that were trained.
    """

    kind: str
    code: int
    searching: float
    seconds: float
    differences: tuple[str, ...]
    table: tuple[tuple[int, int, float | None], ...]
    epochs: int


def search(name: str, *, kind: str, outage: float, servers: tuple[Postgres, Mlflow], folder: Path) -> Outcome:
    """Run one search with an outage, and compare MLflow with its journal."""
    postgres, server = servers
    command = [sys.executable, "-m", "emotune", "search", "smoke", "--name", name, "--concurrency", "2"]
    command += ["--store", str(folder / "store"), "--tracking-uri", server.uri]
    for setting in SETTINGS:
        command += ["--set", setting]
    environment = os.environ | {"EMOTUNE_STORAGE": str(folder / "results"), "RAY_AUTH_MODE": "disabled"}
    begin = time.monotonic()
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        disturb = threading.Thread(target=_disturb, args=(kind, outage, postgres, server))
        disturb.start()
        code = process.wait()
        seconds = time.monotonic() - begin
        disturb.join()
        sync = [sys.executable, "-m", "emotune", "sync", name, "--tracking-uri", server.uri]
        subprocess.run(sync, env=environment, stdout=log, stderr=log, check=False)
    records = read_journal(LocalLog(folder / "results" / name / "journal.jsonl"))
    results = evaluation_results(records)
    return Outcome(
        kind=kind,
        code=code,
        searching=records[-1].time - records[0].time,
        seconds=seconds,
        differences=tuple(differences(records, name=name, uri=postgres.uri)),
        table=tuple((result.evaluation.config_id, result.evaluation.to_epoch, result.objective) for result in results),
        epochs=sum(isinstance(record, EpochDone) for record in records),
    )


def _disturb(kind: str, outage: float, postgres: Postgres, server: Mlflow) -> None:
    if kind == "undisturbed":
        return
    victim = server if kind == "server" else postgres
    time.sleep(OUTAGE_START_S)
    victim.kill()
    time.sleep(outage)
    victim.start()


def differences(records: Sequence[Record], *, name: str, uri: str) -> list[str]:
    """Return the differences between a journal and MLflow: epochs that are missing, stored twice or wrong."""
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(f"emotune/{name}")
    if experiment is None:
        return ["no experiment"]
    runs = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL, max_results=1000)
    counts = Counter(run.data.tags["emotune.config_id"] for run in runs)
    wanted = {(str(record.config_id), key, record.epoch): value for record in records if isinstance(record, EpochDone)
              for key, value in record.metrics.items()}  # fmt: skip
    found: Counter[tuple[str, str, int]] = Counter()
    wrong = []
    for run in runs:
        number = run.data.tags["emotune.config_id"]
        for key in {key for config, key, _ in wanted if config == number}:
            for point in client.get_metric_history(run.info.run_id, key):
                found[number, key, point.step] += 1
                if wanted.get((number, key, point.step)) not in (point.value, None):
                    wrong.append(f"configuration {number}, {key} at epoch {point.step} is {point.value}")
    return [
        *(f"{count} runs of {key}" for key, count in counts.items() if count > 1),
        *(f"no run of configuration {key}" for key in {key for key, _, _ in wanted} - counts.keys()),
        *(f"{point} is missing" for point in wanted.keys() - found.keys()),
        *(f"{point} is stored {count} times" for point, count in found.items() if count > 1),
        *(f"run {run.info.run_name} is {run.info.status}" for run in runs if run.info.status == "RUNNING"),
        *wrong,
    ]


def rate(records: Sequence[Record], *, name: str, server: Mlflow, folder: Path) -> tuple[float, float]:
    """Return records per second: for a whole journal at once, and for records that are sent one at a time."""
    for part in ("whole", "single"):
        (folder / f"{name}-{part}").mkdir()
    begin = time.monotonic()
    complete = deliver_all(
        records, tracking_uri=server.uri, folder=LocalStorage(folder / f"{name}-whole"), name=f"{name}-whole"
    )
    assert complete
    at_once = len(records) / (time.monotonic() - begin)
    single = folder / f"{name}-single"
    mirror = MlflowMirror(server.uri, folder=LocalStorage(single), name=single.name)
    half = len(records) // 2
    mirror.catch_up(records[:half])
    until(
        lambda: read_delivery_state(LocalStorage(single)).delivered == half,
        what=lambda: "MLflow does not receive the journal",
    )
    begin = time.monotonic()
    for number in range(half, half + SINGLE_RECORDS):
        mirror(records[number], number)
        while read_delivery_state(LocalStorage(single)).delivered <= number:
            time.sleep(0.005)
    seconds = time.monotonic() - begin
    mirror.close(60)
    return at_once, SINGLE_RECORDS / seconds


def leaks(secrets: Sequence[str], *, folder: Path, postgres: Postgres) -> list[str]:
    """Return the files, logs and databases that contain a password and should not."""
    texts = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "ray_token"}
    texts |= {"the database": postgres.run("pg_dump", "mlflow"), "PostgreSQL's log": postgres.log.read_bytes()}
    return [place for place, text in texts.items() if any(secret.encode() in text for secret in secrets)]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS, "rates"], default=[*KINDS, "rates"])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--outage", type=float, default=60, help="duration of the outage in seconds")
    parser.add_argument("--out", type=Path, default=Path("outage"))
    given = parser.parse_args()
    programs = postgres_programs()
    if programs is None:
        parser.error("PostgreSQL is not installed: there is no initdb")
    given.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that servers are ended on SIGTERM too
    with tempfile.TemporaryDirectory(prefix="out") as name:
        folder = Path(name)
        os.environ["RAY_TMPDIR"] = name  # so that passwords are searched in Ray's logs too
        prepare(
            "synthetic",
            folder=None,
            store=folder / "store",
            settings=PrepareSettings(seconds=2.5),
            corpus_settings=Synthetic(subjects=12, seconds_per_state=60.0),
        )
        (folder / "server").mkdir()
        with tracking(folder / "server", programs=programs) as (postgres, server):
            assert server.password is not None
            os.environ |= {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": server.password}
            os.environ["PGPASSWORD"] = postgres.password
            return measure(given, servers=(postgres, server), folder=folder)


def measure(given: argparse.Namespace, *, servers: tuple[Postgres, Mlflow], folder: Path) -> int:
    """Run the searches, and print the results of these and of earlier ones."""
    postgres, server = servers
    file = given.out / "outcomes.jsonl"
    outcomes = [Outcome(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []
    for number in range(given.repeats):
        for kind in sorted(set(given.kinds) - {"rates"}, key=lambda kind: (KINDS.index(kind) + number) % len(KINDS)):
            outcomes.append(search(f"{kind}-{number}", kind=kind, outage=given.outage, servers=servers, folder=folder))
            with file.open("a") as kept:
                kept.write(json.dumps(asdict(outcomes[-1])) + "\n")
    lines = [page_of(outcomes)]
    if "rates" in given.kinds:
        lines += rates(server, folder=folder)
    assert server.password is not None
    places = leaks([server.password, postgres.password], folder=folder, postgres=postgres)
    lines.append(f"passwords found in: {', '.join(places) or 'no file, log or database'}")
    page = "\n\n".join(lines) + "\n"
    (given.out / "outage.md").write_text(page)
    sys.stdout.write(page)
    return int(
        bool(places) or len(tables(outcomes)) > 1 or any(outcome.differences or outcome.code for outcome in outcomes)
    )


def page_of(outcomes: Sequence[Outcome]) -> str:
    """Return a table of all searches, and whether their results are equal."""
    head = ["killed", "exit code", "search, s", "whole command, s", "evaluations", "epochs", "differences"]
    rows = [
        [outcome.kind, str(outcome.code), f"{outcome.searching:.1f}", f"{outcome.seconds:.1f}", str(len(outcome.table)),
         str(outcome.epochs), "; ".join(outcome.differences) or "none"]
        for outcome in outcomes
    ]  # fmt: skip
    return f"{markdown(head, rows)}\n\ntables equal: {'yes' if len(tables(outcomes)) <= 1 else 'no'}"


def tables(outcomes: Sequence[Outcome]) -> set[str]:
    """Return the distinct tables of evaluations."""
    return {json.dumps(outcome.table) for outcome in outcomes}


def rates(server: Mlflow, *, folder: Path) -> list[str]:
    """Measure the mirror with a server that caches checked passwords, and with one that does not."""
    records = [*synthetic_journal(evaluations=60, epochs=9)]
    lines = []
    for seconds in (0, 60):
        server.kill()
        server.cache_passwords(seconds)
        server.start()
        whole, single = rate(records, name=f"rate-{seconds}", server=server, folder=folder)
        lines.append(
            f"checked passwords cached for {seconds} s: {whole:.0f} records per second of a journal of {len(records)}, "
            f"{single:.1f} one at a time"
        )
    return lines


def synthetic_journal(*, evaluations: int, epochs: int) -> Iterator[Record]:
    """Yield the records of a search in which each evaluation has a new configuration."""
    yield Opened(time=0.0, name="rate", study={}, digest="0", seed=0, concurrency=1, software={})
    for number in range(evaluations):
        evaluation = Evaluation(
            id=number, config_id=number, bracket=0, rung=0, from_epoch=0, to_epoch=epochs, values={"x": 1.0},
            origin="random",
        )  # fmt: skip
        yield Started(time=number, evaluation=evaluation)
        for epoch in range(1, epochs + 1):
            metrics: dict[str, float | None] = {f"val/metric-{index}": 0.5 for index in range(6)}
            yield EpochDone(time=number, evaluation_id=number, config_id=number, epoch=epoch, metrics=metrics)
        yield Ended(time=number, evaluation_id=number, config_id=number, status="done", objective=1.0, seconds=1.0)


if __name__ == "__main__":
    sys.exit(main())
