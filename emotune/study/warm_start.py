"""Warm start: a new search first tries the best configurations of earlier searches."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from emotune.errors import SettingsError
from emotune.search.criteria import StudyObjective
from emotune.search.history import key_of
from emotune.search.ranking import Result, rank
from emotune.search.records import Record
from emotune.search.values import fitted
from emotune.study.definition import AnyStudy
from emotune.study.results import evaluation_results, opened

MOST_EARLIER = 10
"""Most configurations that are taken from all earlier searches together."""


class Candidate(NamedTuple):
    """A configuration of an earlier search with its last result."""

    source: int
    """Number of the search, in the order in which the searches were given."""
    result: Result


def with_earlier(study: AnyStudy, *, sources: Mapping[str, Sequence[Record]]) -> AnyStudy:
    """Add the best configurations of earlier searches to ``earlier`` of a study.

    At most `MOST_EARLIER` different configurations are taken, in the order of `emotune.search.ranking.rank`; equal
    losses of different searches are ordered by search. Configurations that failed are left out.

    Args:
        study: The new study.
        sources: The journals of the earlier searches, by name.

    Raises:
        SettingsError: An earlier search has another objective or no result yet, or a configuration does not
            fit into the study's space.
    """
    names = list(sources)
    candidates = [
        candidate
        for number, name in enumerate(names)
        for candidate in _candidates(name, records=sources[name], source=number, target=study.objective)
    ]
    space = study.configuration_space()
    taken = {key_of(fitted(space, values=values)): values for values in study.earlier}
    most = len(taken) + MOST_EARLIER
    for candidate in sorted(candidates, key=lambda candidate: _order(candidate, mode=study.objective.mode)):
        if len(taken) == most:
            break
        evaluation = candidate.result.evaluation
        try:
            values = fitted(space, values=evaluation.values)
        except SettingsError as error:
            origin = f"--warm-start {names[candidate.source]}, configuration {evaluation.config_id}"
            raise SettingsError(f"{origin}: {error}") from error
        taken.setdefault(key_of(values), values)
    return study.model_copy(update={"earlier": tuple(taken.values())})


def _candidates(name: str, *, records: Sequence[Record], source: int, target: StudyObjective) -> Iterator[Candidate]:
    """Yield the configurations of a search that have a result and never failed, with their last result."""
    if not records:
        raise SettingsError(f"--warm-start {name}: it has no record yet; wait until an evaluation has ended")
    objective = StudyObjective.model_validate(opened(records).study["objective"])
    if objective != target:
        raise SettingsError(
            f"--warm-start {name}: its objective is {objective.metric} ({objective.mode}), but this study's is "
            f"{target.metric} ({target.mode}); give a search with the same objective"
        )
    results = evaluation_results(records)
    failed = {result.evaluation.config_id for result in results if result.status == "failed"}
    last = {
        result.evaluation.config_id: result.ranked
        for result in results
        if result.ranked is not None and result.evaluation.config_id not in failed
    }
    if not last:
        raise SettingsError(f"--warm-start {name}: it has no result yet; wait until an evaluation has ended")
    for result in last.values():
        yield Candidate(source, result)


def _order(candidate: Candidate, *, mode: Literal["min", "max"]) -> tuple[float, int, tuple[float, ...], int, int]:
    violation, negative_epochs, losses, evaluation_id = rank(candidate.result, mode=mode)
    return violation, negative_epochs, losses, candidate.source, evaluation_id
