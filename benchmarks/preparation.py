"""Measure the duration and the memory of preparing a corpus, and the files that remain after a kill.

    python benchmarks/preparation.py [--corpus eegmmidb amigos] [--hours 50] [--out preparation]

The corpus is synthetic, with the format and the sizes of the real one: a recording is generated, and copied for
each subject. `emotune data prepare` runs with all cores, with one process, on a store that exists
already, and is killed (kill -9) at half the store's size and started again. Prints a table and writes it to
OUT/preparation.md.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.large_corpora import WRITERS
from benchmarks.markdown import markdown

ROOT = Path(__file__).parents[1]
SAMPLING_INTERVAL_S = 0.25
"""Time between two measurements of the memory."""

MEBI = 2**20


@dataclass(frozen=True)
class Run:
    """Time and memory of a run of the program."""

    seconds: float
    cpu: float
    """Seconds of CPU time, summed over its processes."""
    others: float
    """Share of the machine's cores that other processes used meanwhile."""
    peak: int
    """Peak memory of all its processes together, in bytes; shared pages count once (PSS)."""
    largest: int
    """Peak memory of a single process, in bytes."""


def start(corpus: str, *, raw: Path, store: Path, workers: int) -> subprocess.Popen[bytes]:
    """Start the preparation."""
    words = [corpus, str(raw), "--store", str(store), "--modality", WRITERS[corpus][0], "--workers", str(workers)]
    settings = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")} | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "emotune", "data", "prepare", *words],
        env=os.environ | settings,
        stdout=subprocess.DEVNULL,
    )


def finish(process: subprocess.Popen[bytes], *, enough: Callable[[], bool] = lambda: False) -> Run:
    """Measure a run until it ends, or kill it (kill -9) when ``enough`` returns True."""
    begun, busy, spent = time.monotonic(), _busy(), _spent()
    peak, largest, killed = 0, 0, False
    while process.poll() is None:
        sizes = _memory(process.pid)
        peak, largest = max(peak, sum(sizes)), max([largest, *sizes])
        if enough():
            process.kill()
            process.wait()
            killed = True
            break
        time.sleep(SAMPLING_INTERVAL_S)
    seconds, cpu = time.monotonic() - begun, _spent() - spent
    others = max(0.0, _busy() - busy - cpu) / seconds / (psutil.cpu_count() or 1)
    if process.returncode and not killed:
        raise RuntimeError(f"the preparation ended with exit code {process.returncode}; its message is above")
    return Run(seconds=seconds, cpu=cpu, others=others, peak=peak, largest=largest)


def _busy() -> float:
    """Return the seconds that all cores have worked since the machine was started."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system


def _spent() -> float:
    """Return the seconds of CPU time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def _memory(pid: int) -> list[int]:
    sizes: list[int] = []
    for process in _family(pid):
        try:
            sizes.append(process.memory_full_info().pss)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return sizes


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def wait_for(processes: Sequence[psutil.Process]) -> float:
    """Return the seconds until the workers of a killed run have ended without a signal."""
    begun = time.monotonic()
    psutil.wait_procs(processes, timeout=60)
    return time.monotonic() - begun


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder, hidden ones included."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue  # it was renamed meanwhile
    return total


def fingerprint_of(store: Path) -> str:
    """Return the fingerprint of a store."""
    return json.loads((store / "about.json").read_text())["fingerprint"]


@dataclass
class Bench:
    """Prepares a corpus in several ways into one store, and collects the rows of the table."""

    corpus: str
    raw: Path
    store: Path
    hours: float
    cores: int
    rows: list[list[str]] = field(default_factory=list)

    def all_ways(self) -> None:
        """Prepare with all cores, again, with one process, and with a kill."""
        whole = self._prepare(workers=self.cores)
        size = size_of(self.store)
        self._note(f"{self.cores} processes", whole, remark=f"a store of {size / MEBI:.0f} MiB")
        self._note("the same again", self._prepare(workers=self.cores), remark="nothing to do", whole=False)
        expected = fingerprint_of(self.store)
        shutil.rmtree(self.store)
        alone = self._prepare(workers=1)
        self._note("one process", alone, remark=f"the store is {self._sameness(expected)}")
        shutil.rmtree(self.store)
        self._killed(size=size)
        resumed = self._prepare(workers=self.cores)
        saved = f"{whole.seconds - resumed.seconds:.0f} s ({whole.cpu - resumed.cpu:.0f} of CPU) saved"
        remark = f"{saved}; the store is {self._sameness(expected)}; beside it: {self._beside()}"
        self._note("started again", resumed, remark=remark, whole=False)

    def _prepare(self, *, workers: int) -> Run:
        return finish(start(self.corpus, raw=self.raw, store=self.store, workers=workers))

    def _killed(self, *, size: int) -> None:
        workers: list[psutil.Process] = []

        def half() -> bool:
            workers[:] = _family(process.pid)[1:]
            return size_of(self.store.parent) > size / 2

        process = start(self.corpus, raw=self.raw, store=self.store, workers=self.cores)
        killed = finish(process, enough=half)
        ended = wait_for(workers)
        remark = f"left: {self._beside()}; its processes ended {ended:.1f} s later"
        self._note("killed at half the store's size", killed, remark=remark, whole=False)

    def _sameness(self, expected: str) -> str:
        return "equal" if fingerprint_of(self.store) == expected else "NOT equal"

    def _beside(self) -> str:
        others = [path for path in sorted(self.store.parent.iterdir()) if path != self.store]
        return ", ".join(f"{path.name} of {size_of(path) / MEBI:.0f} MiB" for path in others) or "nothing"

    def _note(self, label: str, run: Run, *, remark: str, whole: bool = True) -> None:
        speed = f"{self.hours / run.seconds * 60:.1f}" if whole else ""
        # The workers of a killed run are no longer children of this process, so their time is not known.
        spent = [speed, f"{run.cpu:.0f}", f"{run.others:.0%}"] if not label.startswith("killed") else ["", "", ""]
        cells = [f"{run.seconds:.1f}", *spent, f"{run.peak / MEBI:.0f}", f"{run.largest / MEBI:.0f}"]
        self.rows.append([self.corpus, f"{self.hours:.1f}", label, *cells, remark])
        sys.stderr.write(" | ".join(self.rows[-1]) + "\n")


def measure(corpus: str, *, hours: float, folder: Path, cores: int) -> list[list[str]]:
    """Generate a corpus, prepare it in several ways, remove it, and return the rows of the table."""
    raw, stores = folder / "raw", folder / "stores"
    raw.mkdir(parents=True)
    stores.mkdir()
    present = WRITERS[corpus][1](raw, hours=hours)
    sys.stderr.write(f"{corpus}: {present:.1f} h, {size_of(raw) / 2**30:.1f} GiB\n")
    bench = Bench(corpus=corpus, raw=raw, store=stores / "store", hours=present, cores=cores)
    bench.all_ways()
    shutil.rmtree(folder)
    return bench.rows


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpus", nargs="+", choices=list(WRITERS), default=list(WRITERS))
    parser.add_argument("--hours", type=float, default=50.0, help="length of each corpus in hours")
    parser.add_argument("--out", type=Path, default=Path("preparation"), help="must be empty; needs about 10 GB")
    given = parser.parse_args()
    given.out = given.out.absolute()
    given.out.mkdir(parents=True, exist_ok=True)
    if any(given.out.iterdir()):
        parser.error(f"{given.out} is not empty")
    cores = len(psutil.Process().cpu_affinity() or [0])
    head = ["corpus", "hours", "run", "seconds", "hours per minute", "CPU s", "others", "MiB, all", "MiB, largest", ""]
    rows: list[list[str]] = []
    for corpus in given.corpus:
        rows += measure(corpus, hours=given.hours, folder=given.out / corpus, cores=cores)
    page = markdown(head, rows) + "\n"
    (given.out / "preparation.md").write_text(page, encoding="utf-8")
    sys.stdout.write(page)


if __name__ == "__main__":
    main()
