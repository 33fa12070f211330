"""The cells of the comparison. A cell is one run of an optimiser on a problem; its result is one line of JSON."""

import ast
import functools
import hashlib
import importlib.metadata
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from ConfigSpace import ConfigurationSpace

import emotune.search
from benchmarks.optimisers import OPTIMISERS, is_installed, make
from benchmarks.problems import EPOCHS, Problem, problem_of
from benchmarks.simulation import Task, incumbents, simulate
from emotune.randomness import derive_seed

RULES = 1
"""Version of the rules. Increase it when problems or simulation change so that kept results are no longer valid."""
POINTS = 40
"""Number of equally spaced times at which the incumbent is recorded."""
PRIOR_DRAWS = 300
"""Number of random configurations: a good default is the best of them, a bad default the worst."""

PROCESS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "LOKY_MAX_CPU_COUNT": "1",  # threads of scikit-learn's forest, which SMAC3 fits
    "PYTHONHASHSEED": "0",  # SMAC3's results depend on it
}
"""Environment of the processes that run the cells: one thread, and results that can be repeated."""


class Cell(NamedTuple):
    """One run: an optimiser, a problem and their settings."""

    optimiser: str
    problem: str
    seed: int
    workers: int
    priors: str
    budget: float


@dataclass(frozen=True)
class Result:
    """The result of a cell.

    Attributes:
        cell: The cell.
        software: Versions that were used; results of other versions are repeated.
        regret: Normalised regret of the incumbent at `POINTS` times.
        seconds: CPU time of the whole run.
        observations: Number of rungs that were passed within the budget.
    """

    cell: Cell
    software: str
    regret: list[float]
    seconds: float
    observations: int

    def line(self) -> str:
        """Return the result as a line of JSON."""
        outcome = {"software": self.software, "regret": [round(value, 6) for value in self.regret]}
        about = {"seconds": round(self.seconds, 2), "observations": self.observations}
        return json.dumps({**self.cell._asdict(), **outcome, **about})

    @classmethod
    def from_line(cls, line: str) -> "Result":
        """Read a result from a line of JSON."""
        content = json.loads(line)
        cell = Cell(**{name: content.pop(name) for name in Cell._fields})
        return cls(cell, **content)


@functools.cache
def software_of(optimiser: str) -> str:
    """Return the version of an optimiser; for those of this project, a digest of the code of the search core."""
    entry = OPTIMISERS[optimiser]
    if entry.package != "emotune":
        adapter = Path(__file__).parent / "optimisers" / f"{entry.module}.py"
        digest = code_digest([adapter])[:8]
        version = importlib.metadata.version(entry.distribution or entry.package.replace("_", "-"))
        return f"{entry.package} {version}, adapter {digest}, rules {RULES}"
    files = sorted(Path(emotune.search.__file__).parent.rglob("*.py"))
    return f"emotune {code_digest(files)[:12]}, rules {RULES}"


def code_digest(files: Sequence[Path]) -> str:
    """Return the SHA-256 of the statements of Python files. Comments, docstrings and the layout do not change it."""
    digest = hashlib.sha256()
    for file in files:
        module = _StatementsOnly().visit(ast.parse(file.read_text(encoding="utf-8")))
        digest.update(ast.unparse(module).encode())
    return digest.hexdigest()


class _StatementsOnly(ast.NodeTransformer):
    """Remove the strings that stand alone: docstrings of modules, classes, functions and attributes."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        """Return None, which removes the statement, for a string that stands alone."""
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


def run(cell: Cell) -> Result:
    """Run a cell."""
    problem = problem_of(cell.problem, seed=cell.seed)
    assert problem.median > problem.best
    space = space_with_default(problem, seed=cell.seed, priors=cell.priors)
    started = time.process_time()
    seed = derive_seed(cell.seed, cell.problem, cell.workers) % 2**31
    optimiser = make(cell.optimiser, Task(space, seed, cell.workers, problem.cost))
    observations = simulate(optimiser, problem, seed=cell.seed, workers=cell.workers, budget=cell.budget / cell.workers)
    seconds = time.process_time() - started
    end = cell.budget / cell.workers * EPOCHS
    times = [end * (point + 1) / POINTS for point in range(POINTS)]
    regret = incumbents(observations, times=times)
    return Result(cell, software_of(cell.optimiser), regret, seconds, len(observations))


def space_with_default(problem: Problem, *, seed: int, priors: str) -> ConfigurationSpace:
    """Return the problem's space with a default configuration that is good, bad, or random (none)."""
    space = problem.new_space()
    drawn = problem.draw(1 if priors == "none" else PRIOR_DRAWS, seed=derive_seed(seed, "default", priors))
    choose = max if priors == "bad" else min
    chosen = choose(drawn, key=problem.regret)
    document = space.to_serialized_dict()
    for about in document["hyperparameters"]:
        about["default_value"] = chosen.get(about["name"], about["default_value"])
    return ConfigurationSpace.from_serialized_dict(document)


def read(journal: Path) -> dict[Cell, Result]:
    """Read the finished cells of the installed software; a line that a crash has cut is ignored."""
    if not journal.exists():
        return {}
    lines = journal.read_text(encoding="utf-8").splitlines()
    results = [Result.from_line(line) for line in lines if line.endswith("}")]
    here = [name for name in OPTIMISERS if is_installed(name)]
    current = {name: software_of(name) for name in here}
    return {result.cell: result for result in results if result.software == current.get(result.cell.optimiser)}


def run_all(cells: Sequence[Cell], *, journal: Path, jobs: int) -> Iterator[tuple[Cell, BaseException | None]]:
    """Run cells in processes of one thread each, and write every result immediately.

    Yields:
        Each cell when it has ended, and its exception or None. Failures are not written.
    """
    journal.parent.mkdir(parents=True, exist_ok=True)
    os.environ.update(PROCESS)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(run, cell): cell for cell in cells}
        for future in as_completed(futures):
            error = future.exception()
            if error is None:
                with journal.open("a", encoding="utf-8") as file:
                    file.write(future.result().line() + "\n")
                    file.flush()
                    os.fsync(file.fileno())
            yield futures[future], error
