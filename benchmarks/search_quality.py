"""Compare the searchers of this project with each other and with other optimisers, at equal budgets.

    python benchmarks/search_quality.py --seeds 20 --workers 1 4 --jobs 2 --out FOLDER

Finished runs are kept in FOLDER/cells.jsonl; the same command resumes after an interruption. The results are
explained in benchmarks/README.md.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.cells import Cell, read, run_all
from benchmarks.optimisers import OPTIMISERS, is_installed
from benchmarks.pages import write_all
from benchmarks.problems import PROBLEMS
from benchmarks.scores import tidy


def main() -> None:
    """Run the missing cells and print the page."""
    given = _arguments()
    absent = [name for name in given.optimisers if not is_installed(name)]
    cells = _cells(given, optimisers=[name for name in given.optimisers if name not in absent])
    journal = given.out / "cells.jsonl"
    done = read(journal)
    todo = [cell for cell in cells if cell not in done]
    failed = _run(todo, journal=journal, jobs=given.jobs)
    results = read(journal)
    finished = [results[cell] for cell in cells if cell in results]
    for line in failed:
        sys.stderr.write(f"failed: {line}\n")
    if not finished:
        sys.exit("no run has finished")
    page = write_all(tidy(finished), folder=given.out, about=_about(given, failed=len(failed)), absent=absent)
    sys.stdout.write(page)
    sys.exit(1 if failed else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="seeds 0, 1, ... of each cell")
    parser.add_argument("--first-seed", type=int, default=0, help="first seed")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--budget", type=float, default=40.0, help="in full evaluations of 27 epochs")
    parser.add_argument("--only", nargs="+", choices=PROBLEMS, default=list(PROBLEMS), metavar="PROBLEM")
    parser.add_argument("--optimisers", nargs="+", choices=OPTIMISERS, default=list(OPTIMISERS), metavar="OPTIMISER")
    parser.add_argument("--priors", choices=["none", "good", "bad"], default="none", help="the space's default")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, default=Path("search_quality"))
    return parser.parse_args()


def _cells(given: argparse.Namespace, *, optimisers: Sequence[str]) -> list[Cell]:
    """List the cells, seed by seed, so that the results of an interrupted run are complete for some seeds."""
    return [
        Cell(optimiser, problem, seed, workers, given.priors, given.budget)
        for seed in range(given.first_seed, given.first_seed + given.seeds)
        for workers in given.workers
        for problem in given.only
        for optimiser in optimisers
        if workers > 1 or not OPTIMISERS[optimiser].several_only
    ]


def _run(cells: Sequence[Cell], *, journal: Path, jobs: int) -> list[str]:
    started = time.monotonic()
    failed: list[str] = []
    for count, (cell, error) in enumerate(run_all(cells, journal=journal, jobs=jobs), start=1):
        if error is not None:
            failed.append(f"{cell}: {type(error).__name__}: {error}")
        remaining = (time.monotonic() - started) / count * (len(cells) - count)
        sys.stderr.write(f"\r{count} of {len(cells)} runs, about {remaining / 60:.0f} minutes left ")
    return failed


def _about(given: argparse.Namespace, *, failed: int) -> str:
    return (
        f"Budget {given.budget:g} full evaluations, seeds {given.first_seed} to "
        f"{given.first_seed + given.seeds - 1}, default configurations: {given.priors}. Runs that failed: {failed}. "
        "Normalised regret: 0 is the best known configuration, 1 is a median random one."
    )


if __name__ == "__main__":
    main()
