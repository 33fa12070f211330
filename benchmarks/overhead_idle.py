"""Idle time of workers, on a virtual clock: strict and free order, sync and async schedule."""

import heapq
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from ConfigSpace import ConfigurationSpace, Float

from benchmarks.markdown import markdown
from emotune.randomness import stream
from emotune.search import Evaluation, Optimizer

SCHEDULES = {"sync": "hyperband", "async": "asha"}
"""Schedules, with their searcher without a model: the source of configurations does not matter here."""


@dataclass(frozen=True)
class Setting:
    """The settings of a simulated search.

    Attributes:
        order: ``strict`` or ``free``.
        schedule: ``sync`` or ``async``.
        workers: Evaluations at a time.
        jitter: Standard deviation of the logarithm of an evaluation's duration, relative to the expected duration.
        spread: Standard deviation of the logarithm of an epoch's cost, between configurations.
        brackets: Length of the search; an asynchronous one has as many evaluations.
        ahead: Number of evaluations that are decided before a worker is free for them.
    """

    order: str
    schedule: str
    workers: int
    jitter: float = 0.3
    spread: float = 0.5
    brackets: int = 8
    ahead: int = 0


@dataclass(frozen=True)
class Shift:
    """The durations of a simulated search, in virtual seconds.

    Attributes:
        wall: From the first start to the last end.
        last_start: Start of the last evaluation.
        work: Sum over all evaluations.
        work_until_last_start: The part of ``work`` before the last start.
        workers: Evaluations at a time.
    """

    wall: float
    last_start: float
    work: float
    work_until_last_start: float
    workers: int

    @property
    def idle(self) -> float:
        """Idle share of the workers' time."""
        return 1 - self.work / (self.wall * self.workers)

    @property
    def idle_before_the_end(self) -> float:
        """Idle share up to the last start: without the end, when there is not enough work for all workers."""
        return 1 - self.work_until_last_start / (self.last_start * self.workers)


def simulate(setting: Setting, *, seed: int) -> Shift:
    """Simulate a search whose evaluations differ in duration from what the search expects."""
    optimizer = Optimizer(
        ConfigurationSpace(space={"x": Float("x", (0.0, 1.0)), "y": Float("y", (0.0, 1.0))}),
        seed=seed,
        concurrency=setting.workers + setting.ahead,
        kind=SCHEDULES[setting.schedule],
        brackets=setting.brackets,
        order=setting.order,
        cost=lambda values: _cost(values, seed=seed, spread=setting.spread),
    )
    now = 0.0
    running: list[tuple[float, int, Evaluation]] = []
    waiting: deque[Evaluation] = deque()
    spans: list[tuple[float, float]] = []
    while True:
        while (decided := optimizer.ask()) is not None:
            waiting.append(decided)
        while waiting and len(running) < setting.workers:
            evaluation = waiting.popleft()
            end = now + _seconds(evaluation, setting=setting, seed=seed)
            spans.append((now, end))
            heapq.heappush(running, (end, evaluation.id, evaluation))
        if not running:
            return _shift(spans, workers=setting.workers)
        now, _, evaluation = heapq.heappop(running)
        optimizer.tell(evaluation.id, _loss(evaluation, seed=seed))


def _cost(values: dict, *, seed: int, spread: float) -> float:
    return math.exp(spread * stream(seed, "cost", repr(values["x"])).normal())


def _seconds(evaluation: Evaluation, *, setting: Setting, seed: int) -> float:
    """Return the duration of an evaluation: the same in all orders and schedules."""
    cost = _cost(evaluation.values, seed=seed, spread=setting.spread)
    jitter = stream(seed, "jitter", evaluation.config_id, evaluation.rung).lognormal(0.0, setting.jitter)
    return cost * jitter * (evaluation.to_epoch - evaluation.from_epoch)


def _loss(evaluation: Evaluation, *, seed: int) -> float:
    noise = stream(seed, "noise", evaluation.config_id, evaluation.rung).normal()
    return float(evaluation.values["y"]) + 0.2 * noise / evaluation.to_epoch


def _shift(spans: list[tuple[float, float]], *, workers: int) -> Shift:
    last_start = max(start for start, _ in spans)
    return Shift(
        wall=max(end for _, end in spans),
        last_start=last_start,
        work=sum(end - start for start, end in spans),
        work_until_last_start=sum(min(end, last_start) - start for start, end in spans),
        workers=workers,
    )


def variants(workers: int) -> dict[str, tuple[str, int]]:
    """Return what is compared: the order, and the number of evaluations that are decided ahead."""
    return {
        "strict": ("strict", 0),
        "strict, half as many ahead as workers": ("strict", math.ceil(workers / 2)),
        "strict, as many ahead as workers": ("strict", workers),
        "free": ("free", 0),
    }


def page(*, seeds: int, workers: Iterable[int] = (2, 4), jitters: Iterable[float] = (0.1, 0.3, 0.6)) -> str:
    """Return the table: mean over seeds, with 95 % intervals."""
    rows = []
    for count, jitter, schedule in product(workers, jitters, SCHEDULES):
        for name, (order, ahead) in variants(count).items():
            setting = Setting(order, schedule, count, jitter, ahead=ahead)
            shifts = [simulate(setting, seed=seed) for seed in range(seeds)]
            idle = _percent([shift.idle_before_the_end for shift in shifts])
            whole = _percent([shift.idle for shift in shifts])
            rows.append([str(count), f"{jitter:g}", schedule, name, idle, whole])
    head = ["workers", "jitter", "schedule", "order", "idle before the last start", "idle in the whole search"]
    return markdown(head, rows)


def _percent(shares: Sequence[float]) -> str:
    interval = 1.96 * float(np.std(shares, ddof=1)) / math.sqrt(len(shares))
    return f"{np.mean(shares):.1%} ± {interval:.1%}"
