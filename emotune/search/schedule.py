"""Successive halving: which configuration is trained next, and to which rung.

With rungs of ``r_k = min_budget * eta**k`` epochs, the best ``1/eta`` of the configurations of a rung are trained to
the next one. `HyperBand` compares a rung when it is complete, `Promotion` after every result.
"""

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from emotune.errors import SettingsError
from emotune.search.records import Evaluation

Standing = tuple[float, int]
"""A finite loss and its configuration. Sorting puts the lowest loss first, and equal losses in order of the number."""


class Plan(NamedTuple):
    """The next evaluation. ``config_id`` is None for a new configuration."""

    config_id: int | None
    bracket: int
    rung: int


def plan_of(evaluation: Evaluation) -> Plan:
    """Return the plan of an evaluation."""
    is_new = evaluation.origin != "promotion"
    return Plan(None if is_new else evaluation.config_id, evaluation.bracket, evaluation.rung)


@runtime_checkable
class Schedule(Protocol):
    """The rule that chooses the next evaluation. Its state is a function of the starts and results it received."""

    def next_plan(self) -> Plan:
        """Return the next evaluation; a schedule never ends by itself."""
        ...

    def started(self, evaluation: Evaluation) -> None:
        """Record the start of an evaluation."""
        ...

    def ended(self, evaluation: Evaluation, *, loss: float) -> None:
        """Record a result. The loss of a failure is infinity."""
        ...

    def withdraw(self, evaluation: Evaluation) -> None:
        """Remove a failure: the evaluation runs again."""
        ...

    def reorder(self, rung: int, losses: Mapping[int, float]) -> None:
        """Replace the losses of all finite results of a rung, by configuration."""
        ...

    def candidates(self, promotions: Sequence[int]) -> set[int]:
        """Return the configurations with a result that may still be promoted.

        Args:
            promotions: Number of the best that wait on each rung, the lowest first, that may be promoted.
        """
        ...


def rungs(min_budget: int, max_budget: int, eta: int) -> tuple[int, ...]:
    """Return the budgets at which configurations are compared.

    They are ``min_budget * eta**k`` below ``max_budget``, and ``max_budget``. If the last factor is smaller than
    ``sqrt(eta)``, the rung below the last one is left out: its comparison would cost almost as much as the last one.

    Example:
        >>> rungs(1, 27, 3)
        (1, 3, 9, 27)
        >>> rungs(1, 10, 3)
        (1, 3, 10)

    Args:
        min_budget: Epochs of the first rung.
        max_budget: Epochs of the last rung.
        eta: Factor between rungs.

    Raises:
        SettingsError: A budget is less than 1, the smallest is above the largest, or ``eta`` is less than 2.
    """
    if not 1 <= min_budget <= max_budget:
        raise SettingsError(
            f"budget from {min_budget} to {max_budget} epochs: expected 1 <= budget.min <= budget.max; "
            "change budget.min or budget.max"
        )
    if eta < 2:
        raise SettingsError(f"eta {eta} was given, expected at least 2; the usual value is 3")
    budgets = []
    budget = min_budget
    while budget < max_budget:
        budgets.append(budget)
        budget *= eta
    if len(budgets) > 1 and max_budget / budgets[-1] < math.sqrt(eta):
        budgets.pop()
    return (*budgets, max_budget)


def bracket_sizes(bracket: int, *, rung_count: int, eta: int) -> tuple[int, tuple[int, ...]]:
    """Return the first rung of a bracket, and its number of configurations at that rung and at each higher one.

    Brackets repeat in cycles of ``rung_count``. With ``s`` higher rungs, a bracket starts
    ``rung_count // (s + 1) * eta**s`` configurations: the first of a cycle many at the lowest rung, the last one few at
    the highest.

    Example:
        >>> bracket_sizes(0, rung_count=3, eta=3)
        (0, (9, 3, 1))
        >>> bracket_sizes(2, rung_count=3, eta=3)
        (2, (3,))

    Source:
        Li et al., "Hyperband", JMLR 2018, algorithm 1, in the rounding of hpbandster 0.7.4
        (``optimizers/bohb.py``).
    """
    steps = rung_count - 1 - bracket % rung_count
    first = rung_count // (steps + 1) * eta**steps
    return rung_count - 1 - steps, tuple(max(first // eta**step, 1) for step in range(steps + 1))


class Stage:
    """One rung of one bracket: its starts and results."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.configurations: set[int] = set()
        self.failed = 0
        self.standings: list[Standing] = []

    def add(self, config_id: int, *, loss: float) -> None:
        """Record a result of this rung."""
        if math.isfinite(loss):
            bisect.insort(self.standings, (loss, config_id))
        else:
            self.failed += 1

    def reorder(self, losses: Mapping[int, float]) -> None:
        """Replace the losses of the finite results."""
        self.standings = sorted((losses[config_id], config_id) for _, config_id in self.standings)

    @property
    def started(self) -> int:
        """Number of evaluations."""
        return len(self.configurations)

    @property
    def running(self) -> int:
        """Number of evaluations without a result."""
        return self.started - self.failed - len(self.standings)


class Bracket:
    """Synchronous successive halving: a rung is ranked when all its results are known."""

    def __init__(self, number: int, *, first_rung: int, sizes: tuple[int, ...]) -> None:
        self.number = number
        self.first_rung = first_rung
        self.stages = [Stage(size) for size in sizes]
        self.current = 0

    @property
    def closed(self) -> bool:
        """Whether the bracket is complete."""
        return self.current >= len(self.stages)

    def next_plan(self) -> Plan | None:
        """Return the next evaluation; None while results of the current rung are missing."""
        stage = self.stages[self.current]
        if stage.started >= self._target():
            return None
        rung = self.first_rung + self.current
        if self.current == 0:
            return Plan(None, self.number, rung)
        standings = self.stages[self.current - 1].standings
        config_id = next(config_id for _, config_id in standings if config_id not in stage.configurations)
        return Plan(config_id, self.number, rung)

    def started(self, evaluation: Evaluation) -> None:
        """Record the start of an evaluation of this bracket."""
        self.stages[evaluation.rung - self.first_rung].configurations.add(evaluation.config_id)

    def ended(self, evaluation: Evaluation, *, loss: float) -> None:
        """Record a result of this bracket."""
        self.stages[evaluation.rung - self.first_rung].add(evaluation.config_id, loss=loss)
        while not self.closed and self._complete():
            self.current = self.current + 1 if self.stages[self.current].standings else len(self.stages)

    def withdraw(self, evaluation: Evaluation) -> None:
        """Remove a failure. If no configuration was promoted from its rung, the rung is compared again."""
        position = evaluation.rung - self.first_rung
        self.stages[position].failed -= 1
        if not any(stage.started for stage in self.stages[position + 1 :]):
            self.current = min(self.current, position)

    def reorder(self, rung: int, losses: Mapping[int, float]) -> None:
        """Replace the losses of the finite results of a rung, if it is one of this bracket."""
        if rung >= self.first_rung:
            self.stages[rung - self.first_rung].reorder(losses)

    @property
    def candidates(self) -> set[int]:
        """Configurations that may be promoted: of the present rung, and of the one before if a promotion fails."""
        stages = [] if self.closed else self.stages[max(0, self.current - 1) : self.current + 1]
        return {config_id for stage in stages for _, config_id in stage.standings}

    def _target(self) -> int:
        """Return the number of starts at the current rung: its size, and one for each failure after a promotion."""
        stage = self.stages[self.current]
        if self.current == 0:
            return stage.size
        return min(stage.size + stage.failed, len(self.stages[self.current - 1].standings))

    def _complete(self) -> bool:
        stage = self.stages[self.current]
        return stage.running == 0 and stage.started >= self._target()


class HyperBand:
    """Synchronous brackets. If all results of the open brackets are awaited, the next bracket is opened.

    The best configurations of a rung are promoted, up to the size of the next rung. A failure is never promoted. If a
    promoted configuration fails, the next best of its rung is promoted instead. The late result of a failure that was
    run again counts where its rung is not compared yet, or has promotions left; the others stay as they are.

    Args:
        rung_count: Number of rungs.
        eta: One in ``eta`` configurations is promoted.

    Source:
        Li et al., "Hyperband", JMLR 2018, algorithm 1. The replacement of failures is ours.

    Example:
        >>> schedule = HyperBand(3, eta=3)
        >>> schedule.next_plan()
        Plan(config_id=None, bracket=0, rung=0)
    """

    def __init__(self, rung_count: int, *, eta: int) -> None:
        self._rung_count = rung_count
        self._eta = eta
        self._open: dict[int, Bracket] = {}
        self._closed: dict[int, Bracket] = {}
        self._begun = 0

    def next_plan(self) -> Plan:
        """Return the next evaluation of the earliest open bracket that has one, or the first of a new bracket."""
        for bracket in self._open.values():
            plan = bracket.next_plan()
            if plan is not None:
                return plan
        first_rung, _ = bracket_sizes(self._begun, rung_count=self._rung_count, eta=self._eta)
        return Plan(None, self._begun, first_rung)

    def started(self, evaluation: Evaluation) -> None:
        """Record the start of an evaluation; the first one of a bracket opens it."""
        if evaluation.bracket >= self._begun:
            first_rung, sizes = bracket_sizes(evaluation.bracket, rung_count=self._rung_count, eta=self._eta)
            self._open[evaluation.bracket] = Bracket(evaluation.bracket, first_rung=first_rung, sizes=sizes)
            self._begun = evaluation.bracket + 1
        self._open[evaluation.bracket].started(evaluation)

    def ended(self, evaluation: Evaluation, *, loss: float) -> None:
        """Record a result."""
        bracket = self._bracket(evaluation)
        bracket.ended(evaluation, loss=loss)
        if bracket.closed and evaluation.bracket in self._open:
            self._closed[evaluation.bracket] = self._open.pop(evaluation.bracket)

    def withdraw(self, evaluation: Evaluation) -> None:
        """Remove a failure; if its rung is compared again, its bracket is open again."""
        bracket = self._bracket(evaluation)
        bracket.withdraw(evaluation)
        if not bracket.closed and evaluation.bracket in self._closed:
            self._open[evaluation.bracket] = self._closed.pop(evaluation.bracket)
            self._open = dict(sorted(self._open.items()))

    def reorder(self, rung: int, losses: Mapping[int, float]) -> None:
        """Replace the losses of all finite results of a rung."""
        for bracket in (*self._open.values(), *self._closed.values()):
            bracket.reorder(rung, losses)

    def candidates(self, promotions: Sequence[int]) -> set[int]:
        """Return the candidates of the open brackets."""
        del promotions
        return {config_id for bracket in self._open.values() for config_id in bracket.candidates}

    def _bracket(self, evaluation: Evaluation) -> Bracket:
        return self._open.get(evaluation.bracket) or self._closed[evaluation.bracket]


class Promotion:
    """Asynchronous successive halving: a configuration is promoted without waiting for a complete rung.

    After n results of a rung, its best ``n // eta`` configurations may be promoted. The highest rung with a possible
    promotion comes first. Without one, a new configuration is started. If a promoted configuration fails, the next best
    of its rung may be promoted instead.

    Args:
        rung_count: Number of rungs.
        eta: One in ``eta`` configurations is promoted.
        patient: Limit the promotions from a rung to ``n // eta`` in all. Otherwise each configuration that is better
            than all before is promoted at once; with a model that improves, that is almost every one.

    Source:
        Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, algorithm 2
        (arXiv:1810.05934); ``patient``: Li et al., "Hyper-Tune", VLDB 2022 (arXiv:2201.06834), section 4.2.
        The replacement of failures is ours.

    Example:
        >>> schedule = Promotion(3, eta=3)
        >>> schedule.next_plan()
        Plan(config_id=None, bracket=0, rung=0)
    """

    def __init__(self, rung_count: int, *, eta: int, patient: bool = False) -> None:
        self._eta = eta
        self._patient = patient
        self._stages = [Stage(0) for _ in range(rung_count)]
        self._waiting: list[list[Standing]] = [[] for _ in range(rung_count)]
        self._promoted: list[dict[int, None]] = [{} for _ in range(rung_count)]
        self._losses: dict[tuple[int, int], float] = {}
        self._failed_promotions = [0] * rung_count

    def next_plan(self) -> Plan:
        """Return the promotion at the highest rung that has one, or a new configuration."""
        for rung in reversed(range(len(self._stages) - 1)):
            waiting = self._waiting[rung]
            if waiting and self._may_promote(waiting[0], rung):
                return Plan(waiting[0][1], 0, rung + 1)
        return Plan(None, 0, 0)

    def started(self, evaluation: Evaluation) -> None:
        """Record the start of an evaluation."""
        rung, config_id = evaluation.rung, evaluation.config_id
        self._stages[rung].configurations.add(config_id)
        if evaluation.origin != "promotion":
            return
        self._promoted[rung - 1][config_id] = None
        loss = self._losses.get((rung - 1, config_id))
        if loss is not None:
            self._waiting[rung - 1].remove((loss, config_id))

    def ended(self, evaluation: Evaluation, *, loss: float) -> None:
        """Record a result."""
        rung, config_id = evaluation.rung, evaluation.config_id
        self._stages[rung].add(config_id, loss=loss)
        if not math.isfinite(loss) and rung and config_id in self._promoted[rung - 1]:
            self._failed_promotions[rung - 1] += 1
        if math.isfinite(loss):
            self._losses[rung, config_id] = loss
            if config_id not in self._promoted[rung]:
                bisect.insort(self._waiting[rung], (loss, config_id))

    def withdraw(self, evaluation: Evaluation) -> None:
        """Remove a failure."""
        rung, config_id = evaluation.rung, evaluation.config_id
        self._stages[rung].failed -= 1
        if rung and config_id in self._promoted[rung - 1]:
            self._failed_promotions[rung - 1] -= 1

    def reorder(self, rung: int, losses: Mapping[int, float]) -> None:
        """Replace the losses of all finite results of a rung."""
        self._stages[rung].reorder(losses)
        self._losses |= {(rung, config_id): loss for config_id, loss in losses.items()}
        self._waiting[rung] = sorted((losses[config_id], config_id) for _, config_id in self._waiting[rung])

    def candidates(self, promotions: Sequence[int]) -> set[int]:
        """Return the best of the configurations that wait on each rung."""
        waiting = zip(self._waiting[:-1], promotions, strict=True)
        return {config_id for standings, most in waiting for _, config_id in standings[:most]}

    def _may_promote(self, standing: Standing, rung: int) -> bool:
        if self._patient and len(self._promoted[rung]) >= self._quota(rung):
            return False
        return bisect.bisect_left(self._stages[rung].standings, standing) < self._quota(rung)

    def _quota(self, rung: int) -> int:
        stage = self._stages[rung]
        return (len(stage.standings) + stage.failed) // self._eta + self._failed_promotions[rung]
