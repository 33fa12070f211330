"""The state of a search as plain JSON."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from emotune.base import Settings
from emotune.errors import DamageError
from emotune.search.records import Evaluation


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
    evaluations: list[Outcome]
    """All decisions, by number."""

    def as_document(self) -> dict[str, Any]:
        """Return it as plain JSON, one flat entry per evaluation."""
        rows = [
            {**outcome.evaluation.model_dump(), "status": outcome.status, "loss": outcome.loss}
            for outcome in self.evaluations
        ]
        return {**self.model_dump(exclude={"evaluations"}), "evaluations": rows}


def parse_state(document: Mapping[str, Any]) -> SearchState:
    """Read what `SearchState.as_document` returned.

    Raises:
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
        return SearchState.model_validate({**document, "evaluations": outcomes})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DamageError(f"this is not the state of a search: {where}: {first['msg']}") from error
