"""Good configurations of earlier searches, for a new one to begin with."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from emotune.errors import SettingsError
from emotune.search.history import key_of
from emotune.search.ranking import Result, rank
from emotune.search.records import Record
from emotune.search.values import fitted
from emotune.study.results import evaluation_results, opened
from emotune.study.study import Aim, Study

MOST_EARLIER = 10
"""So many configurations are taken from all earlier searches together."""


class Candidate(NamedTuple):
    """A configuration of an earlier search."""

    source: int
    """Number of the search, in the order in which the searches were given."""
    result: Result


def with_earlier(study: Study, *, sources: Mapping[str, Sequence[Record]]) -> Study:
    """Add the best configurations of earlier searches to those that the study knows to be good.

    The best over all are taken, `MOST_EARLIER` at most and each once, in the order of `emotune.search.ranking.rank`;
    equal losses of different searches are ordered by search. What failed is never taken.

    Args:
        study: The new study.
        sources: The journals of the earlier searches, by name.

    Raises:
        SettingsError: An earlier search has another objective or no result yet, or a configuration does not
            fit into the study's space.
    """
    names = list(sources)
    found = [
        one
        for number, name in enumerate(names)
        for one in _candidates(name, records=sources[name], source=number, aim=study.objective)
    ]
    space = study.configuration_space()
    taken = {key_of(fitted(space, values=values)): values for values in study.earlier}
    most = len(taken) + MOST_EARLIER
    for one in sorted(found, key=lambda candidate: _order(candidate, aim=study.objective)):
        if len(taken) == most:
            break
        try:
            values = fitted(space, values=one.result.evaluation.values)
        except SettingsError as error:
            number = one.result.evaluation.config_id
            raise SettingsError(f"--warm-start {names[one.source]}, configuration {number}: {error}") from error
        taken.setdefault(key_of(values), values)
    return study.model_copy(update={"earlier": tuple(taken.values())})


def _candidates(name: str, *, records: Sequence[Record], source: int, aim: Aim) -> Iterator[Candidate]:
    """Yield the configurations of a search that have a result and never failed, as of their last one."""
    if not records:
        raise SettingsError(f"--warm-start {name}: it has no record yet; let it finish its first evaluations")
    objective = Aim.model_validate(opened(records).study["objective"])
    if objective != aim:
        raise SettingsError(
            f"--warm-start {name}: its objective is {objective.metric} ({objective.mode}), and this study's is "
            f"{aim.metric} ({aim.mode}); what was best there need not be good here"
        )
    results = evaluation_results(records)
    failed = {one.evaluation.config_id for one in results if one.status == "failed"}
    last = {
        one.evaluation.config_id: Result(one.evaluation, one.objective)
        for one in results
        if one.objective is not None and one.evaluation.config_id not in failed
    }
    if not last:
        raise SettingsError(f"--warm-start {name}: it has no result yet; let it finish its first evaluations")
    for result in last.values():
        yield Candidate(source, result)


def _order(candidate: Candidate, *, aim: Aim) -> tuple[int, float, int, int]:
    negative_epochs, loss, evaluation_id = rank(candidate.result, mode=aim.mode)
    return negative_epochs, loss, candidate.source, evaluation_id
