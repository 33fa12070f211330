"""Measure the cost of the search itself: the duration of ask and tell, and the driver's memory, without Ray."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import psutil
from ConfigSpace import ConfigurationSpace, Float

from benchmarks.markdown import markdown
from emotune.randomness import stream
from emotune.runtime.coordinator import Coordinator
from emotune.search import Optimizer
from emotune.search.criteria import MINIMISED
from emotune.search.records import Opened
from emotune.storage import LocalLog
from emotune.study.journal import Journal

DIMENSIONS = 8
TIMED_PAIRS = 20
"""Number of pairs of ask and tell that are timed at each size."""


def space() -> ConfigurationSpace:
    """Return a space of eight real hyperparameters."""
    return ConfigurationSpace(space={f"x{number}": Float(f"x{number}", (0.0, 1.0)) for number in range(DIMENSIONS)})


def loss_of(values: dict, *, number: int) -> float:
    """Return a quadratic function of the values with noise."""
    return sum((float(value) - 0.3) ** 2 for value in values.values()) + 0.05 * float(
        stream(0, "loss", number).normal()
    )


def optimizer_at(size: int, *, model: str) -> tuple[Optimizer, float]:
    """Return a search with ``size`` results, and the seconds that its reconstruction from them took.

    The results are those of random configurations, because asking the model each time would take longer.
    """
    random = Optimizer(space(), kind="bohb", model=model, random_fraction=1.0, seed=0)
    evaluations = []
    while len(evaluations) < size and (evaluation := random.ask()) is not None:
        random.tell(evaluation.id, loss_of(evaluation.values, number=evaluation.id))
        evaluations.append(evaluation)
    losses = {evaluation.id: loss_of(evaluation.values, number=evaluation.id) for evaluation in evaluations}
    optimizer = Optimizer(space(), kind="bohb", model=model, random_fraction=0.0, seed=0)
    started = time.perf_counter()
    optimizer.replay(evaluations, losses=losses)
    return optimizer, time.perf_counter() - started


def ask_and_tell_page(*, models: Sequence[str], sizes: Sequence[int]) -> str:
    """Return the table of durations in ms."""
    rows = []
    for model in models:
        for size in sizes:
            optimizer, rebuilding = optimizer_at(size, model=model)
            asks, tells = _times(optimizer)
            cells = [f"{part(times):.1f}" for times in (asks, tells) for part in (np.mean, np.max)]
            rows.append([model, str(size), *cells, f"{rebuilding:.2f}"])
    return markdown(["model", "results", "ask: mean ms", "max", "tell: mean ms", "max", "seconds to rebuild"], rows)


def _times(optimizer: Optimizer) -> tuple[list[float], list[float]]:
    """Return the durations of ask and tell in ms, for new configurations only: promotions take no time."""
    asks: list[float] = []
    tells: list[float] = []
    while len(asks) < TIMED_PAIRS:
        begun = time.perf_counter()
        evaluation = optimizer.ask()
        after_ask = time.perf_counter()
        assert evaluation is not None
        loss = loss_of(evaluation.values, number=evaluation.id)
        before_tell = time.perf_counter()
        optimizer.tell(evaluation.id, loss)
        if evaluation.origin != "promotion":
            asks.append(1000 * (after_ask - begun))
            tells.append(1000 * (time.perf_counter() - before_tell))
    return asks, tells


def driver_memory(sizes: Sequence[int], *, folder: Path) -> dict[int, float]:
    """Run evaluations that take no time with a coordinator and a journal, without Ray; return MiB by their number.

    Configurations are random: asking a model 10,000 times takes minutes and needs no more memory.
    """
    optimizer = Optimizer(space(), kind="hyperband", max_budget=9, seed=0)
    first = Opened(time=0.0, name="memory", study={}, digest="", seed=0, concurrency=1, software={})
    mib: dict[int, float] = {}
    with Journal.open(LocalLog(folder / "journal.jsonl"), owner="overhead") as journal:
        journal.append(first)
        coordinator = Coordinator(optimizer, journal=journal, criteria=MINIMISED)
        for number in range(1, max(sizes) + 1):
            evaluation = coordinator.next_evaluation()
            assert evaluation is not None
            for epoch in range(evaluation.from_epoch + 1, evaluation.to_epoch + 1):
                loss = loss_of(evaluation.values, number=number) + 1 / epoch
                coordinator.report(evaluation.id, epoch=epoch, metrics={"val/loss": loss})
            coordinator.complete(evaluation.id)
            if number in sizes:
                mib[number] = psutil.Process().memory_info().rss / 2**20
    return mib


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print the memory of a driver without Ray, in MiB, as JSON.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", required=True)
    given = parser.parse_args()
    sys.stdout.write(json.dumps(driver_memory(given.sizes, folder=given.folder)))
