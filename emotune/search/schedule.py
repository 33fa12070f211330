"""HyperBand: how far each configuration is trained, and which ones go on."""

import bisect
import math
from typing import NamedTuple, Protocol, runtime_checkable

from emotune.errors import SettingsError
from emotune.search.records import Evaluation

Standing = tuple[float, int]
"""A finite loss and the configuration that has it; sorting puts the best first and breaks ties by number."""


class Plan(NamedTuple):
    """What to start next. ``config_id`` is None for a new configuration."""

    config_id: int | None
    bracket: int
    rung: int


def plan_of(evaluation: Evaluation) -> Plan:
    """Return the plan that an evaluation was made from."""
    is_new = evaluation.origin != "promotion"
    return Plan(None if is_new else evaluation.config_id, evaluation.bracket, evaluation.rung)


@runtime_checkable
class Schedule(Protocol):
    """Decides what is started next. Its state follows from what it was told, in whatever order."""

    def next_plan(self) -> Plan:
        """Return what a free worker should do now; there is always something."""
        ...

    def started(self, evaluation: Evaluation) -> None:
        """Take note that an evaluation has begun."""
        ...

    def ended(self, evaluation: Evaluation, *, loss: float) -> None:
        """Take note of a result; a failure has the loss infinity."""
        ...


def rungs(min_budget: int, max_budget: int, eta: int) -> tuple[int, ...]:
    """Return the budgets at which configurations are compared.

    They are ``min_budget * eta**k`` up to ``max_budget``, and the last one is ``max_budget`` itself. If
    the last step were smaller than ``sqrt(eta)``, the rung below the last is left out, because two
    comparisons so close to each other cost much and tell little.

    Args:
        min_budget: Epochs of the first rung.
        max_budget: Epochs of the last rung.
        eta: Factor between rungs.

    Raises:
        SettingsError: A budget is less than 1, the smallest is above the largest, or ``eta`` is less than 2.
    """
    if not 1 <= min_budget <= max_budget:
        raise SettingsError(
            f"budget from {min_budget} to {max_budget} epochs: 1 <= min <= max is needed; "
            "change budget.min or budget.max"
        )
    if eta < 2:
        raise SettingsError(f"eta {eta}: each rung has to be at least 2 times the one before; 3 is usual")
    ladder = []
    budget = min_budget
    while budget < max_budget:
        ladder.append(budget)
        budget *= eta
    if len(ladder) > 1 and max_budget / ladder[-1] < math.sqrt(eta):
        ladder.pop()
    return (*ladder, max_budget)


def bracket_sizes(bracket: int, *, rung_count: int, eta: int) -> tuple[int, tuple[int, ...]]:
    """Return a bracket's first rung and how many configurations it has at that rung and each one above.

    Brackets repeat in cycles of ``rung_count``: the first starts with many configurations at the lowest
    rung, the last with few at the highest.

    Source:
        Li et al., "Hyperband", JMLR 2018, algorithm 1, in the rounding of hpbandster 0.7.4
        (``optimizers/bohb.py``).
    """
    steps = rung_count - 1 - bracket % rung_count
    first = rung_count // (steps + 1) * eta**steps
    return rung_count - 1 - steps, tuple(max(first // eta**step, 1) for step in range(steps + 1))


class Stage:
    """One rung of one bracket: who has been started there and how they fared."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.started = 0
        self.failed = 0
        self.standings: list[Standing] = []

    def add(self, config_id: int, *, loss: float) -> None:
        """Take note of a result."""
        if math.isfinite(loss):
            bisect.insort(self.standings, (loss, config_id))
        else:
            self.failed += 1

    @property
    def running(self) -> int:
        """How many have been started and have no result yet."""
        return self.started - self.failed - len(self.standings)


class Bracket:
    """A synchronous successive halving: a rung is ranked when all its results are there."""

    def __init__(self, number: int, *, first_rung: int, sizes: tuple[int, ...]) -> None:
        self.number = number
        self.first_rung = first_rung
        self.stages = [Stage(places) for places in sizes]
        self.current = 0

    @property
    def closed(self) -> bool:
        """Whether nothing of this bracket is left to do."""
        return self.current >= len(self.stages)

    def next_plan(self) -> Plan | None:
        """Return the next start, or None while the results of a rung are awaited."""
        stage = self.stages[self.current]
        if stage.started >= self._target():
            return None
        rung = self.first_rung + self.current
        if self.current == 0:
            return Plan(None, self.number, rung)
        _, config_id = self.stages[self.current - 1].standings[stage.started]
        return Plan(config_id, self.number, rung)

    def started(self, evaluation: Evaluation) -> None:
        """Take note that an evaluation of this bracket has begun."""
        self.stages[evaluation.rung - self.first_rung].started += 1

    def ended(self, evaluation: Evaluation, *, loss: float) -> None:
        """Take note of a result of this bracket."""
        self.stages[evaluation.rung - self.first_rung].add(evaluation.config_id, loss=loss)
        while not self.closed and self._complete():
            self.current = self.current + 1 if self.stages[self.current].standings else len(self.stages)

    def _target(self) -> int:
        """How many have to be started at the current rung: its places, and one more for each that failed."""
        stage = self.stages[self.current]
        if self.current == 0:
            return stage.places
        return min(stage.places + stage.failed, len(self.stages[self.current - 1].standings))

    def _complete(self) -> bool:
        stage = self.stages[self.current]
        return stage.running == 0 and stage.started >= self._target()


class HyperBand:
    """Synchronous brackets, one after the other; a free worker starts the next one rather than wait.

    The best of a rung go on, as many as the next rung has places. Failures never go on, and if one that
    went on fails there, the next best of its old rung takes its place.
    """

    def __init__(self, rung_count: int, *, eta: int) -> None:
        self._rung_count = rung_count
        self._eta = eta
        self._open: dict[int, Bracket] = {}
        self._begun = 0

    def next_plan(self) -> Plan:
        """Return the next start of the earliest bracket that has one, or the first of a new bracket."""
        for bracket in self._open.values():
            plan = bracket.next_plan()
            if plan is not None:
                return plan
        first_rung, _ = bracket_sizes(self._begun, rung_count=self._rung_count, eta=self._eta)
        return Plan(None, self._begun, first_rung)

    def started(self, evaluation: Evaluation) -> None:
        """Take note that an evaluation has begun; the first of a bracket opens it."""
        if evaluation.bracket >= self._begun:
            first_rung, sizes = bracket_sizes(evaluation.bracket, rung_count=self._rung_count, eta=self._eta)
            self._open[evaluation.bracket] = Bracket(evaluation.bracket, first_rung=first_rung, sizes=sizes)
            self._begun = evaluation.bracket + 1
        self._open[evaluation.bracket].started(evaluation)

    def ended(self, evaluation: Evaluation, *, loss: float) -> None:
        """Take note of a result."""
        bracket = self._open[evaluation.bracket]
        bracket.ended(evaluation, loss=loss)
        if bracket.closed:
            del self._open[evaluation.bracket]


class Promotion:
    """Asynchronous successive halving on one ladder: nobody waits for a rung to fill.

    The best ``n // eta`` of the n results of a rung may go on, the highest rung first; if none may, a new
    configuration is started, on whatever rung it is told to begin. Whoever fails at the next rung gives its
    place to the next best.

    Args:
        rung_count: Number of rungs.
        eta: One in ``eta`` goes on.
        patient: Let no more go on than ``n // eta`` in all. Otherwise every configuration that is better
            than all before goes on at once, and with a model that keeps improving that is nearly every one.

    Source:
        Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, algorithm 2
        (arXiv:1810.05934); patience: Li et al., "Hyper-Tune", VLDB 2022 (arXiv:2201.06834), section 4.2.
        Replacing failures is ours.
    """

    def __init__(self, rung_count: int, *, eta: int, patient: bool = False) -> None:
        self._eta = eta
        self._patient = patient
        self._stages = [Stage(0) for _ in range(rung_count)]
        self._waiting: list[list[Standing]] = [[] for _ in range(rung_count)]
        self._promoted: list[dict[int, None]] = [{} for _ in range(rung_count)]
        self._losses: dict[tuple[int, int], float] = {}
        self._lost = [0] * rung_count

    def next_plan(self) -> Plan:
        """Return the promotion at the highest rung that has one, or a new configuration."""
        for rung in reversed(range(len(self._stages) - 1)):
            waiting = self._waiting[rung]
            if waiting and self._may_go_on(waiting[0], rung):
                return Plan(waiting[0][1], 0, rung + 1)
        return Plan(None, 0, 0)

    def started(self, evaluation: Evaluation) -> None:
        """Take note that an evaluation has begun."""
        rung, config_id = evaluation.rung, evaluation.config_id
        self._stages[rung].started += 1
        if evaluation.origin != "promotion":
            return
        self._promoted[rung - 1][config_id] = None
        loss = self._losses.get((rung - 1, config_id))
        if loss is not None:
            self._waiting[rung - 1].remove((loss, config_id))

    def ended(self, evaluation: Evaluation, *, loss: float) -> None:
        """Take note of a result."""
        rung, config_id = evaluation.rung, evaluation.config_id
        self._stages[rung].add(config_id, loss=loss)
        if not math.isfinite(loss) and rung and config_id in self._promoted[rung - 1]:
            self._lost[rung - 1] += 1
        if math.isfinite(loss):
            self._losses[rung, config_id] = loss
            if config_id not in self._promoted[rung]:
                bisect.insort(self._waiting[rung], (loss, config_id))

    def _may_go_on(self, standing: Standing, rung: int) -> bool:
        if self._patient and len(self._promoted[rung]) >= self._quota(rung):
            return False
        return bisect.bisect_left(self._stages[rung].standings, standing) < self._quota(rung)

    def _quota(self, rung: int) -> int:
        stage = self._stages[rung]
        return (len(stage.standings) + stage.failed) // self._eta + self._lost[rung]
