"""Simulated workers with a virtual clock: what an optimiser finds, and when."""

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from ConfigSpace import ConfigurationSpace

from benchmarks.problems import EPOCHS, LADDER, Problem, Values
from emotune.randomness import stream

JITTER = 0.3
"""Spread of the logarithm of an evaluation's duration where there are several workers."""


@dataclass(frozen=True)
class Task:
    """What an optimiser may know.

    Attributes:
        space: Where to search; the optimiser may change it.
        seed: Source of its randomness.
        workers: How many evaluations may run at the same time.
        cost: What an epoch of a configuration is expected to last, relative to a typical one.
    """

    space: ConfigurationSpace
    seed: int
    workers: int
    cost: Callable[[Values], float]


class Work(NamedTuple):
    """Train a configuration from one epoch (its checkpoint) to another. ``key`` is the optimiser's own."""

    key: object
    values: Values
    from_epoch: int
    to_epoch: int


class Optimiser(Protocol):
    """An optimiser behind the one protocol of the benchmark."""

    def ask(self) -> Work | None:
        """Return what a free worker shall do; None if it has to wait for a result."""
        ...

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Take the losses of the epochs that were trained; if it diverged, the last is infinite."""
        ...


class Observation(NamedTuple):
    """The loss of a configuration at a rung, when it was seen, and the configuration's true regret."""

    time: float
    epoch: int
    loss: float
    regret: float


def simulate(optimiser: Optimiser, problem: Problem, *, seed: int, workers: int, budget: float) -> list[Observation]:
    """Run an optimiser until the virtual budget is spent.

    With one worker an epoch lasts 1, so that time is the number of epochs really trained. With several, it
    lasts the configuration's cost, times a random factor by evaluation. Whenever a rung of the ladder is
    passed, an observation is made, whether the optimiser decides anything there or not.

    Args:
        optimiser: Asked whenever a worker is free.
        problem: What is evaluated.
        seed: Seed of noise and durations, equal for all optimisers.
        workers: Number of simulated workers.
        budget: Virtual time, in full evaluations of a typical configuration for each worker.

    Returns:
        All observations until then, by time.
    """
    end = budget * EPOCHS
    observations: list[Observation] = []
    running: list[tuple[float, int, Work, list[float]]] = []
    counter = itertools.count()
    now = 0.0
    while True:
        while len(running) < workers and (asked := optimiser.ask()) is not None:
            work = asked._replace(values=_plain(asked.values))
            losses = _train(problem, work, seed=seed)
            pace = _pace(problem, work, seed=seed, workers=workers)
            observations += _observe(problem, work, losses, start=now, pace=pace)
            heapq.heappush(running, (now + pace * len(losses), next(counter), work, losses))
        if not running:
            break
        now, _, work, losses = heapq.heappop(running)
        if now >= end:
            break
        optimiser.tell(work, losses)
    return sorted(observation for observation in observations if observation.time <= end)


def _plain(values: Values) -> Values:
    """Return values as Python's own types, so that equal ones meet equal noise."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}


def _train(problem: Problem, work: Work, *, seed: int) -> list[float]:
    assert 0 <= work.from_epoch < work.to_epoch <= EPOCHS, work
    curve = problem.curve(work.values, seed)[work.from_epoch : work.to_epoch]
    broken = np.flatnonzero(~np.isfinite(curve))
    if len(broken) == 0:
        return curve.tolist()
    return [*curve[: broken[0]].tolist(), math.inf]


def _pace(problem: Problem, work: Work, *, seed: int, workers: int) -> float:
    """Return how long an epoch lasts."""
    if workers == 1:
        return 1.0
    about = (part for name in sorted(work.values) for part in (name, repr(work.values[name])))
    factor = stream(seed, "duration", work.from_epoch, *about).lognormal(0.0, JITTER)
    return float(factor * problem.cost(work.values))


def _observe(problem: Problem, work: Work, losses: Sequence[float], *, start: float, pace: float) -> list[Observation]:
    passed = [epoch for epoch in LADDER if work.from_epoch < epoch <= work.from_epoch + len(losses)]
    regret = problem.regret(work.values) if passed else 0.0
    times = [start + pace * (epoch - work.from_epoch) for epoch in passed]
    seen = [losses[epoch - work.from_epoch - 1] for epoch in passed]
    return [
        Observation(time, epoch, loss, regret)
        for time, epoch, loss in zip(times, passed, seen, strict=True)
        if math.isfinite(loss)
    ]


def incumbents(observations: Sequence[Observation], *, times: Sequence[float]) -> list[float]:
    """Return the regret of the incumbent at some times, which must rise.

    The incumbent is the configuration of the lowest observed loss at the highest rung seen so far. Before
    there is any, the regret is that of a median random configuration, 1.
    """
    found: list[float] = []
    best = (0, math.inf)
    regret = 1.0
    rest = iter(observations)
    upcoming = next(rest, None)
    for time in times:
        while upcoming is not None and upcoming.time <= time:
            if (-upcoming.epoch, upcoming.loss) < best:
                best = (-upcoming.epoch, upcoming.loss)
                regret = upcoming.regret
            upcoming = next(rest, None)
        found.append(regret)
    return found
