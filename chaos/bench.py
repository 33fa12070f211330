"""The bench of the faults: a tiny search as a user runs it, and the checks of its results."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from mlflow import MlflowClient

from emotune.cli.actions.status import read_status
from emotune.search.records import Ended, EpochDone, Evaluation
from emotune.storage import LocalLog
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import opened
from emotune.study.resume import make_optimizer
from emotune.study.study import Study
from tests.search.checker import seen_in_virtual_time, violations
from tests.support.stores import prepare_small_store

REPOSITORY = Path(__file__).parents[1]
MARK = "EMOTUNE_CHAOS"
"""Environment variable of every process of a try, by which the processes are found."""

NAME = "try"
SECONDS = 300.0
"""Longest time (s) of a command."""

ORPHAN = re.compile(
    r'Traceback \(most recent call last\):\n  File "<string>", line 1, in <module>\n'
    r'((?:  File "[^"]*/multiprocessing/spawn\.py"| {4}).*\n)+EOFError: Ran out of input\n'
)
"""What Python prints in a process that it has just started for a parent that is killed before it has sent any work."""

TINY = (
    "base.model.channels=[4, 8]",
    "base.model.kernels=[9, 5]",
    "base.model.feedforward=16",
    "base.folds.segments=48",
    "base.batch_size=16",
    "budget.brackets=1",
)
DECIDED = ("id", "config_id", "bracket", "rung", "from_epoch", "to_epoch", "values", "origin", "status", "objective")


class BrokenPromiseError(AssertionError):
    """A promise does not hold after a fault."""


def require(condition: object, message: str) -> None:
    """Raise if a promise is broken."""
    if not condition:
        raise BrokenPromiseError(message)


@dataclass
class Driver:
    """An ``emotune`` process, whose output goes to files."""

    process: subprocess.Popen
    output: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def errors(self) -> str:
        return self.output.with_suffix(".err").read_text(errors="replace")

    @property
    def message(self) -> str:
        """The last lines of the errors, for the message of a broken promise."""
        return self.errors[-900:]

    def wait(self, timeout: float = SECONDS) -> int:
        """Return the exit code."""
        return self.process.wait(timeout)

    def finish(self, *, saying: str = "") -> str:
        """Wait for the end, require success and messages that contain ``saying``, and return the messages.

        Exit code 1 is a success if the message says that failures left no result at the largest budget.
        """
        code = self.wait()
        is_short = code == 1 and "no configuration has a result at" in self.errors
        require(code == 0 or is_short, f"exit code {code}: {self.message}")
        require(saying in self.errors, f"{saying!r} is not in: {self.message}")
        return self.errors

    def refuse(self, *, code: int, saying: str, timeout: float = SECONDS) -> str:
        """Wait for the end, and require an exit code and one line that contains ``saying``."""
        ended_with = self.wait(timeout)
        lines = [line for line in self.errors.splitlines() if line.startswith("emotune: ")]
        require(ended_with == code, f"exit code {ended_with} instead of {code}: {self.message}")
        require(len(lines) == 1 and saying in lines[0], f"{saying!r} is not in {lines}")
        return lines[0]

    def workers(self) -> list[psutil.Process]:
        """Return the processes that train now."""
        return [process for process in self.family() if "Trainable" in title(process)]

    def find(self, word: str) -> psutil.Process:
        """Return the process of Ray whose program's path contains a word."""
        return next(process for process in self.family() if word in title(process).split(" ")[0])

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)


@dataclass
class Bench:
    """One try: a folder for results, a folder for Ray, and all processes that were started.

    Args:
        store: A segment store.
        seed: Seed of all random choices.
    """

    store: Path
    seed: int
    settings: tuple[str, ...] = ()
    """Further settings of the study."""

    environment: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ("--concurrency", "2")

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.root = Path(tempfile.mkdtemp(prefix="chaos-"))
        self.temporary = self.root / "tmp"
        self.temporary.mkdir()
        self.storage = self.root / "results"
        self.mark = uuid.uuid4().hex
        self.tracking: str | None = None
        self._drivers: list[Driver] = []

    @property
    def folder(self) -> Path:
        return self.storage / NAME

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"

    def search(self, *options: str, prefix: Sequence[str] = (), terminal: int | None = None) -> Driver:
        """Start or resume the search."""
        return self.start(*self.search_command(*options), prefix=prefix, terminal=terminal)

    def search_command(self, *options: str) -> list[str]:
        """Return the arguments of the command that starts or resumes the search."""
        sets = [part for setting in (*TINY, *self.settings) for part in ("--set", setting)]
        return ["search", "smoke", "--store", str(self.store), "--name", NAME, *self.options, *sets, *options]

    def start(self, *arguments: str, prefix: Sequence[str] = (), terminal: int | None = None) -> Driver:
        """Start ``emotune``."""
        return self.run([*prefix, sys.executable, "-m", "emotune", *arguments], terminal=terminal)

    def run(self, command: Sequence[str], *, terminal: int | None = None) -> Driver:
        """Start a program in its own session.

        Args:
            command: The program and its arguments.
            terminal: File descriptor of its standard streams; None: its output goes to files. With a terminal, the
                command itself begins the session.
        """
        output = self.root / f"{len(self._drivers):02d}.out"
        environment = os.environ | {
            MARK: self.mark,
            "EMOTUNE_STORAGE": str(self.storage),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])),
            "RAY_ADDRESS": "local",
            "RAY_AUTH_MODE": "disabled",
            "RAY_TMPDIR": str(self.root),
            "TMPDIR": str(self.temporary),
            "RAY_worker_niceness": "0",
            **({} if self.tracking is None else {"MLFLOW_TRACKING_URI": self.tracking}),
            **self.environment,
        }
        with output.open("wb") as answers, output.with_suffix(".err").open("wb") as errors:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=self.root,
                stdin=terminal,
                stdout=answers if terminal is None else terminal,
                stderr=errors if terminal is None else terminal,
                start_new_session=terminal is None,
            )
        self._drivers.append(Driver(process, output))
        return self._drivers[-1]

    def records(self) -> int:
        """Return the number of records in the journal."""
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0

    def wait_for_records(self, count: int, *, driver: Driver) -> None:
        """Wait until the journal has a number of records."""
        self.wait_until(lambda: self.records() >= count, driver=driver)

    def wait_until(self, condition: Callable[[], object], *, driver: Driver, timeout: float = SECONDS) -> None:
        """Wait until a condition is true; the driver must be alive until then."""
        end = time.monotonic() + timeout
        while not condition():
            require(driver.process.poll() is None, f"the driver has ended: {driver.message}")
            require(time.monotonic() < end, f"a condition was not true within {timeout:.0f} s")
            time.sleep(0.01)

    def some_record(self, total: int) -> int:
        """Draw the number of a record in the middle of a journal with ``total`` records."""
        return self.chance.randint(4, max(4, total * 2 // 3))

    def end(self) -> None:
        """End all processes of this try, and remove its folders."""
        for _ in range(3):
            for process in marked(self.mark):
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(0.2)
        for driver in self._drivers:
            driver.process.wait()
        shutil.rmtree(self.root, ignore_errors=True)

    def status(self) -> dict:
        """Return the document of ``emotune status --json``."""
        return read_status(SearchFolder.at(self.folder))

    def table(self) -> list[dict]:
        """Return every evaluation with its values and its objective."""
        return [{key: evaluation[key] for key in DECIDED} for evaluation in self.status()["evaluations"]]

    def failed(self) -> list[Ended]:
        """Return the evaluations that are recorded as failed."""
        ended = [record for record in read_journal(LocalLog(self.journal)) if isinstance(record, Ended)]
        return [record for record in ended if record.status == "failed"]

    def require_no_tracebacks(self) -> None:
        """Require that no command has printed a traceback, but for `ORPHAN`."""
        for driver in self._drivers:
            errors = ORPHAN.sub("", driver.errors)
            require("Traceback (most recent call last)" not in errors, f"a traceback: {driver.message}")


def title(process: psutil.Process) -> str:
    """Return the command line of a process, empty if it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process still runs; a zombie does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def marked(mark: str) -> Iterator[psutil.Process]:
    """Yield the processes of a try, also those whose parents have ended."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                yield process


def kill(process: psutil.Process) -> None:
    """Kill with signal 9."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGKILL)


def lost_results(table: list[dict], reference: list[dict]) -> int:
    """Return how many rows of the undisturbed search are missing or different in a table."""
    rows = [json.dumps(row, sort_keys=True) for row in table]
    return sum(json.dumps(row, sort_keys=True) not in rows for row in reference)


def check(bench: Bench) -> None:
    """Check a finished search: its decisions, its messages, and that MLflow has the epochs of the journal."""
    bench.require_no_tracebacks()
    status = bench.status()
    require(status["state"] == "finished", f"the search is {status['state']}")
    records = read_journal(LocalLog(bench.journal))
    study = Study.model_validate(opened(records).study)
    optimizer = make_optimizer(study, records=records, concurrency=opened(records).concurrency)

    def cost(evaluation: Evaluation) -> float:
        return study.base.with_values(evaluation.values).cost()

    rows = optimizer.results()
    wrong = violations(
        optimizer.settings, rows, seen=seen_in_virtual_time(optimizer.settings, rows, cost=cost), finished=True
    )
    require(not wrong, "; ".join(wrong))
    epochs = [record for record in records if isinstance(record, EpochDone)]
    numbers = [(record.config_id, record.epoch) for record in epochs]
    require(len(numbers) == len(set(numbers)), "an epoch is in the journal twice")
    check_mlflow(bench, epochs, status)


def check_mlflow(bench: Bench, epochs: Sequence[EpochDone], status: dict) -> None:
    """Require that every configuration is one run, and that each epoch of the journal is logged once."""
    client = MlflowClient(bench.tracking or f"sqlite:///{bench.storage / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(f"emotune/{NAME}")
    require(experiment is not None, "MLflow has no experiment")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    configurations = {evaluation["config_id"] for evaluation in status["evaluations"]}
    kinds = Counter(run.data.tags["emotune.kind"] for run in runs)
    require(kinds == {"configuration": len(configurations), "search": 1}, f"MLflow has the runs {dict(kinds)}")
    for run in runs:
        if run.data.tags["emotune.kind"] == "search":
            continue
        number = int(run.data.tags["emotune.config_id"])
        logged = sorted((at.step, at.value) for at in client.get_metric_history(run.info.run_id, "val/loss"))
        recorded = [(record.epoch, record.metrics["val/loss"]) for record in epochs if record.config_id == number]
        finite = [(step, value) for step, value in recorded if value is not None]
        require(logged == finite, f"MLflow, configuration {number}: {logged}")


@contextlib.contextmanager
def synthetic_store() -> Iterator[Path]:
    """Prepare a small store of synthetic data."""
    with tempfile.TemporaryDirectory(prefix="chaos-store-") as folder:
        yield prepare_small_store(Path(folder) / "synthetic")
