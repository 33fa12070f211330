"""A bench for faults: a tiny search as a user runs it, what may befall it, and what must hold of it afterwards."""

import contextlib
import json
import os
import random
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
from emotune.search.records import EpochDone, Evaluation
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
"""An environment variable by which every process of a try is known, wherever it has gone."""

NAME = "try"
SECONDS = 240.0
"""So long a driver may take at most."""

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
    """What must hold after a fault does not."""


def require(condition: object, what: str) -> None:
    """Raise if a promise is broken."""
    if not condition:
        raise BrokenPromiseError(what)


@dataclass
class Driver:
    """An ``emotune`` process; what it says goes to files."""

    process: subprocess.Popen
    output: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def errors(self) -> str:
        return self.output.with_suffix(".err").read_text()

    def wait(self, timeout: float = SECONDS) -> int:
        """Return the exit code."""
        return self.process.wait(timeout)

    def finish(self) -> str:
        """Wait for the end, which has to be a good one, and return what was said.

        It is good too that failures which kept every configuration from the largest budget are told, with 1.
        """
        code = self.wait()
        told = code == 1 and "no configuration has a result at" in self.errors
        require(code == 0 or told, f"exit code {code}: {self.errors[-900:]}")
        return self.errors

    def refuse(self, *, code: int, saying: str) -> str:
        """Wait for an end with this code and in one clear line."""
        found = self.wait()
        said = [line for line in self.errors.splitlines() if line.startswith("emotune: ")]
        require(found == code, f"exit code {found} instead of {code}: {self.errors[-600:]}")
        require("Traceback" not in self.errors, f"a traceback: {self.errors[-600:]}")
        require(len(said) == 1 and saying in said[0], f"{saying!r} is not in {said}")
        return said[0]

    def workers(self) -> list[psutil.Process]:
        """Return the processes that train now."""
        return [one for one in self.family() if "Trainable" in title(one)]

    def find(self, word: str) -> psutil.Process:
        """Return the one process of Ray whose program is called so."""
        return next(one for one in self.family() if word in title(one).split(" ")[0])

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)


@dataclass
class Bench:
    """One try: a folder for results, a folder for Ray, and all processes that were started.

    Args:
        store: A segment store.
        seed: Of everything that the try leaves to chance.
    """

    store: Path
    seed: int
    settings: tuple[str, ...] = ()
    """More settings of the study."""

    environment: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ("--concurrency", "2")

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.root = Path(tempfile.mkdtemp(prefix="chaos-"))
        self.storage = self.root / "results"
        self.mark = uuid.uuid4().hex
        self.tracking: str | None = None
        self._started: list[subprocess.Popen] = []

    @property
    def folder(self) -> Path:
        return self.storage / NAME

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"

    def search(self, *more: str, prefix: Sequence[str] = ()) -> Driver:
        """Start the search, or go on with it."""
        sets = [part for setting in (*TINY, *self.settings) for part in ("--set", setting)]
        options = ["--store", str(self.store), "--name", NAME, *self.options, *sets]
        return self.start("search", "smoke", *options, *more, prefix=prefix)

    def start(self, *arguments: str, prefix: Sequence[str] = ()) -> Driver:
        """Start ``emotune``."""
        return self.run([*prefix, sys.executable, "-m", "emotune", *arguments])

    def run(self, command: Sequence[str]) -> Driver:
        """Start a program in a session of its own."""
        output = self.root / f"{len(self._started):02d}.out"
        environment = os.environ | {
            MARK: self.mark,
            "EMOTUNE_STORAGE": str(self.storage),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])),
            "RAY_ADDRESS": "local",
            "RAY_AUTH_MODE": "disabled",
            "RAY_TMPDIR": str(self.root),
            "RAY_worker_niceness": "0",
            **({} if self.tracking is None else {"MLFLOW_TRACKING_URI": self.tracking}),
            **self.environment,
        }
        with output.open("wb") as answers, output.with_suffix(".err").open("wb") as errors:
            process = subprocess.Popen(
                command, env=environment, cwd=self.root, stdout=answers, stderr=errors, start_new_session=True
            )
        self._started.append(process)
        return Driver(process, output)

    def records(self) -> int:
        """Return the number of records that are in the journal."""
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0

    def wait_for_records(self, count: int, *, driver: Driver) -> None:
        """Wait until the journal has so many records."""
        self.wait_until(lambda: self.records() >= count, driver=driver)

    def wait_until(self, condition: Callable[[], object], *, driver: Driver, timeout: float = SECONDS) -> None:
        """Wait for something to become true while a driver is alive."""
        end = time.monotonic() + timeout
        while not condition():
            require(driver.process.poll() is None, f"the driver has ended: {driver.errors[-600:]}")
            require(time.monotonic() < end, "what was waited for did not happen")
            time.sleep(0.01)

    def some_record(self, total: int) -> int:
        """Draw a place in the middle of a journal of so many records."""
        return self.chance.randint(4, max(4, total * 2 // 3))

    def end(self) -> None:
        """End every process of this try, and no other, and remove its folders."""
        for _ in range(3):
            for process in marked(self.mark):
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(0.2)
        for started in self._started:
            started.wait()
        shutil.rmtree(self.root, ignore_errors=True)

    def status(self) -> dict:
        """Return what ``emotune status --json`` says of the search."""
        return read_status(SearchFolder.at(self.folder))

    def table(self) -> list[dict]:
        """Return what decides a search: every evaluation with its values and its objective."""
        return [{key: one[key] for key in DECIDED} for one in self.status()["evaluations"]]


def title(process: psutil.Process) -> str:
    """Return the command line of a process, empty if it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def marked(mark: str) -> Iterator[psutil.Process]:
    """Find the processes of a try, also those whose parents are gone."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                yield process


def kill(process: psutil.Process) -> None:
    """Kill with signal 9."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGKILL)


def lost_results(table: list[dict], reference: list[dict]) -> int:
    """Return how many rows of the undisturbed search another one lacks, or has otherwise."""
    found = [json.dumps(row, sort_keys=True) for row in table]
    return sum(json.dumps(row, sort_keys=True) not in found for row in reference)


def check(bench: Bench) -> None:
    """Check a finished search: its decisions, and that MLflow says what the journal says."""
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
    epochs = [(one.config_id, one.epoch) for one in records if isinstance(one, EpochDone)]
    require(len(epochs) == len(set(epochs)), "an epoch is in the journal twice")
    check_mlflow(bench, [one for one in records if isinstance(one, EpochDone)], status)


def check_mlflow(bench: Bench, epochs: Sequence[EpochDone], status: dict) -> None:
    """Every configuration is one run, and every epoch of the journal is logged once with its value."""
    client = MlflowClient(bench.tracking or f"sqlite:///{bench.storage / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(f"emotune/{NAME}")
    require(experiment is not None, "MLflow has no experiment")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    configurations = {one["config_id"] for one in status["evaluations"]}
    kinds = Counter(run.data.tags["emotune.kind"] for run in runs)
    require(kinds == {"configuration": len(configurations), "search": 1}, f"MLflow has the runs {dict(kinds)}")
    for run in runs:
        if run.data.tags["emotune.kind"] == "search":
            continue
        number = int(run.data.tags["emotune.config_id"])
        logged = sorted((at.step, at.value) for at in client.get_metric_history(run.info.run_id, "val/loss"))
        told = [(one.epoch, one.metrics["val/loss"]) for one in epochs if one.config_id == number]
        require(logged == [(step, value) for step, value in told if value is not None], f"MLflow, {number}: {logged}")


@contextlib.contextmanager
def made_up_store() -> Iterator[Path]:
    """Make a small store of synthetic data."""
    with tempfile.TemporaryDirectory(prefix="chaos-store-") as folder:
        yield prepare_small_store(Path(folder) / "synthetic")
