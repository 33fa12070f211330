"""The pace of a search: what it trains in all, what is left, and how long that takes."""

from dataclasses import dataclass, field

from emotune.cli.output import size
from emotune.durations import DAY_S, duration
from emotune.search.records import Started
from emotune.study.definition import SearchDefinition
from emotune.study.first_estimate import FirstEstimate
from emotune.study.preview import preview, trained_epochs

PACE_EPOCHS = 3
"""Epochs after the first one from which the pace of a search is measured."""

MIN_PACE_SPAN_S = 1.0
"""Shortest time for which a pace is measured: a group reports several short epochs at once."""

MIN_ESTIMATE_S = 60.0
"""A search that takes less than this is not announced: its estimate would be printed near its end."""


@dataclass(frozen=True)
class Amounts:
    """What a whole search consists of; in an asynchronous one the number of evaluations depends on the results."""

    evaluations: int
    configurations: int
    epochs: int

    @classmethod
    def of(cls, study: SearchDefinition) -> "Amounts":
        """Return the amounts of a study."""
        evaluations = preview(study)
        return cls(
            len(evaluations),
            len({evaluation.config_id for evaluation in evaluations}),
            trained_epochs(evaluations),
        )

    def estimate(self, seconds: float) -> FirstEstimate:
        """Return the estimate of a search that takes a time (s)."""
        return FirstEstimate(evaluations=self.evaluations, epochs=self.epochs, seconds=seconds)


@dataclass
class Pace:
    """Operations per second of all workers together, from the times at which epochs were reported.

    An epoch of a configuration costs ``study.cost(values)``. The time before the first epoch is not
    counted: it is that of starting workers.
    """

    study: SearchDefinition
    costs: dict[int, float] = field(default_factory=dict)
    """Cost of an epoch by configuration."""
    first_at: float | None = None
    """When this driver received its first epoch (s)."""
    last_at: float = 0.0
    epochs: int = 0
    """Epochs after the first one."""
    cost: float = 0.0
    """Their cost."""

    def restart(self) -> None:
        """Forget what was measured: the records before are of earlier drivers."""
        self.first_at, self.epochs, self.cost = None, 0, 0.0

    def add(self, started: Started, *, at: float) -> None:
        """Record an epoch of an evaluation."""
        evaluation = started.evaluation
        if evaluation.config_id not in self.costs:
            self.costs[evaluation.config_id] = self.study.cost(evaluation.values)
        if self.first_at is None:
            self.first_at = at
            return
        self.epochs += 1
        self.cost += self.costs[evaluation.config_id]
        self.last_at = at

    def seconds(self, *, epochs: int) -> float | None:
        """Return how long a number of further epochs takes at the mean cost so far; None if it is not known yet."""
        if not epochs:
            return 0.0
        if self.first_at is None or self.epochs < PACE_EPOCHS or self.last_at - self.first_at < MIN_PACE_SPAN_S:
            return None
        mean_cost = sum(self.costs.values()) / len(self.costs)
        return (self.last_at - self.first_at) / self.cost * mean_cost * epochs


def describe_estimate(amounts: Amounts, *, seconds: float, checkpoint_bytes: int | None) -> str:
    """Return a line with the estimate of a search, and a warning with remedies if it takes more than a day.

    Args:
        amounts: What the search consists of.
        seconds: The time that is left.
        checkpoint_bytes: Size of the checkpoints of a configuration; None: unknown.
    """
    disk = ""
    if checkpoint_bytes is not None:
        disk = f"; checkpoints take at most {size(amounts.configurations * checkpoint_bytes)}"
    work = f"about {amounts.evaluations} evaluations, {amounts.epochs} epochs"
    lines = [f"estimate: {work}, {duration(seconds)} from now{disk}", describe_length(seconds)]
    return "\n".join(line for line in lines if line is not None)


def describe_length(seconds: float) -> str | None:
    """Return a warning that a search takes more than a day, and what to change; None: it takes less."""
    if seconds <= DAY_S:
        return None
    return (
        f"warning: this search takes about {duration(seconds)} here. --hours 12 ends it in time; fewer epochs: "
        "--brackets 1, or --set budget.max=N; faster: a GPU, or more machines (--concurrency)"
    )
