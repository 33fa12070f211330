"""Simulated workers with a virtual clock: the results of an optimiser over time."""

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
"""Standard deviation of the logarithm of an evaluation's duration, with several workers."""


@dataclass(frozen=True)
class Task:
    """The information that an optimiser gets.

    Attributes:
        space: The search space; the optimiser may change it.
        seed: Seed of its random numbers.
        workers: Number of evaluations that can run at the same time.
        cost: Expected duration of an epoch of a configuration, relative to a typical one.
    """

    space: ConfigurationSpace
    seed: int
    workers: int
    cost: Callable[[Values], float]


class Work(NamedTuple):
    """The training of a configuration from one epoch (its checkpoint) to another. Only the optimiser uses ``key``."""

    key: object
    values: Values
    from_epoch: int
    to_epoch: int


class Optimiser(Protocol):
    """The interface of all optimisers in the benchmark."""

    def ask(self) -> Work | None:
        """Return the work for a free worker; None if it has to wait for a result."""
        ...

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Receive the losses of the trained epochs; if the training diverged, the last one is infinite."""
        ...


class Observation(NamedTuple):
    """The loss of a configuration at a rung, its time, and the configuration's true regret."""

    time: float
    epoch: int
    loss: float
    regret: float


def simulate(optimiser: Optimiser, problem: Problem, *, seed: int, workers: int, budget: float) -> list[Observation]:
    """Run an optimiser until the virtual budget is spent.

    With one worker an epoch lasts 1, so that time is the number of trained epochs. With several, it
    lasts the configuration's cost times a random factor per evaluation. Whenever a configuration passes a rung,
    an observation is recorded, also if the optimiser makes no decision there.

    Args:
        optimiser: Optimiser whose ``ask`` is called whenever a worker is free.
        problem: The problem.
        seed: Seed of noise and durations, equal for all optimisers.
        workers: Number of simulated workers.
        budget: Virtual time, in full evaluations of a typical configuration for each worker.

    Returns:
        All observations within the budget, by time.
    """
    end = budget * EPOCHS
    observations: list[Observation] = []
    running: list[tuple[float, int, Work, list[float]]] = []
    counter = itertools.count()
    now = 0.0
    while True:
        while len(running) < workers and (requested := optimiser.ask()) is not None:
            work = requested._replace(values=_plain(requested.values))
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
    """Return values as Python's built-in types, so that equal values get equal noise."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}


def _train(problem: Problem, work: Work, *, seed: int) -> list[float]:
    assert 0 <= work.from_epoch < work.to_epoch <= EPOCHS, work
    curve = problem.curve(work.values, seed)[work.from_epoch : work.to_epoch]
    broken = np.flatnonzero(~np.isfinite(curve))
    if len(broken) == 0:
        return curve.tolist()
    return [*curve[: broken[0]].tolist(), math.inf]


def _pace(problem: Problem, work: Work, *, seed: int, workers: int) -> float:
    """Return the duration of an epoch."""
    if workers == 1:
        return 1.0
    about = (part for name in sorted(work.values) for part in (name, repr(work.values[name])))
    factor = stream(seed, "duration", work.from_epoch, *about).lognormal(0.0, JITTER)
    return float(factor * problem.cost(work.values))


def _observe(problem: Problem, work: Work, losses: Sequence[float], *, start: float, pace: float) -> list[Observation]:
    passed = [epoch for epoch in LADDER if work.from_epoch < epoch <= work.from_epoch + len(losses)]
    regret = problem.regret(work.values) if passed else 0.0
    times = [start + pace * (epoch - work.from_epoch) for epoch in passed]
    at_rungs = [losses[epoch - work.from_epoch - 1] for epoch in passed]
    return [
        Observation(time, epoch, loss, regret)
        for time, epoch, loss in zip(times, passed, at_rungs, strict=True)
        if math.isfinite(loss)
    ]


def incumbents(observations: Sequence[Observation], *, times: Sequence[float]) -> list[float]:
    """Return the regret of the incumbent at given times, in ascending order.

    The incumbent is the configuration with the lowest observed loss at the highest rung so far. Before
    the first observation, the regret is that of a median random configuration, 1.
    """
    regrets: list[float] = []
    best = (0, math.inf)
    regret = 1.0
    remaining = iter(observations)
    upcoming = next(remaining, None)
    for time in times:
        while upcoming is not None and upcoming.time <= time:
            if (-upcoming.epoch, upcoming.loss) < best:
                best = (-upcoming.epoch, upcoming.loss)
                regret = upcoming.regret
            upcoming = next(remaining, None)
        regrets.append(regret)
    return regrets
