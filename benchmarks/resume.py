"""Measure the cost of a killed driver: emotune, its searcher in a `tune.Tuner`, and Ray's BOHB.

    python benchmarks/resume.py [--kills 3] [--seeds 2] [--out resume]

The driver of a small study is killed (kill -9) at random moments and started again until it ends. Prints a
line for each run and the sums, and writes them to OUT/resume.md.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.markdown import markdown
from emotune.randomness import stream

ROOT = Path(__file__).parents[1]
RUNGS = (1, 3, 9)
DRIVER_TIMEOUT_S = 180.0
"""Maximal run time of a driver."""

ATTEMPTS = 3
"""Number of errors of a driver after which it is not started again."""

SIDES = {
    "emotune": "emotune",
    "tuner": "`EmotuneSearch` in a `tune.Tuner`, `Tuner.restore`",
    "stock": "Ray's BOHB, `Tuner.restore`",
}

Row = tuple[str, int, float | None]
"""A configuration, its number of trained epochs, and its loss after them."""


@dataclass(frozen=True)
class Note:
    """The record that a worker started or finished an epoch."""

    config: str
    epoch: int
    done: bool


@dataclass(frozen=True)
class Outcome:
    """The result of a study.

    Attributes:
        kills: Number of kills.
        seconds: Sum of the drivers' run times.
        notes: The workers' records.
        table: The final table; None if the study did not end.
        errors: The last output line of each driver that ended with an error.
    """

    kills: int
    seconds: float
    notes: tuple[Note, ...]
    table: tuple[Row, ...] | None
    errors: tuple[str, ...]


def trained_again(notes: Iterable[Note]) -> int:
    """Return the number of epochs that were started again."""
    counts = Counter((note.config, note.epoch) for note in notes if not note.done)
    return sum(count - 1 for count in counts.values())


def results_lost(notes: Iterable[Note], *, table: Sequence[Row] | None) -> int:
    """Return the number of finished results at rungs that are missing in the final table."""
    finished = {(note.config, note.epoch) for note in notes if note.done and note.epoch in RUNGS}
    longest: dict[str, int] = {}
    for config, epochs, loss in table or ():
        if loss is not None:
            longest[config] = max(epochs, longest.get(config, 0))
    return sum(epoch > longest.get(config, 0) for config, epoch in finished)


def is_equal(table: Sequence[Row] | None, other: Sequence[Row] | None) -> bool:
    """Return whether two tables are equal, in any order of rows."""
    return table is not None and other is not None and sorted(table, key=repr) == sorted(other, key=repr)


def moments(total: int, *, kills: int, seed: int) -> list[int]:
    """Draw the numbers of finished epochs after which the driver is killed: ascending and distinct."""
    numbers = stream(seed, "kills").choice(total - 1, size=min(kills, total - 1), replace=False)
    return sorted(int(number) + 1 for number in numbers)


def read_notes(folder: Path) -> tuple[Note, ...]:
    """Read the workers' records; an incomplete last line is ignored."""
    texts = [file.read_text() for file in sorted(folder.glob("*.jsonl"))]
    return tuple(Note(**json.loads(line)) for text in texts for line in text.splitlines() if line.endswith("}"))


def run(side: str, *, folder: Path, kills: Sequence[int] = ()) -> Outcome:
    """Start drivers one after the other until the study has ended."""
    (folder / "notes").mkdir(parents=True)
    waiting = list(kills)
    killed, seconds, errors = 0, 0.0, []
    while not (folder / "table.json").exists() and len(errors) < ATTEMPTS:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="re-", dir="/tmp", ignore_cleanup_errors=True) as temporary:
            end, error = _drive(side, folder=folder, kill_at=waiting[0] if waiting else None, temporary=temporary)
        seconds += time.monotonic() - started
        if end == "killed":
            killed += 1
            waiting.pop(0)
        elif error is not None:
            errors.append(error)
    path = folder / "table.json"
    table = tuple((row[0], row[1], row[2]) for row in json.loads(path.read_text())) if path.exists() else None
    return Outcome(killed, seconds, read_notes(folder / "notes"), table, tuple(errors))


def _drive(side: str, *, folder: Path, kill_at: int | None, temporary: str) -> tuple[str, str | None]:
    """Run a driver until it ends or is killed; return which, and the last line of an error."""
    settings = {"RAY_ADDRESS": "local", "RAY_TMPDIR": temporary, "RAY_AUTH_MODE": "disabled"}
    settings |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    script = [sys.executable, str(ROOT / "benchmarks/resume_ray.py"), side, "--folder", str(folder)]
    deadline = time.monotonic() + DRIVER_TIMEOUT_S
    with (folder / "driver.log").open("w") as log:
        driver = subprocess.Popen(script, env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=log)
        while driver.poll() is None:
            done = sum(note.done for note in read_notes(folder / "notes"))
            if (kill_at is not None and done >= kill_at) or time.monotonic() > deadline:
                driver.send_signal(signal.SIGKILL)
                driver.wait()
                return ("killed", None) if time.monotonic() <= deadline else ("hung", "it hung")
            time.sleep(0.02)
    lines = [line.strip() for line in (folder / "driver.log").read_text().splitlines() if line.strip()]
    return "ended", (lines or ["no message"])[-1] if driver.returncode else None


def page(given: argparse.Namespace) -> str:
    """Run all studies and return the table."""
    rows = []
    for side, name in SIDES.items():
        undisturbed = run(side, folder=given.out / f"{side}-undisturbed")
        assert undisturbed.table is not None, undisturbed.errors
        rows.append([name, "none", *_cells(undisturbed, undisturbed=undisturbed)])
        total = sum(note.done for note in undisturbed.notes)
        for seed in range(given.first_seed, given.first_seed + given.seeds):
            kills = moments(total, kills=given.kills, seed=seed)
            killed = run(side, folder=given.out / f"{side}-{seed}", kills=kills)
            rows.append([name, str(seed), *_cells(killed, undisturbed=undisturbed)])
    head = ["search", "seed", "kills", "epochs", "trained again", "results lost", "seconds", "added", "same table"]
    return markdown([*head, "errors of restarted drivers"], rows)


def _cells(outcome: Outcome, *, undisturbed: Outcome) -> list[str]:
    begun = sum(not note.done for note in outcome.notes)
    numbers = [outcome.kills, begun, trained_again(outcome.notes), results_lost(outcome.notes, table=outcome.table)]
    seconds = [f"{outcome.seconds:.0f}", f"{outcome.seconds - undisturbed.seconds:+.0f}"]
    same = "yes" if is_equal(outcome.table, undisturbed.table) else "did not end" if outcome.table is None else "no"
    return [*map(str, numbers), *seconds, same, "; ".join(outcome.errors)]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=3, help="kills per study")
    parser.add_argument("--seeds", type=int, default=2, help="number of studies with kills, for each program")
    parser.add_argument("--first-seed", type=int, default=0, help="first seed")
    parser.add_argument("--out", type=Path, default=Path("resume"), help="must be empty")
    given = parser.parse_args()
    given.out = given.out.absolute()
    given.out.mkdir(parents=True, exist_ok=True)
    if any(given.out.iterdir()):
        parser.error(f"{given.out} is not empty")
    table = page(given)
    (given.out / "resume.md").write_text(table + "\n", encoding="utf-8")
    sys.stdout.write(table + "\n")


if __name__ == "__main__":
    main()
