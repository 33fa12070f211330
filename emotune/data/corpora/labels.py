"""Labels of a recording: of the whole, as its table states, or of its parts, as its file has them."""

from collections.abc import Sequence
from typing import NamedTuple

from emotune.data.corpora.manifest import LIST_SEPARATOR, ManifestEntry
from emotune.data.recording import Interval
from emotune.errors import DataError

LABELS_NAMED = 8
"""Largest number of labels in a message."""

LONGEST_OVERLAP_S = 1.0
"""Largest time that two parts share without a message (s): onsets and durations in files are rounded."""


class Labels(NamedTuple):
    """Labels of a recording."""

    condition: str
    """Label of the whole recording; empty if there is none."""
    intervals: tuple[Interval, ...]
    """Labelled parts; none if the whole recording has a label."""
    notes: tuple[str, ...]
    """Labels that were not used, or not alone, one line each."""


def labels_of(intervals: Sequence[Interval], *, seconds: float, entry: ManifestEntry) -> Labels:
    """Return the labels of a recording that lasts ``seconds``.

    A condition in the table is the label of the whole recording, and the parts of the file are not used. Several
    conditions (separated by ``|``) are names of the parts of the file: these are used.

    Raises:
        DataError: A part ends before it starts, or its time is not a number.
    """
    stated = [name.strip() for name in entry.condition.split(LIST_SEPARATOR) if name.strip()]
    in_file = [*dict.fromkeys(part.condition for part in intervals)]
    if len(stated) == 1:
        others = [name for name in in_file if name != stated[0]]
        note = f"{entry.table} states the condition {stated[0]}: the labels {_named(others)} in the file were not used"
        return Labels(stated[0], (), (note,) if others else ())
    for part in intervals:
        if not part.start < part.end:
            raise DataError(
                f"its part with the label {part.condition!r} lasts from {part.start:g} to {part.end:g} s, expected an "
                "end after the start"
            )
    absent = [name for name in stated if name not in in_file]
    notes = [
        f"{entry.table} states the conditions {_named(stated)}; the file has no part with the label {_named(absent)}"
        for _ in absent[:1]
    ]
    outside = [part.condition for part in intervals if part.end <= 0 or part.start >= seconds]
    if outside:
        notes.append(f"its parts with the labels {_named([*dict.fromkeys(outside)])} lie outside its {seconds:g} s")
    both = overlapping(intervals)
    if both is not None:
        names = _named([part.condition for part in both])
        notes.append(f"its parts with the labels {names} overlap: segments in both have the first label of the file")
    return Labels("", tuple(intervals), tuple(notes))


def overlapping(intervals: Sequence[Interval]) -> tuple[Interval, Interval] | None:
    """Return two parts with different labels that share more than `LONGEST_OVERLAP_S`; None if there are none."""
    latest: dict[str, Interval] = {}
    for part in sorted(intervals, key=lambda part: (part.start, part.end)):
        latest = {label: before for label, before in latest.items() if before.end > part.start}
        for label, before in latest.items():
            if label != part.condition and min(before.end, part.end) - part.start > LONGEST_OVERLAP_S:
                return before, part
        if part.condition not in latest or latest[part.condition].end < part.end:
            latest[part.condition] = part
    return None


def _named(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - LABELS_NAMED} more" if len(labels) > LABELS_NAMED else ""
    return ", ".join(labels[:LABELS_NAMED]) + more
