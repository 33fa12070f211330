"""Going on with a search: under the study that is recorded, and no other."""

from collections.abc import Mapping, Sequence
from typing import Any

from emotune.errors import StudyChangedError
from emotune.search.records import Opened, Record
from emotune.search.stopping import Amount, in_words
from emotune.study.results import opened, present_limits
from emotune.study.study import Study, differences


def as_recorded(
    study: Study, records: Sequence[Record], *, amounts: Mapping[str, Amount], warm_start: tuple[str, ...] = ()
) -> Study:
    """Return the study that a search was started from, if what is given now is the same one.

    What was taken from earlier searches is in the record, and those are not asked again. If the end is
    given by ``amounts``, or was moved already, the study's own end does not matter.

    Args:
        study: As given now, settled.
        records: The search's journal, with something in it.
        amounts: ``brackets`` and ``evaluations`` given beside the study.
        warm_start: Earlier searches given now; none stands for those of the record.

    Raises:
        StudyChangedError: Something that decides the results is another.
    """
    first = opened(records)
    recorded = Study.model_validate(first.study)
    if warm_start and warm_start != first.warm_start:
        raise StudyChangedError(
            f"the search {first.name!r} was started with warm_start {list(first.warm_start)} and is now given "
            f"{list(warm_start)}; leave --warm-start out to go on with it, or give another --name"
        )
    now = recorded.budget.model_copy(update=present_limits(records))
    for name, amount in amounts.items():
        if not amount.more and amount.number not in (recorded.budget.limits[name], now.limits[name]):
            raise StudyChangedError(
                f"--{name} {amount.number}: the search {first.name!r} ends after {in_words(**now.limits)}; to go on "
                f"with it when it is finished, give --{name} +N"
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


def software_changes(first: Opened, *, now: Mapping[str, str]) -> str | None:
    """Return a line that names the packages of another version than when the search was started; None: none."""
    changes = [
        f"{name} was {first.software.get(name, 'absent')} and is now {now.get(name, 'absent')}"
        for name in sorted(first.software.keys() | now.keys())
        if first.software.get(name) != now.get(name)
    ]
    if not changes:
        return None
    what = f"the search {first.name!r} was started with other software, which may give other results"
    return f"{what}: {'; '.join(changes)}"


def check_unchanged(study: Study, first: Opened) -> None:
    """Refuse to go on with a search under a study that would give other results.

    Raises:
        StudyChangedError: Naming the settings that differ.
    """
    changes = differences(Study.model_validate(first.study).deciding(), study.deciding())
    if not changes:
        return
    is_end = any(change.startswith(("budget.brackets", "budget.evaluations")) for change in changes)
    more = "; to go on with it when it is finished, give --brackets +N or --evaluations +N" if is_end else ""
    raise StudyChangedError(
        f"the search {first.name!r} was started from another study: {'; '.join(changes)}. Give the study it was "
        f"started from, another --name, or --fresh to start over{more}"
    )
