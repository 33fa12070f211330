"""The reliability of a search's rungs: how well results there predict those of the highest rung."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emotune.base import Settings
from emotune.search.records import Evaluation

if TYPE_CHECKING:  # imports ConfigSpace
    from emotune.search.history import History

MISLEADING_RESULTS = 20
"""Fewest results of a rung that is called misleading."""

MISLEADING_WEIGHT = 0.2
"""A rung is called misleading if its correlation with the highest rung is below this."""


class RungReliability(Settings):
    """One rung."""

    epochs: int
    results: int
    """Evaluations that have ended there, failures too."""
    weight: float | None
    """Correlation with the highest rung by the model ``rungs``; None with few results or another model."""

    @property
    def misleads(self) -> bool:
        """Whether it has many results and a low correlation with the highest rung."""
        return self.weight is not None and self.weight < MISLEADING_WEIGHT and self.results >= MISLEADING_RESULTS


def rung_reliability(
    study: Mapping[str, Any], *, outcomes: Iterable[tuple[Evaluation, float | None]]
) -> list[RungReliability]:
    """Return the rungs that have results, the lowest first.

    Args:
        study: The study in the journal's first record.
        outcomes: The evaluations that have ended, each with its objective; None for a failure.
    """
    ended = sorted(outcomes, key=lambda outcome: outcome[0].id)
    results = Counter(evaluation.rung for evaluation, _ in ended)
    epochs = {evaluation.rung: evaluation.to_epoch for evaluation, _ in ended}
    weights = _weights(study, ended=ended) if _learns_from_rungs(study) else {}
    return [
        RungReliability(epochs=epochs[rung], results=results[rung], weight=weights.get(rung))
        for rung in sorted(results)
    ]


def _weights(study: Mapping[str, Any], *, ended: Sequence[tuple[Evaluation, float | None]]) -> Mapping[int, float]:
    from emotune.search.models.acquisition import rung_weights

    return rung_weights(history_of(study, outcomes=ended))


def history_of(study: Mapping[str, Any], *, outcomes: Sequence[tuple[Evaluation, float | None]]) -> "History":
    """Return the history of a search, as a model that learns from results reads it.

    Args:
        study: The study in the journal's first record.
        outcomes: The evaluations that have ended, by number, each with its objective; None for a failure.
    """
    from emotune.search.history import History
    from emotune.study.space import load_space

    sign = 1.0 if study.get("objective", {}).get("mode", "min") == "min" else -1.0
    history = History(load_space(study["space"]))
    # a history has no gaps, but a configuration may still run while later ones have ended
    numbers = {number: row for row, number in enumerate(sorted({evaluation.config_id for evaluation, _ in outcomes}))}
    closed = [(_renumbered(evaluation, to=numbers[evaluation.config_id]), value) for evaluation, value in outcomes]
    for evaluation, _ in closed:
        history.started(evaluation)
    for evaluation, objective in closed:
        loss = math.inf if objective is None else sign * objective
        history.ended(evaluation, loss=loss if math.isfinite(loss) else math.inf)
    return history


def _renumbered(evaluation: Evaluation, *, to: int) -> Evaluation:
    return evaluation if evaluation.config_id == to else evaluation.model_copy(update={"config_id": to})


def describe_reliability(rungs: Sequence[RungReliability]) -> list[str]:
    """Return a line with the weights, and a line of advice if a rung is misleading; none without weights."""
    known = [rung for rung in rungs if rung.weight is not None]
    if not known:
        return []
    lines = [f"reliability of the rungs: {', '.join(f'{rung.epochs} epochs {rung.weight:.2g}' for rung in known)}"]
    misleading = ", ".join(str(rung.epochs) for rung in known if rung.misleads)
    if misleading:
        lines.append(
            f"results after {misleading} epochs do not predict those at the largest budget: start the next search with "
            "a larger budget.min"
        )
    return lines


def _learns_from_rungs(study: Mapping[str, Any]) -> bool:
    from emotune.search.settings import search_settings

    searcher = dict(study.get("searcher", {}))
    return search_settings(searcher.pop("kind", "bohb"), searcher).weighs_rungs
