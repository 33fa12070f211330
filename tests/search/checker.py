"""An independent check of the decisions in a search's history."""

import itertools
import math
import operator
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from emotune.search.pareto import Score
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
    scores: Mapping[int, Score] | None = None,
) -> list[str]:
    """Return a sentence for each violation of the rules; an empty list if there is none.

    The check does not use the code that makes decisions. It checks properties of the result: budgets are those of
    the rungs, each configuration is promoted one rung at a time and resumes at its last epoch, and the promoted
    configurations are the best of their rung. If the results that each decision saw are given, each decision is also
    derived from the rules of its schedule, without state from earlier decisions.

    Args:
        settings: The settings of the search.
        rows: The evaluations that have ended.
        running: The evaluations that have not.
        finished: Whether the search ended by its number of brackets. Then every rung must be full.
        best: The search's best configuration, to check it as well.
        seen: The results that each decision saw, see `seen_in_virtual_time` and `seen_in_journal`. Not needed with one
            worker: its decisions see every result.
        scores: Scores by evaluation, of a search with several objectives or constraints.
    """
    results = list(rows)
    evaluations = sorted([*(row[0] for row in results), *running], key=lambda evaluation: evaluation.id)
    sentences = [*_wrong_numbers(evaluations), *_wrong_steps(settings, evaluations=evaluations)]
    if seen is None and settings.concurrency == 1:
        seen = {evaluation.id: range(evaluation.id) for evaluation in evaluations}
    if not sentences and seen is not None:
        sentences += _wrong_decisions(
            settings, evaluations=evaluations, losses=_losses(results), seen=seen, scores=scores
        )
    if not sentences and scores is None:  # with scores the order at a decision is not that at the end
        sentences += _wrong_promotions(settings, results=results, evaluations=evaluations, finished=finished)
    if best is not None and best != best_of(results):
        sentences.append(f"configuration {best} is reported as the best, expected {best_of(results)}")
    return sentences


def seen_in_virtual_time(
    settings: SearchSettings,
    rows: Iterable[Row],
    *,
    running: Sequence[Evaluation] = (),
    cost: Callable[[Evaluation], float] = lambda _: 1.0,
    changes: Sequence[Change] = (),
) -> Seen:
    """Simulate a search of strict order on virtual workers, and return the results that each decision waits for.

    A decision is made as soon as a worker is free and the rules allow a start. It sees the results of the evaluations
    that have ended by then.

    Args:
        settings: The settings that the search was started with.
        rows: The evaluations that have ended.
        running: The evaluations that have not.
        cost: Virtual seconds of one epoch of an evaluation.
        changes: Changes of its settings, in order.
    """
    results = list(rows)
    evaluations = sorted([*(row[0] for row in results), *running], key=lambda evaluation: evaluation.id)
    losses, now = _losses(results), 0.0
    ends: dict[int, float] = {}
    seen: dict[int, list[int]] = {}
    for number, evaluation in enumerate(evaluations):
        for change in changes:
            if change.after == number and isinstance(change, Resize):
                now = max([now, *sorted(ends.values())[: change.seen][-1:]])
                settings = settings.model_copy(update={"concurrency": change.workers})
            if change.after == number and isinstance(change, Extension):
                settings = settings.model_copy(update=change.limits)
        while True:
            seen[evaluation.id] = [other for other, end in ends.items() if end <= now]
            later = [end for end in ends.values() if end > now]
            visible = {other: losses.get(other) for other in seen[evaluation.id]}
            free = len(later) < settings.concurrency
            if not later or (free and _decision(settings, evaluations[:number], losses=visible)):
                break
            now = min(later)
        ends[evaluation.id] = now + cost(evaluation) * (evaluation.to_epoch - evaluation.from_epoch)
    return seen


def seen_in_journal(records: Iterable[Record]) -> Seen:
    """Return the results that each decision of a search of free order saw: those recorded before it."""
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
    finite = [
        (-evaluation.to_epoch, loss, evaluation.id, evaluation.config_id)
        for evaluation, loss in rows
        if loss is not None
    ]
    return min((row for row in finite if math.isfinite(row[1])), default=(0, 0.0, 0, None))[3]


def _wrong_numbers(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    if [evaluation.id for evaluation in evaluations] != list(range(len(evaluations))):
        yield "the evaluations are not numbered 0, 1, 2, ... with each number once"
    new = [evaluation.config_id for evaluation in evaluations if evaluation.origin != "promotion"]
    if new != list(range(len(new))):
        yield "the configurations are not numbered 0, 1, 2, ... in the order of their first evaluations"


def _wrong_steps(settings: SearchSettings, *, evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """Check each evaluation against the previous evaluation of its configuration."""
    budgets = settings.rung_budgets
    last: dict[int, Evaluation] = {}
    for evaluation in evaluations:
        before = last.get(evaluation.config_id)
        if evaluation.rung >= len(budgets) or evaluation.to_epoch != budgets[evaluation.rung]:
            yield f"evaluation {evaluation.id}: epoch {evaluation.to_epoch} is not rung {evaluation.rung} of {budgets}"
        if evaluation.from_epoch != (before.to_epoch if before else 0):
            yield f"evaluation {evaluation.id} begins at epoch {evaluation.from_epoch}, not where its configuration is"
        if before and (evaluation.values, evaluation.bracket, evaluation.rung) != (
            before.values,
            before.bracket,
            before.rung + 1,
        ):
            yield f"evaluation {evaluation.id} does not continue configuration {evaluation.config_id} one rung higher"
        last[evaluation.config_id] = evaluation


def _wrong_decisions(
    settings: SearchSettings,
    *,
    evaluations: Sequence[Evaluation],
    losses: Losses,
    seen: Seen,
    scores: Mapping[int, Score] | None,
) -> Iterator[str]:
    """Derive every decision from the rules and from the results that it saw."""
    for number, evaluation in enumerate(evaluations):
        missing = sorted(set(seen[evaluation.id]) - set(losses))
        if missing:
            yield f"evaluation {evaluation.id} was decided without the results of {missing}, which the order requires"
        visible = {other: losses.get(other) for other in seen[evaluation.id]}
        if scores is not None:
            visible |= positions(evaluations[:number], scores={key: scores[key] for key in visible if key in scores})
        expected = _decision(settings, evaluations[:number], losses=visible)
        is_new = evaluation.origin != "promotion"
        rung = 0 if is_new and settings.chooses_start_rung else evaluation.rung
        made = (None if is_new else evaluation.config_id, evaluation.bracket, rung)
        if settings.allocates:
            yield from _wrong_choice(evaluation, before=evaluations[:number], losses=visible)
        elif made != expected:
            yield f"evaluation {evaluation.id} is configuration, bracket, rung {made}, expected {expected} by the rules"


def positions(before: Sequence[Evaluation], *, scores: Mapping[int, Score]) -> dict[int, float]:
    """Return the position of each evaluation with a score at its rung, by the definitions of NSGA-II."""
    found: dict[int, float] = {}
    for rung in {evaluation.rung for evaluation in before}:
        there = [evaluation for evaluation in before if evaluation.rung == rung and evaluation.id in scores]
        key = {evaluation.id: _key(evaluation, there, scores=scores) for evaluation in there}
        found |= {number: float(place) for place, number in enumerate(sorted(key, key=key.__getitem__))}
    return found


def _key(evaluation: Evaluation, there: Sequence[Evaluation], *, scores: Mapping[int, Score]) -> tuple[float, ...]:
    """Return violation, front, negative crowding distance and configuration number."""
    mine = scores[evaluation.id]
    if mine.violation > 0:
        return mine.violation, 0, 0, evaluation.config_id
    left = {other.config_id: scores[other.id].losses for other in there if scores[other.id].violation == 0}
    for front in itertools.count():
        members = {
            number: losses
            for number, losses in left.items()
            if not any(other != losses and all(map(operator.le, other, losses)) for other in left.values())
        }
        if evaluation.config_id in members:
            return 0.0, front, -_crowding(evaluation.config_id, members), evaluation.config_id
        left = {number: losses for number, losses in left.items() if number not in members}
    raise AssertionError


def _crowding(number: int, members: Mapping[int, tuple[float, ...]]) -> float:
    gaps = []
    for axis in range(len(members[number])):
        order = sorted(members, key=lambda other: (members[other][axis], other))
        values = [members[other][axis] for other in order]
        place = order.index(number)
        if place in {0, len(order) - 1}:
            return math.inf
        span = values[-1] / 2 - values[0] / 2
        gaps.append((values[place + 1] / 2 - values[place - 1] / 2) / span if span else 0.0)
    return math.fsum(gaps)


def _wrong_choice(evaluation: Evaluation, *, before: Sequence[Evaluation], losses: Losses) -> Iterator[str]:
    """Check a decision that a model makes freely: a promoted configuration has a visible and finite result."""
    last = [other for other in before if other.config_id == evaluation.config_id]
    if last and not _is_finite(losses.get(last[-1].id)):
        yield f"evaluation {evaluation.id} promotes configuration {evaluation.config_id} without a finite result"


def _decision(settings: SearchSettings, before: Sequence[Evaluation], *, losses: Losses) -> Decision | None:
    """Return the next start by the rules; None if a free worker has to wait.

    Args:
        settings: The settings of the search.
        before: All evaluations decided so far.
        losses: The visible results.
    """
    by_rung: dict[tuple[int, int], list[Evaluation]] = defaultdict(list)
    for evaluation in before:
        by_rung[evaluation.bracket, evaluation.rung].append(evaluation)
    if settings.schedule == "async":
        return _early_decision(settings, by_rung, losses=losses)
    count = len({evaluation.bracket for evaluation in before})
    for bracket in range(count):
        decision = _bracket_decision(settings, bracket, by_rung, losses=losses)
        if decision is not None:
            return decision
    if settings.brackets is not None and count >= settings.brackets:
        return None
    return None, count, bracket_sizes(count, rung_count=len(settings.rung_budgets), eta=settings.eta)[0]


def _bracket_decision(
    settings: SearchSettings, bracket: int, by_rung: Mapping[tuple[int, int], Sequence[Evaluation]], *, losses: Losses
) -> Decision | None:
    """Return the next start of a bracket: it fills a rung, waits for its results, and promotes the best."""
    first, sizes = bracket_sizes(bracket, rung_count=len(settings.rung_budgets), eta=settings.eta)
    here = by_rung.get((bracket, first), [])
    if len(here) < sizes[0]:
        return None, bracket, first
    for rung, size in enumerate(sizes[1:], start=first + 1):
        if any(evaluation.id not in losses for evaluation in here):
            return None
        below, here = _standings(here, losses=losses), by_rung.get((bracket, rung), [])
        if len(here) < min(size + _failed(here, losses=losses), len(below)):
            promoted = {evaluation.config_id for evaluation in here}
            return next(number for _, number in below if number not in promoted), bracket, rung
    return None


def _early_decision(
    settings: SearchSettings, by_rung: Mapping[tuple[int, int], Sequence[Evaluation]], *, losses: Losses
) -> Decision | None:
    """Return the promotion at the highest rung that has a candidate, or a new configuration."""
    for rung in reversed(range(1, len(settings.rung_budgets))):
        below, here = by_rung.get((0, rung - 1), []), by_rung.get((0, rung), [])
        ended = sum(evaluation.id in losses for evaluation in below)
        here = [evaluation for evaluation in here if evaluation.origin == "promotion"]
        promoted = {evaluation.config_id for evaluation in here}
        slots_above = ended // settings.eta + _failed(here, losses=losses)
        if settings.patient_promotion and len(promoted) >= slots_above:
            continue
        best = [number for _, number in _standings(below, losses=losses)[:slots_above] if number not in promoted]
        if best:
            return best[0], 0, rung
    return None, 0, 0


def _wrong_promotions(
    settings: SearchSettings, *, results: Sequence[Row], evaluations: Sequence[Evaluation], finished: bool
) -> Iterator[str]:
    """Check the promotions at every rung of each bracket."""
    losses = _losses(results)
    by_rung: dict[tuple[int, int], list[Evaluation]] = defaultdict(list)
    for evaluation in evaluations:
        by_rung[evaluation.bracket, evaluation.rung].append(evaluation)
    for (bracket, rung), there in sorted(by_rung.items()):
        above = [evaluation for evaluation in by_rung.get((bracket, rung + 1), []) if evaluation.origin == "promotion"]
        where = f"bracket {bracket}, rung {rung}"
        standings = [number for _, number in _standings(there, losses=losses)]
        promoted = sorted(evaluation.config_id for evaluation in above)
        if not set(promoted) <= set(standings):
            yield f"{where}: {sorted(set(promoted) - set(standings))} were promoted without a finite loss"
        if settings.schedule == "async":
            continue
        if promoted != sorted(standings[: len(above)]):
            yield f"{where}: {promoted} were promoted, but the best are {standings[: len(above)]}"
        first_rung, sizes = bracket_sizes(bracket, rung_count=len(settings.rung_budgets), eta=settings.eta)
        sizes = (*[0] * first_rung, *sizes, 0)
        if rung == first_rung and len(there) > sizes[rung]:
            yield f"{where}: {len(there)} configurations instead of {sizes[rung]}"
        allowed = min(sizes[rung + 1] + _failed(above, losses=losses), len(standings))
        if len(above) > allowed or (finished and len(above) < allowed):
            yield f"{where}: {len(above)} were promoted instead of {allowed}"


def _losses(results: Iterable[Row]) -> dict[int, float | None]:
    return {evaluation.id: loss for evaluation, loss in results}


def _failed(there: Sequence[Evaluation], *, losses: Losses) -> int:
    """Count the visible failures."""
    return sum(evaluation.id in losses and not _is_finite(losses[evaluation.id]) for evaluation in there)


def _standings(there: Sequence[Evaluation], *, losses: Losses) -> list[tuple[float, int]]:
    """Return the finite losses, the best first, with their configurations."""
    known = ((losses.get(evaluation.id), evaluation.config_id) for evaluation in there)
    return sorted((loss, number) for loss, number in known if loss is not None and math.isfinite(loss))


def _is_finite(loss: float | None) -> bool:
    return loss is not None and math.isfinite(loss)
