"""What a search compares configurations by: objectives and constraints, and the score that they give to a result."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field, model_validator

from emotune.base import Settings
from emotune.search.pareto import Score
from emotune.search.ranking import Result
from emotune.search.records import Ended, Evaluation

PARAMETERS = "parameters"
"""Metric: number of trainable parameters of the model."""

SECONDS_PER_EPOCH = "seconds_per_epoch"
"""Metric: time for training the last epoch, without validation (s)."""


class StudyObjective(Settings):
    """A metric that is optimised."""

    metric: str = "val/loss"
    """Name of a metric that every epoch reports."""

    mode: Literal["min", "max"] = "min"
    """Whether the metric is minimised or maximised."""

    def as_loss(self, value: float) -> float:
        """Return a value of the metric as a loss: ``value`` for ``min``, ``-value`` for ``max``."""
        return value if self.mode == "min" else -value


class Constraint(Settings):
    """The allowed range of a metric."""

    min: float | None = Field(default=None, allow_inf_nan=False)
    """Smallest allowed value; None: no such limit."""

    max: float | None = Field(default=None, allow_inf_nan=False)
    """Largest allowed value; None: no such limit."""

    @model_validator(mode="after")
    def _check_limits(self) -> "Constraint":
        if self.min is None and self.max is None:
            raise ValueError("no limit was given; expected min or max, such as {max: 3e6}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}; swap them")
        return self

    def violation(self, value: float) -> float:
        """Return how far a value is outside the range, as a share of the limit's size; 0: inside."""
        below = 0.0 if self.min is None else _excess(self.min - value, limit=self.min)
        above = 0.0 if self.max is None else _excess(value - self.max, limit=self.max)
        return below + above


def _excess(distance: float, *, limit: float) -> float:
    return max(0.0, distance) / (abs(limit) or 1.0)


@dataclass(frozen=True)
class Criteria:
    """The objectives of a search, and the constraints by metric."""

    objectives: tuple[StudyObjective, ...]
    constraints: Mapping[str, Constraint] = field(default_factory=dict)

    @classmethod
    def recorded(cls, study: Mapping[str, Any]) -> "Criteria":
        """Return the criteria of the study in a journal; the validation loss if it has no objective."""
        entries = (study.get("objective") or {}, *study.get("other_objectives", ()))
        constraints = study.get("constraints", {})
        return cls(
            tuple(StudyObjective.model_validate(entry) for entry in entries),
            {name: Constraint.model_validate(entry) for name, entry in constraints.items()},
        )

    @property
    def has_scores(self) -> bool:
        """Whether results are scores: with several objectives, or with constraints."""
        return len(self.objectives) > 1 or bool(self.constraints)

    @property
    def ranking(self) -> Literal["loss", "pareto"]:
        """The setting ``ranking`` of the search core."""
        return "pareto" if self.has_scores else "loss"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics, those of the objectives first."""
        return tuple(dict.fromkeys([*(objective.metric for objective in self.objectives), *self.constraints]))

    def setting_of(self, metric: str) -> str:
        """Return the setting of a study that names a metric, for messages."""
        return "objective.metric" if any(metric == objective.metric for objective in self.objectives) else "constraints"

    def score(self, measured: Mapping[str, float]) -> Score:
        """Return the score of the values of all `metrics`."""
        losses = tuple(objective.as_loss(measured[objective.metric]) for objective in self.objectives)
        return Score(losses, math.fsum(limit.violation(measured[name]) for name, limit in self.constraints.items()))

    def values_of(self, record: Ended) -> dict[str, float]:
        """Return the values of all metrics of a recorded result by name; empty for a failure."""
        if record.objective is None:
            return {}
        return record.measured or {self.objectives[0].metric: record.objective}

    def ranked(self, evaluation: Evaluation, record: Ended) -> Result:
        """Return a recorded result that is no failure, for `emotune.search.ranking`."""
        assert record.objective is not None
        return Result(evaluation, record.objective, self.recorded_score(record.measured))

    def recorded_score(self, measured: Mapping[str, float] | None) -> Score | None:
        """Return the score of a recorded result; None if the search has no scores, or for a failure."""
        return self.score(measured) if measured is not None and self.has_scores else None

    def result(self, objective: float | None, *, measured: Mapping[str, float] | None) -> float | Score:
        """Return a recorded result as `emotune.search.Optimizer.tell` takes it; infinity for a failure."""
        if objective is None or not math.isfinite(objective):
            return math.inf
        return self.recorded_score(measured) or self.objectives[0].as_loss(objective)


MINIMISED = Criteria((StudyObjective(),))
"""One objective that is minimised."""
