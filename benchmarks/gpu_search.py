"""Searches on a GPU with real Ray: shares of a GPU, memory that is exceeded, and a killed driver.

    python benchmarks/gpu_search.py STORE [--out-of-memory] [--kill] [--device cuda] [--out gpu_search.md]

The first part runs one search of 12 small configurations twice: with --trials-per-gpu 1 and with auto. With
--out-of-memory, a configuration whose batch exceeds the GPU's memory runs beside ordinary ones. With --kill, a worker
and then the driver of a search are killed (kill -9), the same command is run again, and its evaluations are compared
with those of an uninterrupted search. Each row is written to OUT at once. STORE holds ECG segments of 10 s.

Segments per second are the training segments of all recorded epochs, divided by the time from the first start of an
evaluation to the last end. The wall time also includes the start of Ray and the probe of auto.
"""

import argparse
import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
import yaml

from benchmarks.markdown import markdown
from emotune.data.store import SegmentStore
from emotune.experiment import Experiment
from emotune.search.records import Ended, EpochDone, Record, Started
from emotune.storage import LocalLog
from emotune.study.journal import read_journal
from emotune.study.results import evaluation_results, opened, search_state

ROOT = Path(__file__).parents[1]
POLL_INTERVAL_S = 0.05
"""Interval at which the journal is read to find the moment of a kill."""

MEMORY_INTERVAL_S = 1.0
"""Interval at which nvidia-smi is run."""

ENDING_TIMEOUT_S = 15.0
"""Time that the processes of a stopped or killed search have to end."""

HEAD = ["search", "wall s", "epochs", "segments/s", "peak GPU MiB", "evaluations", "failures by kind", "end"]

CHOSEN = re.compile(r"\d+ evaluations will share a GPU.*\n *trials per GPU.*\n(?: +\d+ .*\n?)*")
"""The number that ``--trials-per-gpu auto`` logs, and its measurements."""

Row = tuple[str, int, str, float | None]
"""Values of a configuration, its number of epochs, the evaluation's status and its objective."""


@dataclass(frozen=True)
class Scale:
    """Sizes of the searches on a device."""

    model: dict[str, Any]
    epochs: int
    rungs: tuple[int, int]
    """Smallest and largest budget of the search that is killed (epochs)."""
    concurrency: int
    """Evaluations at a time of the search that is killed; on a GPU they share it."""
    folds: dict[str, int]


SMALL: dict[str, Any] = {"channels": [16, 32, 64], "kernels": [33, 17, 9], "feedforward": 128, "dropout": 0.05}
TINY: dict[str, Any] = {"channels": [4, 8], "kernels": [9, 5], "feedforward": 16, "dropout": 0.05}
SCALES = {
    "cuda": Scale({**SMALL, "attention_dropout": 0}, epochs=8, rungs=(3, 27), concurrency=4, folds={}),
    "cpu": Scale(
        {**TINY, "attention_dropout": 0},
        epochs=2,
        rungs=(1, 9),
        concurrency=2,
        folds={"segments": 96, "validation_segments": 32},
    ),
}

DEEP: dict[str, Any] = {**SMALL, "channels": [16, 32, 64], "layers": 24, "feedforward": 4096, "attention_dropout": 0}
"""A network whose activations take about 0.5 GiB per segment of 10 s in training."""

OVERSIZED = 1024
"""Segments per step of the configuration that exceeds the memory: about 500 GiB with `DEEP`."""


@dataclass(frozen=True)
class Outcome:
    """What a search has recorded, and how it ended."""

    records: tuple[Record, ...]
    seconds: float
    peak: int | None
    """Largest memory in use of all GPUs (MiB); None without a GPU."""
    end: str
    known: int = 0
    """Number of records that earlier drivers of the search wrote."""

    @property
    def epochs(self) -> int:
        """Number of epochs that this driver recorded."""
        return sum(isinstance(record, EpochDone) for record in self.records[self.known :])

    @property
    def failures(self) -> Counter[str]:
        """Number of failed evaluations by kind."""
        ends = (record for record in self.records if isinstance(record, Ended) and record.status == "failed")
        return Counter(end.failure_kind or "unknown" for end in ends)

    @property
    def table(self) -> list[Row]:
        """The evaluations, in the order of their values and epochs."""
        rows: list[Row] = [
            (
                repr(sorted(result.evaluation.values.items())),
                result.evaluation.to_epoch,
                result.status,
                result.objective,
            )
            for result in evaluation_results(self.records)
        ]
        return sorted(rows, key=lambda row: row[:2])

    def segments_per_second(self) -> float | None:
        """Return the training segments per second of all evaluations together; None without an end, and if resumed."""
        starts = [record.time for record in self.records if isinstance(record, Started)]
        ends = [record.time for record in self.records if isinstance(record, Ended)]
        if not ends or self.known:
            return None
        base = Experiment.model_validate(opened(self.records).study["base"])
        segments = len(base.select(SegmentStore.open(Path(base.store))).fold.train)
        return self.epochs * segments / (max(ends) - min(starts))

    def cells(self, name: str) -> list[str]:
        """Return the row of the search in the table."""
        speed = self.segments_per_second()
        ended = sum(result.status != "running" for result in evaluation_results(self.records)) if self.records else 0
        failures = ", ".join(f"{kind} {count}" for kind, count in sorted(self.failures.items()))
        return [
            *(name, f"{self.seconds:.1f}", str(self.epochs), "" if speed is None else f"{speed:.0f}"),
            *("" if self.peak is None else str(self.peak), str(ended), failures or "none", self.end),
        ]


class MemoryMeter:
    """Reads the memory in use on all GPUs once per `MEMORY_INTERVAL_S`, in a thread."""

    def __init__(self) -> None:
        self.peak: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "MemoryMeter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            lines = query_gpu("memory.used")
            if not lines:
                return
            self.peak = max(self.peak or 0, sum(int(line.split()[0]) for line in lines))
            if self._stop.wait(MEMORY_INTERVAL_S):
                return


def query_gpu(name: str) -> list[str]:
    """Return a property of each GPU as nvidia-smi prints it; empty without a GPU."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", f"--query-gpu={name}", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


class Report:
    """Writes each line to a file and prints it at once.

    Args:
        path: The file; lines are appended.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._in_table = False

    def add(self, text: str) -> None:
        """Write and print a text; it ends a table."""
        self._in_table = False
        self._write(text)

    def row(self, cells: Sequence[str]) -> None:
        """Write and print a row of the table, and before the first row its head."""
        self._write(f"| {' | '.join(cells)} |" if self._in_table else markdown(HEAD, [cells]))
        self._in_table = True

    def _write(self, text: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


@dataclass
class Searches:
    """Runs searches in separate processes, with their results in one temporary folder."""

    store: Path
    folder: Path
    scale: Scale
    assignments: list[str]
    device: str
    deadline: float = 0.0
    """Time of the monotonic clock at which the searches of the present part are stopped."""
    logs: list[Path] = field(default_factory=list)

    def study(self, name: str, **content: Any) -> Path:
        """Write a study and return its file; ``content`` replaces its parts."""
        base = {
            "modality": "ecg",
            "model": content.pop("model", self.scale.model),
            "task": {"kind": "masked_values"},
            "optim": {"warmup_epochs": 1, "weight_decay": 0},
            "batch_size": 32,
            "folds": self.scale.folds,
            "compute": {"device": self.device, "compile": "off"},
        }
        file = self.folder / f"{name}.yaml"
        space = content.pop("space", {"hyperparameters": [LEARNING_RATE, LAYERS, HEADS]})
        file.write_text(yaml.safe_dump({"base": base, "seed": 7, "space": space, **content}))
        return file

    def run(
        self, study: Path, *, name: str, options: Sequence[str], watch: Callable[..., bool] | None = None
    ) -> Outcome:
        """Run a search, or resume it, until it ends, ``watch`` returns true or the time is up.

        Args:
            study: File of the study.
            name: Name of the search.
            options: Further options of the command.
            watch: Is called repeatedly with the driver and the records; returns whether it has killed the driver.
        """
        sets = [part for assignment in self.assignments for part in ("--set", assignment)]
        command = [sys.executable, "-m", "emotune", "search", str(study), "--store", str(self.store)]
        command += ["--storage", str(self.folder / "results"), "--name", name, *options, *sets]
        begun, end, known = time.monotonic(), "", len(self._records(name))
        log = self.folder / f"{name}-{len(self.logs)}.log"
        self.logs.append(log)
        with MemoryMeter() as memory, log.open("w") as output:
            driver = psutil.Popen(command, env=self._environment(), stdout=output, stderr=output, cwd=ROOT)
            while not end and driver.poll() is None:
                if watch is not None and watch(driver, self._records(name)):
                    end = "killed"
                elif time.monotonic() > self.deadline:
                    end_processes(driver, by=signal.SIGTERM)
                    end = "stopped: the time was up"
                time.sleep(POLL_INTERVAL_S)
        seconds, code = time.monotonic() - begun, driver.wait()
        records = tuple(self._records(name))
        if not end:
            end = f"{search_state(records, alive=False)}, exit code {code}" if records else f"exit code {code}"
        if code and not end.startswith(("killed", "stopped")):
            sys.stderr.write(log.read_text()[-3000:] + "\n")
        return Outcome(records, seconds, memory.peak, end, known=known)

    def _records(self, name: str) -> list[Record]:
        path = self.folder / "results" / name / "journal.jsonl"
        return read_journal(LocalLog(path)) if path.exists() else []

    def _environment(self) -> dict[str, str]:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        settings = {"RAY_ADDRESS": "local", "RAY_TMPDIR": str(self.folder / "r"), "RAY_USAGE_STATS_ENABLED": "0"}
        return os.environ | settings | {"PYTHONPATH": os.pathsep.join(paths), "RAY_worker_niceness": "0"}


LEARNING_RATE: dict[str, Any] = {
    "name": "optim.lr",
    "type": "uniform_float",
    "lower": 3e-4,
    "upper": 1e-2,
    "log": True,
    "default_value": 3e-3,
}
LAYERS: dict[str, Any] = {"name": "model.layers", "type": "uniform_int", "lower": 1, "upper": 3, "default_value": 2}
HEADS: dict[str, Any] = {"name": "model.heads", "type": "categorical", "choices": [1, 2, 4], "default_value": 2}


def end_processes(driver: psutil.Process, *, by: signal.Signals) -> None:
    """Send a driver a signal, and wait until it and the processes of its Ray have ended; kill those that do not end."""
    descendants = driver.children(recursive=True)
    driver.send_signal(by)
    _, alive = psutil.wait_procs([driver, *descendants], timeout=ENDING_TIMEOUT_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def training_workers(driver: psutil.Process) -> Iterator[psutil.Process]:
    """Yield the processes of the search's Ray that train; Ray's agents are none of them."""
    for process in driver.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            title = " ".join(process.cmdline())
            if re.match(r"ray::(?!IDLE|\w+Agent)", title):
                yield process


@dataclass
class Kills:
    """Kills a worker, then the driver, at two numbers of recorded epochs."""

    worker_at: int
    driver_at: int
    lines: list[str] = field(default_factory=list)

    def __call__(self, driver: psutil.Process, records: Sequence[Record]) -> bool:
        """Kill what is due; return whether the driver was killed."""
        epochs = sum(isinstance(record, EpochDone) for record in records)
        if epochs >= self.worker_at and not self.lines:
            worker = next(training_workers(driver), None)
            if worker is not None:
                worker.kill()
                self.lines.append(f"a worker after {epochs} epochs")
        if epochs < self.driver_at:
            return False
        end_processes(driver, by=signal.SIGKILL)
        self.lines.append(f"the driver after {epochs} epochs")
        return True


def compare(table: Sequence[Row], other: Sequence[Row]) -> str:
    """Return a sentence: whether two tables have the same evaluations, and how far their losses differ."""
    keys = [[row[:3] for row in rows] for rows in (table, other)]
    if keys[0] != keys[1]:
        both = len(set(keys[0]) & set(keys[1]))
        return f"different evaluations: {both} in common, of {len(table)} and {len(other)}"
    pairs = [
        (row[3], twin[3]) for row, twin in zip(table, other, strict=True) if row[3] is not None and twin[3] is not None
    ]
    difference = max((abs(left - right) / abs(left) for left, right in pairs), default=0.0)
    losses = "equal losses" if difference == 0 else f"largest relative difference of losses {difference:.2g}"
    return f"the same {len(table)} evaluations, {losses}"


def share_gpu(searches: Searches, report: Report) -> None:
    """Run the first part: the same search with one evaluation per GPU, and with the measured number."""
    epochs = searches.scale.epochs
    budget = {"min": epochs, "max": epochs, "evaluations": 12}
    study = searches.study("sharing", budget=budget, searcher={"kind": "random"})
    tables = []
    for count in ("1", "auto"):
        outcome = searches.run(study, name=f"sharing-{count}", options=["--trials-per-gpu", count])
        log = searches.logs[-1].read_text()
        report.row(outcome.cells(f"--trials-per-gpu {count}"))
        tables.append(outcome.table if outcome.records else [])
        if chosen := CHOSEN.search(log):
            report.add(f"\n```\n{chosen[0].rstrip()}\n```\n")
    report.add(f"\n--trials-per-gpu 1 and auto: {compare(*tables)}.\n")


def exceed_memory(searches: Searches, report: Report) -> None:
    """Run the second part: the first configuration exceeds the GPU's memory, the others do not."""
    if searches.device != "cuda":
        report.add("\nOut of memory: left out, because it needs a GPU.\n")
        return
    sizes = {"name": "batch_size", "type": "ordinal", "sequence": [64, 128, OVERSIZED], "default_value": OVERSIZED}
    ordinary = [{"batch_size": size, "optim.lr": 1e-3 * size / 64} for size in (64, 128)]
    study = searches.study(
        "memory",
        model=DEEP,
        budget={"min": 2, "max": 2, "evaluations": 3},
        searcher={"kind": "random"},
        space={"hyperparameters": [sizes, LEARNING_RATE]},
        earlier=ordinary,
    )
    outcome = searches.run(study, name="memory", options=["--trials-per-gpu", "1"])
    report.row(outcome.cells(f"a batch of {OVERSIZED} among ordinary ones"))
    for result in evaluation_results(outcome.records) if outcome.records else []:
        text = f"{result.objective:.6g}" if result.objective is not None else str(result.error)
        report.add(f"- batch size {result.evaluation.values['batch_size']}: {result.status}, {text}")


def survive_kills(searches: Searches, report: Report) -> None:
    """Run the third part: an uninterrupted search, and one whose worker and driver are killed."""
    smallest, largest = searches.scale.rungs
    budget = {"min": smallest, "max": largest, "brackets": 1}
    study = searches.study("kill", budget=budget, searcher={"kind": "hyperband"})
    count = str(searches.scale.concurrency)
    options = ["--concurrency", count, "--trials-per-gpu", count]
    undisturbed = searches.run(study, name="undisturbed", options=options)
    report.row(undisturbed.cells("uninterrupted"))
    kills = Kills(worker_at=undisturbed.epochs // 4, driver_at=undisturbed.epochs // 2)
    interrupted = searches.run(study, name="killed", options=options, watch=kills)
    report.row(interrupted.cells("killed"))
    resumed = searches.run(study, name="killed", options=options)
    report.row(resumed.cells("the same command again"))
    tables = [outcome.table if outcome.records else [] for outcome in (undisturbed, resumed)]
    report.add(f"\nKilled: {', '.join(kills.lines) or 'nothing'}. Uninterrupted and resumed: {compare(*tables)}.\n")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--device", default="cuda", choices=SCALES)
    parser.add_argument("--out-of-memory", action="store_true", help="also exceed the GPU's memory")
    parser.add_argument("--kill", action="store_true", help="also kill a worker and the driver")
    parser.add_argument("--skip-sharing", action="store_true", help="leave out the first part")
    parser.add_argument("--minutes", type=float, default=2.5, help="time limit of each part [default: 2.5]")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replace a setting")
    parser.add_argument("--out", type=Path, default=Path("gpu_search.md"), help="rows are appended to this file")
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    given = arguments()
    if given.device == "cuda" and not query_gpu("name"):
        sys.exit("nvidia-smi finds no GPU on this machine; for a rehearsal on a CPU, give --device cpu")
    parts = [
        *([] if given.skip_sharing else [share_gpu]),
        *([exceed_memory] if given.out_of_memory else []),
        *([survive_kills] if given.kill else []),
    ]
    report = Report(given.out)
    machine = ", ".join(query_gpu("name")) if given.device == "cuda" else platform.machine()
    report.add(f"## Searches on {machine}, {os.cpu_count()} CPU cores\n")
    with tempfile.TemporaryDirectory(prefix="gs-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        searches = Searches(given.store.absolute(), Path(folder), SCALES[given.device], given.set, given.device)
        for part in parts:
            searches.deadline = time.monotonic() + 60 * given.minutes
            part(searches, report)


if __name__ == "__main__":
    main()
