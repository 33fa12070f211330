"""The state of a search as plain JSON: its settings, its changes, and its evaluations with their results."""

import math
from collections.abc import Mapping
from typing import Any, Literal, SupportsFloat

from pydantic import ValidationError

from emotune.base import Settings
from emotune.errors import DamageError, SettingsError
from emotune.search.pareto import Score
from emotune.search.records import Evaluation
from emotune.search.scoreboard import Scoreboard
from emotune.search.stopping import Change, Extension, Resize, Retry


class Outcome(Evaluation):
    """An evaluation and its result: the content of its records."""

    status: Literal["running", "done", "failed"]
    loss: float | None
    """None unless the status is ``done``."""
    score: Score | None = None
    """All losses and the violation of the constraints, if results are scores."""

    @property
    def evaluation(self) -> Evaluation:
        """The evaluation without its result."""
        return Evaluation.model_validate(self.model_dump(include=set(Evaluation.model_fields)))


class SearchState(Settings):
    """Everything that `Optimizer.replay` needs to restore a search."""

    version: Literal[1] = 1
    space: str
    """Digest of the search space."""
    settings: dict[str, Any]
    """Arguments of the optimizer."""
    extensions: tuple[Extension, ...] = ()
    """Changes of the limits, in order; the settings hold the first limits."""
    resizes: tuple[Resize, ...] = ()
    """Changes of the number of virtual workers, in order; the settings hold the first number."""
    retries: tuple[Retry, ...] = ()
    """Retries of failed evaluations, in order."""
    evaluations: list[Outcome]
    """All evaluations, by number."""

    @property
    def changes(self) -> list[Change]:
        """All changes, in order. A search is only extended when no evaluation runs, so at a tie it resized before."""
        changes: list[Change] = sorted((*self.resizes, *self.extensions), key=lambda change: change.after)
        for retry in self.retries:
            changes.insert(retry.changes, retry)
        return changes

    @property
    def losses(self) -> dict[int, float | Score]:
        """Results by evaluation; infinity for a failure."""
        ended = (outcome for outcome in self.evaluations if outcome.status != "running")
        return {outcome.id: outcome.score or (math.inf if outcome.loss is None else outcome.loss) for outcome in ended}

    def as_document(self) -> dict[str, Any]:
        """Return it as plain JSON, without what only searches with scores or retries have."""
        document = self.model_dump(mode="json", exclude=None if self.retries else {"retries"})
        if "ranking" not in document["settings"]:
            for outcome in document["evaluations"]:
                del outcome["score"]
        return document


def outcome_of(evaluation: Evaluation, *, losses: Mapping[int, float], scoreboard: Scoreboard | None) -> Outcome:
    """Return an evaluation with its result; the loss infinity is a failure, no loss a running evaluation."""
    loss = finite(losses.get(evaluation.id, math.inf))
    status = "running" if evaluation.id not in losses else "failed" if loss is None else "done"
    score = None if loss is None or scoreboard is None else scoreboard.scores[evaluation.id]
    return Outcome(**evaluation.model_dump(), status=status, loss=loss, score=score)


def record_loss(result: SupportsFloat | Score | None, *, evaluation_id: int, scoreboard: Scoreboard | None) -> float:
    """Return the (first) loss of a result, infinity for a failure; a score is kept on the scoreboard.

    Raises:
        SettingsError: It is a score and there is no scoreboard, or a finite loss and there is one.
    """
    if isinstance(result, Score):
        if scoreboard is None:
            raise SettingsError(
                f"the result {result} was given, expected one loss; a search with ranking='pareto' has several"
            )
        return scoreboard.record(evaluation_id, score=result)
    loss = math.inf if result is None else float(result)
    if scoreboard is not None and math.isfinite(loss):
        raise SettingsError(f"the result {result!r} was given, expected a Score: the search has ranking='pareto'")
    return loss if math.isfinite(loss) else math.inf


def finite(loss: float) -> float | None:
    """Return a loss, or None if it is infinite."""
    return loss if math.isfinite(loss) else None


def parse_state(document: Mapping[str, Any]) -> SearchState:
    """Read a document of `Optimizer.state`.

    Raises:
        DamageError: The document is not the state of a search.
    """
    try:
        return SearchState.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(part) for part in first["loc"])
        raise DamageError(f"this is not the state of a search: {location}: {first['msg']}") from error
