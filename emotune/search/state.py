"""The state of a search as plain JSON."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from ConfigSpace import ConfigurationSpace
from pydantic import ValidationError

from emotune.base import Settings
from emotune.errors import DamageError, StudyChangedError
from emotune.search.records import Evaluation
from emotune.search.space import space_digest
from emotune.search.stopping import Change, Extension, Resize


class Outcome(Settings):
    """An evaluation and what came of it so far."""

    evaluation: Evaluation
    status: Literal["running", "done", "failed"]
    loss: float | None
    """None unless it is done."""


class SearchState(Settings):
    """All that a search can be restored from."""

    version: Literal[1] = 1
    space: str
    """Digest of the search space."""
    settings: dict[str, Any]
    """Arguments of the optimizer."""
    extensions: tuple[Extension, ...] = ()
    """How the end was moved, in order; the settings hold the first one."""
    resizes: tuple[Resize, ...] = ()
    """How its workers became more or fewer, in order; the settings hold the first number."""
    evaluations: list[Outcome]
    """All decisions, by number."""

    @property
    def changes(self) -> list[Change]:
        """What changed the search on its way, in order: the end is moved where nothing is running any more."""
        return sorted((*self.resizes, *self.extensions), key=lambda change: change.after)

    @property
    def losses(self) -> dict[int, float]:
        """Results by evaluation; infinity for a failure."""
        told = (outcome for outcome in self.evaluations if outcome.status != "running")
        return {each.evaluation.id: math.inf if each.loss is None else each.loss for each in told}

    def as_document(self) -> dict[str, Any]:
        """Return it as plain JSON, one flat entry per evaluation."""
        rows = [
            {**outcome.evaluation.model_dump(), "status": outcome.status, "loss": outcome.loss}
            for outcome in self.evaluations
        ]
        return {**self.model_dump(mode="json", exclude={"evaluations"}), "evaluations": rows}


def outcome_of(evaluation: Evaluation, *, losses: Mapping[int, float]) -> Outcome:
    """Return what came of an evaluation; a failure has the loss infinity, what is running has none."""
    if evaluation.id not in losses:
        return Outcome(evaluation=evaluation, status="running", loss=None)
    loss = finite(losses[evaluation.id])
    return Outcome(evaluation=evaluation, status="failed" if loss is None else "done", loss=loss)


def finite(loss: float) -> float | None:
    """Return a loss, or None instead of infinity."""
    return loss if math.isfinite(loss) else None


def parse_state(document: Mapping[str, Any], *, space: ConfigurationSpace) -> SearchState:
    """Read what `SearchState.as_document` returned.

    Raises:
        StudyChangedError: It is the state of a search of another space.
        DamageError: It is something else.
    """
    names = set(Evaluation.model_fields)
    rows = [dict(row) for row in document.get("evaluations", [])]
    outcomes = [
        {
            "evaluation": {name: row[name] for name in row if name in names},
            **{name: row[name] for name in row if name not in names},
        }
        for row in rows
    ]
    try:
        state = SearchState.model_validate({**document, "evaluations": outcomes})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DamageError(f"this is not the state of a search: {where}: {first['msg']}") from error
    if state.space != space_digest(space):
        raise StudyChangedError("the search was started with another space; restore that or start afresh")
    return state
