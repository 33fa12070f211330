"""An independent check of a search's history: were its decisions the right ones?"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from emotune.search.brackets import bracket_sizes
from emotune.search.records import Evaluation
from emotune.search.searchers import SearchSettings

Row = tuple[Evaluation, float | None]
"""An evaluation and its loss; None, nan and infinities are failures."""


def violations(
    settings: SearchSettings,
    rows: Iterable[Row],
    *,
    running: Sequence[Evaluation] = (),
    finished: bool = False,
    best: int | None = None,
) -> list[str]:
    """Return what is wrong with a search, one sentence each; an empty list if nothing is.

    It does not look at how decisions are made, but at what must hold of their outcome: budgets are rungs,
    each configuration climbs them one by one and goes on from where it was, and those that went on are the
    best of their rung.

    Args:
        settings: The settings of the search.
        rows: The evaluations that have ended.
        running: The evaluations that have not.
        finished: Whether the search ended of itself, by its number of brackets: then no place may be empty.
        best: The configuration that the search calls its best, if that is to be checked.
    """
    results = list(rows)
    evaluations = sorted([*(row[0] for row in results), *running], key=lambda each: each.id)
    found = [*_wrong_numbers(evaluations), *_wrong_steps(settings, evaluations=evaluations)]
    if not found:
        found += _wrong_promotions(settings, results=results, evaluations=evaluations, finished=finished)
    if best is not None and best != best_of(results):
        found.append(f"configuration {best} is called the best, but {best_of(results)} is")
    return found


def best_of(rows: Iterable[Row]) -> int | None:
    """Return the configuration with the least finite loss at the highest rung that has one."""
    finite = [(-each.to_epoch, loss, each.config_id) for each, loss in rows if loss is not None]
    return min((row for row in finite if math.isfinite(row[1])), default=(0, 0.0, None))[2]


def _wrong_numbers(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    if [each.id for each in evaluations] != list(range(len(evaluations))):
        yield "the evaluations are not numbered 0, 1, 2, ... with each number once"
    new = [each.config_id for each in evaluations if each.origin != "promotion"]
    if new != list(range(len(new))):
        yield "the configurations are not numbered 0, 1, 2, ... in the order of their first evaluations"


def _wrong_steps(settings: SearchSettings, *, evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """Check each evaluation against the one before it of the same configuration."""
    ladder = settings.ladder
    last: dict[int, Evaluation] = {}
    for each in evaluations:
        before = last.get(each.config_id)
        if each.rung >= len(ladder) or each.to_epoch != ladder[each.rung]:
            yield f"evaluation {each.id}: epoch {each.to_epoch} is not rung {each.rung} of {ladder}"
        if each.from_epoch != (before.to_epoch if before else 0):
            yield f"evaluation {each.id} begins at epoch {each.from_epoch}, not where its configuration is"
        if before and (each.values, each.bracket, each.rung) != (
            before.values,
            before.bracket,
            before.rung + 1,
        ):
            yield f"evaluation {each.id} does not go on with configuration {each.config_id} one rung higher"
        last[each.config_id] = each


def _wrong_promotions(
    settings: SearchSettings, *, results: Sequence[Row], evaluations: Sequence[Evaluation], finished: bool
) -> Iterator[str]:
    """Check who went on, rung by rung of each bracket."""
    losses = {each.id: loss for each, loss in results}
    places: dict[tuple[int, int], list[Evaluation]] = defaultdict(list)
    for each in evaluations:
        places[each.bracket, each.rung].append(each)
    for (bracket, rung), there in sorted(places.items()):
        above = places.get((bracket, rung + 1), [])
        failed = sum(each.id in losses and not _is_finite(losses[each.id]) for each in above)
        where = f"bracket {bracket}, rung {rung}"
        if settings.schedule == "async":
            yield from _wrong_early(settings, there=there, above=above, losses=losses)
            continue
        standings = _standings(there, losses=losses)
        best = [number for _, number in standings[: len(above)]]
        if sorted(each.config_id for each in above) != sorted(best):
            yield f"{where}: {[each.config_id for each in above]} went on, but the best are {best}"
        first_rung, sizes = bracket_sizes(bracket, rung_count=len(settings.ladder), eta=settings.eta)
        sizes = (*[0] * first_rung, *sizes, 0)
        if rung == first_rung and len(there) > sizes[rung]:
            yield f"{where}: {len(there)} configurations instead of {sizes[rung]}"
        allowed = min(sizes[rung + 1] + failed, len(standings))
        if len(above) > allowed or (finished and len(above) < allowed):
            yield f"{where}: {len(above)} went on instead of {allowed}"


def _wrong_early(
    settings: SearchSettings,
    *,
    there: Sequence[Evaluation],
    above: Sequence[Evaluation],
    losses: Mapping[int, float | None],
) -> Iterator[str]:
    """Check asynchronous promotions. With one worker it is known what each decision saw."""
    for each in above:
        known = [e for e in there if e.id < each.id] if settings.concurrency == 1 else there
        standings = [number for _, number in _standings(known, losses=losses)]
        if each.config_id not in standings:
            yield f"evaluation {each.id}: configuration {each.config_id} went on without a finite loss"
        elif settings.concurrency == 1:
            failed = sum(e.id < each.id and not _is_finite(losses[e.id]) for e in above)
            if standings.index(each.config_id) >= len(known) // settings.eta + failed:
                yield f"evaluation {each.id}: configuration {each.config_id} is not one of the best"


def _standings(there: Sequence[Evaluation], *, losses: Mapping[int, float | None]) -> list[tuple[float, int]]:
    """Return the finite losses, the best first, with their configurations."""
    known = ((losses.get(each.id), each.config_id) for each in there)
    return sorted((loss, number) for loss, number in known if loss is not None and math.isfinite(loss))


def _is_finite(loss: float | None) -> bool:
    return loss is not None and math.isfinite(loss)
