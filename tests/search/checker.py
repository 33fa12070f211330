"""An independent check of a search's history: were its decisions the right ones?"""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from emotune.search.records import Ended, Evaluation, Record, Started
from emotune.search.schedule import bracket_sizes
from emotune.search.settings import SearchSettings
from emotune.search.stopping import Change, Extension, Resize

Row = tuple[Evaluation, float | None]
"""An evaluation and its loss; None, nan and infinities are failures."""

Seen = Mapping[int, Collection[int]]
"""Evaluations whose results a decision saw, by the number of the evaluation that was decided."""

Losses = Mapping[int, float | None]
Decision = tuple[int | None, int, int]
"""Configuration (None: a new one), bracket and rung of what is started."""


def violations(
    settings: SearchSettings,
    rows: Iterable[Row],
    *,
    running: Sequence[Evaluation] = (),
    finished: bool = False,
    best: int | None = None,
    seen: Seen | None = None,
) -> list[str]:
    """Return what is wrong with a search, one sentence each; an empty list if nothing is.

    It does not look at how decisions are made, but at what must hold of their outcome: budgets are rungs,
    each configuration climbs them one by one and goes on from where it was, and those that went on are the
    best of their rung. If it is known what each decision saw, each one is also derived anew from the rules
    of its schedule, without any state that is carried along.

    Args:
        settings: The settings of the search.
        rows: The evaluations that have ended.
        running: The evaluations that have not.
        finished: Whether the search ended of itself, by its number of brackets: then no place may be empty.
        best: The configuration that the search calls its best, if that is to be checked.
        seen: What each decision saw, see `seen_in_virtual_time` and `seen_in_journal`. It need not be given
            for one worker, for whom that is every result.
    """
    results = list(rows)
    evaluations = sorted([*(row[0] for row in results), *running], key=lambda each: each.id)
    found = [*_wrong_numbers(evaluations), *_wrong_steps(settings, evaluations=evaluations)]
    if seen is None and settings.concurrency == 1:
        seen = {each.id: range(each.id) for each in evaluations}
    if not found and seen is not None:
        found += _wrong_decisions(settings, evaluations=evaluations, losses=_losses(results), seen=seen)
    if not found:
        found += _wrong_promotions(settings, results=results, evaluations=evaluations, finished=finished)
    if best is not None and best != best_of(results):
        found.append(f"configuration {best} is called the best, but {best_of(results)} is")
    return found


def seen_in_virtual_time(
    settings: SearchSettings,
    rows: Iterable[Row],
    *,
    running: Sequence[Evaluation] = (),
    cost: Callable[[Evaluation], float] = lambda _: 1.0,
    changes: Sequence[Change] = (),
) -> Seen:
    """Play a search of strict order on virtual workers, and return what each of its decisions had to wait for.

    Each decision is made as soon as a worker is free and the rules have something for it, and sees what has
    ended by then.

    Args:
        settings: The settings that the search was started with.
        rows: The evaluations that have ended.
        running: The evaluations that have not.
        cost: Virtual seconds of one epoch of an evaluation.
        changes: What changed it on its way, in order.
    """
    results = list(rows)
    evaluations = sorted([*(row[0] for row in results), *running], key=lambda each: each.id)
    losses, now = _losses(results), 0.0
    ends: dict[int, float] = {}
    seen: dict[int, list[int]] = {}
    for number, each in enumerate(evaluations):
        for change in changes:
            if change.after == number and isinstance(change, Resize):
                now = max([now, *sorted(ends.values())[: change.seen][-1:]])
                settings = settings.model_copy(update={"concurrency": change.workers})
            if change.after == number and isinstance(change, Extension):
                settings = settings.model_copy(update=change.limits)
        while True:
            seen[each.id] = [other for other, end in ends.items() if end <= now]
            later = [end for end in ends.values() if end > now]
            told = {other: losses.get(other) for other in seen[each.id]}
            free = len(later) < settings.concurrency
            if not later or (free and _decision(settings, evaluations[:number], losses=told)):
                break
            now = min(later)
        ends[each.id] = now + cost(each) * (each.to_epoch - each.from_epoch)
    return seen


def seen_in_journal(records: Iterable[Record]) -> Seen:
    """Return what each decision of a search of free order saw: the results that stand before it."""
    ended: list[int] = []
    seen: dict[int, list[int]] = {}
    for record in records:
        if isinstance(record, Ended):
            ended.append(record.evaluation_id)
        elif isinstance(record, Started):
            seen[record.evaluation.id] = list(ended)
    return seen


def best_of(rows: Iterable[Row]) -> int | None:
    """Return the configuration with the least finite loss at the highest rung that has one; of equals the earlier."""
    finite = [(-each.to_epoch, loss, each.id, each.config_id) for each, loss in rows if loss is not None]
    return min((row for row in finite if math.isfinite(row[1])), default=(0, 0.0, 0, None))[3]


def _wrong_numbers(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    if [each.id for each in evaluations] != list(range(len(evaluations))):
        yield "the evaluations are not numbered 0, 1, 2, ... with each number once"
    new = [each.config_id for each in evaluations if each.origin != "promotion"]
    if new != list(range(len(new))):
        yield "the configurations are not numbered 0, 1, 2, ... in the order of their first evaluations"


def _wrong_steps(settings: SearchSettings, *, evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """Check each evaluation against the one before it of the same configuration."""
    ladder = settings.rung_budgets
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


def _wrong_decisions(
    settings: SearchSettings, *, evaluations: Sequence[Evaluation], losses: Losses, seen: Seen
) -> Iterator[str]:
    """Derive every decision from the rules and from what it saw."""
    for number, each in enumerate(evaluations):
        missing = sorted(set(seen[each.id]) - set(losses))
        if missing:
            yield f"evaluation {each.id} was decided without the results of {missing}, which it had to wait for"
        told = {other: losses.get(other) for other in seen[each.id]}
        expected = _decision(settings, evaluations[:number], losses=told)
        is_new = each.origin != "promotion"
        rung = 0 if is_new and settings.chooses_start_rung else each.rung
        made = (None if is_new else each.config_id, each.bracket, rung)
        if made != expected:
            yield f"evaluation {each.id} is configuration, bracket, rung {made}, where the rules say {expected}"


def _decision(settings: SearchSettings, before: Sequence[Evaluation], *, losses: Losses) -> Decision | None:
    """Return what the rules say is started next; None if a free worker has to wait.

    Args:
        settings: The settings of the search.
        before: All evaluations decided so far.
        losses: Those of the results that may be seen.
    """
    places: dict[tuple[int, int], list[Evaluation]] = defaultdict(list)
    for each in before:
        places[each.bracket, each.rung].append(each)
    if settings.schedule == "async":
        return _early_decision(settings, places, losses=losses)
    count = len({each.bracket for each in before})
    for bracket in range(count):
        decision = _bracket_decision(settings, bracket, places, losses=losses)
        if decision is not None:
            return decision
    if settings.brackets is not None and count >= settings.brackets:
        return None
    return None, count, bracket_sizes(count, rung_count=len(settings.rung_budgets), eta=settings.eta)[0]


def _bracket_decision(
    settings: SearchSettings, bracket: int, places: Mapping[tuple[int, int], Sequence[Evaluation]], *, losses: Losses
) -> Decision | None:
    """Return what a bracket starts next: it fills a rung, waits for it, and sends the best of it on."""
    first, sizes = bracket_sizes(bracket, rung_count=len(settings.rung_budgets), eta=settings.eta)
    here = places.get((bracket, first), [])
    if len(here) < sizes[0]:
        return None, bracket, first
    for rung, size in enumerate(sizes[1:], start=first + 1):
        if any(each.id not in losses for each in here):
            return None
        below, here = _standings(here, losses=losses), places.get((bracket, rung), [])
        if len(here) < min(size + _failed(here, losses=losses), len(below)):
            return below[len(here)][1], bracket, rung
    return None


def _early_decision(
    settings: SearchSettings, places: Mapping[tuple[int, int], Sequence[Evaluation]], *, losses: Losses
) -> Decision | None:
    """Return the promotion at the highest rung where one of the best may go on, or a new configuration."""
    for rung in reversed(range(1, len(settings.rung_budgets))):
        below, here = places.get((0, rung - 1), []), places.get((0, rung), [])
        ended = sum(each.id in losses for each in below)
        here = [each for each in here if each.origin == "promotion"]
        gone = {each.config_id for each in here}
        places_above = ended // settings.eta + _failed(here, losses=losses)
        if settings.patient_promotion and len(gone) >= places_above:
            continue
        best = [number for _, number in _standings(below, losses=losses)[:places_above] if number not in gone]
        if best:
            return best[0], 0, rung
    return None, 0, 0


def _wrong_promotions(
    settings: SearchSettings, *, results: Sequence[Row], evaluations: Sequence[Evaluation], finished: bool
) -> Iterator[str]:
    """Check who went on, rung by rung of each bracket."""
    losses = _losses(results)
    places: dict[tuple[int, int], list[Evaluation]] = defaultdict(list)
    for each in evaluations:
        places[each.bracket, each.rung].append(each)
    for (bracket, rung), there in sorted(places.items()):
        above = [each for each in places.get((bracket, rung + 1), []) if each.origin == "promotion"]
        where = f"bracket {bracket}, rung {rung}"
        standings = [number for _, number in _standings(there, losses=losses)]
        gone = sorted(each.config_id for each in above)
        if not set(gone) <= set(standings):
            yield f"{where}: {sorted(set(gone) - set(standings))} went on without a finite loss"
        if settings.schedule == "async":
            continue
        if gone != sorted(standings[: len(above)]):
            yield f"{where}: {gone} went on, but the best are {standings[: len(above)]}"
        first_rung, sizes = bracket_sizes(bracket, rung_count=len(settings.rung_budgets), eta=settings.eta)
        sizes = (*[0] * first_rung, *sizes, 0)
        if rung == first_rung and len(there) > sizes[rung]:
            yield f"{where}: {len(there)} configurations instead of {sizes[rung]}"
        allowed = min(sizes[rung + 1] + _failed(above, losses=losses), len(standings))
        if len(above) > allowed or (finished and len(above) < allowed):
            yield f"{where}: {len(above)} went on instead of {allowed}"


def _losses(results: Iterable[Row]) -> dict[int, float | None]:
    return {each.id: loss for each, loss in results}


def _failed(there: Sequence[Evaluation], *, losses: Losses) -> int:
    """Count the failures that may be seen."""
    return sum(each.id in losses and not _is_finite(losses[each.id]) for each in there)


def _standings(there: Sequence[Evaluation], *, losses: Losses) -> list[tuple[float, int]]:
    """Return the finite losses, the best first, with their configurations."""
    known = ((losses.get(each.id), each.config_id) for each in there)
    return sorted((loss, number) for loss, number in known if loss is not None and math.isfinite(loss))


def _is_finite(loss: float | None) -> bool:
    return loss is not None and math.isfinite(loss)
