"""Resuming a search: its study must be the recorded one, and its optimizer is rebuilt from the records."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ConfigSpace import ConfigurationSpace

from emotune.errors import SettingsError, StudyChangedError
from emotune.search.criteria import MINIMISED, Criteria
from emotune.search.optimizer import Optimizer
from emotune.search.pareto import Score
from emotune.search.records import Ended, Evaluation, Extended, Opened, Record, Resized, Retried, Started
from emotune.search.settings import virtual_workers
from emotune.search.stopping import Amount, Change, Extension, Resize, Retry, in_words
from emotune.study.definition import AnyStudy, SearchDefinition, differences
from emotune.study.recorded import recorded_order
from emotune.study.results import opened, present_limits

logger = logging.getLogger(__name__)


def as_recorded(
    study: AnyStudy, records: Sequence[Record], *, amounts: Mapping[str, Amount], warm_start: tuple[str, ...] = ()
) -> AnyStudy:
    """Return the study that a search was started from, if the study given now is the same.

    Configurations from earlier searches are read from the record, not from those searches. If the end is given by
    ``amounts``, or was moved already, the study's own end does not matter.

    Args:
        study: The study given now, settled.
        records: The search's journal, not empty.
        amounts: ``brackets`` and ``evaluations`` given beside the study.
        warm_start: Earlier searches given now; empty: those of the record.

    Raises:
        StudyChangedError: A setting that decides the results differs.
    """
    first = opened(records)
    recorded = recorded_like(study, first)
    study, lines = with_recorded_defaults(study, records)
    for line in lines:
        logger.warning("%s", line)
    if warm_start and warm_start != first.warm_start:
        raise StudyChangedError(
            f"the search {first.name!r} was started with warm_start {list(first.warm_start)} and is now given "
            f"{list(warm_start)}; leave --warm-start out to resume it, or give another --name"
        )
    now = recorded.budget.model_copy(update=present_limits(records))
    for name, amount in amounts.items():
        if not amount.more and amount.number not in (recorded.budget.limits[name], now.limits[name]):
            raise StudyChangedError(
                f"--{name} {amount.number}: the search {first.name!r} ends after {in_words(**now.limits)}; to extend "
                f"it when it is finished, give --{name} +N"
            )
    changes: dict[str, Any] = {}
    if amounts or present_limits(records):
        ends = {"brackets": recorded.budget.brackets, "evaluations": recorded.budget.evaluations}
        changes["budget"] = study.budget.model_copy(update=ends)
    if first.warm_start and recorded.earlier[: len(study.earlier)] == study.earlier:
        changes["earlier"] = recorded.earlier
    same = study.model_copy(update=changes)
    check_unchanged(same, first)
    return same


def with_recorded_defaults(study: AnyStudy, records: Sequence[Record]) -> tuple[AnyStudy, list[str]]:
    """Return a study in which defaults that have changed have the values of the record.

    Args:
        study: The study given now.
        records: The search's journal; may be empty.

    Returns:
        The study, and a line for each setting that has the recorded value instead of the present default.

    Raises:
        StudyChangedError: The search is one of another kind of study.
    """
    if not records:
        return study, []
    first = opened(records)
    recorded_like(study, first)
    study, changes = study.with_recorded_defaults(first.study)
    lines = [
        f"the search {first.name!r} was started with {change.setting}: {json.dumps(change.recorded)} and resumes with "
        f"it; the default is now {json.dumps(change.default)}, for which give another --name"
        for change in changes
    ]
    return study, lines


def recorded_like(study: AnyStudy, first: Opened) -> AnyStudy:
    """Return the recorded study of a search, which must be of the same kind as a study.

    Raises:
        StudyChangedError: It is of another kind.
    """
    try:
        return type(study).recorded(first.study)
    except SettingsError as error:
        raise StudyChangedError(f"the search {first.name!r} {error}; give another name") from error


def software_changes(first: Opened, *, now: Mapping[str, str]) -> str | None:
    """Return a line with the packages whose version has changed since the search was started; None: none has."""
    changes = [
        f"{name} was {first.software.get(name, 'absent')} and is now {now.get(name, 'absent')}"
        for name in sorted(first.software.keys() | now.keys())
        if first.software.get(name) != now.get(name)
    ]
    if not changes:
        return None
    warning = f"the search {first.name!r} was started with other software, which may give other results"
    return f"{warning}: {'; '.join(changes)}"


def check_unchanged(study: SearchDefinition, first: Opened) -> None:
    """Refuse to resume a search with a study that would give other results.

    Raises:
        StudyChangedError: Settings differ; the message names them with both values.
    """
    changes = differences(recorded_like(study, first).deciding(), study.deciding())
    if not changes:
        return
    is_end = any(change.startswith(("budget.brackets", "budget.evaluations")) for change in changes)
    more = "; to extend it when it is finished, give --brackets +N or --evaluations +N" if is_end else ""
    raise StudyChangedError(
        f"the search {first.name!r} was started from another study: {'; '.join(changes)}. Give the study it was "
        f"started from, another --name, or --fresh to start again{more}"
    )


def make_optimizer(study: SearchDefinition, *, records: Sequence[Record], concurrency: int) -> Optimizer:
    """Return the optimizer of a study, with all decisions and results of a journal.

    The virtual time of an epoch is `SearchDefinition.cost`. A study without an order has strict order, see
    `SearchDefinition.with_order`.

    Args:
        study: The study.
        records: The journal.
        concurrency: Evaluations that run at a time.
    """
    order = study.search_settings().order
    first = next((record for record in records if isinstance(record, Opened)), None)
    workers = virtual_workers(concurrency, order=order) if first is None else starting_workers(first)
    return optimizer_from_records(
        study.configuration_space(),
        records,
        criteria=study.criteria,
        settings={
            **study.searcher,
            **study.budget.optimizer_settings,
            "seed": study.seed,
            "order": order,
            "concurrency": workers,
            "earlier": study.earlier,
            "ranking": study.criteria.ranking,
            "cost": study.cost,
            "admits": study.admits,
        },
    )


def starting_workers(first: Opened) -> int:
    """Return the number of virtual workers with which a search began."""
    if first.workers is not None:
        return first.workers
    is_ahead = recorded_order(first.study) == "strict" and first.concurrency > 1
    return 2 * first.concurrency if is_ahead else first.concurrency  # older versions decided for twice as many


def optimizer_from_records(
    space: ConfigurationSpace,
    records: Iterable[Record],
    *,
    criteria: Criteria = MINIMISED,
    settings: Mapping[str, Any],
) -> Optimizer:
    """Rebuild the optimizer of a search from its journal.

    Args:
        space: The search space.
        records: The journal. Evaluations that started and ended, extensions, retries and changes of the concurrency
            are read. If an event was recorded twice, the first record counts.
        criteria: The objectives and constraints.
        settings: Keyword arguments of `Optimizer`.

    Raises:
        DamageError: The records do not follow from the settings.
    """
    evaluations: dict[int, Evaluation] = {}
    losses: dict[int, float | Score] = {}
    changes: list[Change] = []
    for record in records:
        if isinstance(record, Started):
            evaluations.setdefault(record.evaluation.id, record.evaluation)
        elif isinstance(record, Ended):
            losses.setdefault(record.evaluation_id, criteria.result(record.objective, measured=record.measured))
        elif isinstance(record, Extended):
            moved = Extension(after=len(evaluations), brackets=record.brackets, evaluations=record.evaluations)
            changes += [] if moved.limits in _limits(changes) else [moved]
        elif isinstance(record, Retried):
            for number in record.evaluations:
                losses.pop(number, None)
            numbers = tuple(record.evaluations)
            changes.append(Retry(after=len(evaluations), seen=record.seen, changes=len(changes), evaluations=numbers))
        elif isinstance(record, Resized):
            changes.append(Resize(after=len(evaluations), seen=record.seen, workers=record.workers))
    optimizer = Optimizer(space, **settings)
    decisions = [evaluations[number] for number in sorted(evaluations)]
    optimizer.replay(decisions, losses=losses, changes=changes)
    return optimizer


def _limits(changes: Iterable[Change]) -> list[dict[str, int | None]]:
    return [change.limits for change in changes if isinstance(change, Extension)]
