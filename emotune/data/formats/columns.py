"""What a column of a table is: a signal, an index or counter, or time stamps; and its numbers."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from emotune.errors import DataError

MISSING = {"", "nan", "na", "n/a", "#n/a", "<na>", "null", "none", "-nan", "#num!", "?"}
"""Fields of missing samples, in small letters."""

TIME_WORDS = {
    "time",
    "times",
    "timestamp",
    "timestamps",
    "datetime",
    "date",
    "clock",
    "elapsed",
    "epoch",
    "unix",
    "utc",
    *("zeit", "zeitstempel", "uhrzeit", "temps", "horodatage", "tiempo", "tempo", "tijd", "czas"),
}
INDEX_WORDS = {"index", "idx", "counter", "sampleindex", "samplenumber", "unnamed", "sequence", "seq", "packetnumber"}
"""Words of a column's name, in small letters, that say that it is an index or a counter."""

INDEX_NAMES = INDEX_WORDS | {
    "sample",
    "samples",
    "packet",
    "frame",
    "row",
    "line",
    "number",
    "num",
    "no",
    "nr",
    "n",
    "id",
}
INDEX_NAMES |= {"count", "cnt", "scan", "point", "points"}
"""Words that say so if the name has no other words."""

UNITS_S = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "µs", "μs", "usec", "micros", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nsec", "nanosecond", "nanoseconds"), 1e-9),
}
"""Units of time in names of columns, in seconds."""

GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}([.,]\d{3})+")
"""A number whose comma or point may separate thousands."""

SHORTEST_COUNTER = 20
"""Least number of samples from which the values of a column are enough to call it a counter."""


def words_of(name: str) -> list[str]:
    """Return the words of a column's name in small letters: ``PacketCounter(ms)`` gives packet, counter, ms."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-zµμ]+|[A-Z]+(?![a-z])", name)]


def is_time(name: str) -> bool:
    """Return whether a column's name says that it holds the time; an index with a unit of time does, too."""
    words = words_of(name)
    others = [word for word in words if word not in UNITS_S]
    is_timed_index = len(others) < len(words) and all(word in INDEX_NAMES for word in others)
    return bool(TIME_WORDS & set(words)) or (bool(words) and others in ([], ["t"])) or is_timed_index


def time_unit(name: str) -> float | None:
    """Return the unit of a time column in seconds; None if its name does not state it."""
    return next((UNITS_S[word] for word in reversed(words_of(name)) if word in UNITS_S), None)


def is_index(name: str) -> bool:
    """Return whether a column's name says that it is an index or a counter; an empty name is that of an index."""
    words = words_of(name)
    return bool(INDEX_WORDS & set(words)) or all(word in INDEX_NAMES for word in words)


def passed_over(name: str, samples: Float[np.ndarray, " time"] | None = None) -> str:
    """Return why a column is no signal at all: its name says so, or its values; empty if it may be one.

    Args:
        name: Name of the column.
        samples: Its values. Give them only where the name is not that of a lead or an electrode.
    """
    if is_time(name):
        return "time stamps"
    if is_index(name):
        return "an index or counter"
    if samples is not None and _counts(samples):
        return "an index, counter, marker or time, by its values"
    return ""


def _counts(samples: Float[np.ndarray, " time"]) -> bool:
    """Return whether values never fall, only fall back to their smallest, or are only two whole numbers."""
    finite = samples[np.isfinite(samples)]
    if len(finite) < SHORTEST_COUNTER or np.ptp(finite) == 0:
        return False
    steps = np.diff(finite)
    if (steps >= 0).all() or (steps <= 0).all():
        return True
    if not (finite == np.round(finite)).all():
        return False
    rises, falls = steps[steps > 0], steps[steps < 0]
    wraps = (
        len(falls) < 0.2 * len(steps) and (finite[1:][steps < 0] <= finite.min() + 0.05 * np.ptp(finite)).mean() > 0.9
    )
    return len(np.unique(finite)) == 2 or bool(wraps and (rises == np.median(rises)).mean() > 0.9)


def numbers(
    columns: Sequence[list[str]], *, names: Sequence[str]
) -> tuple[list[Float[np.ndarray, " time"] | str], tuple[str, ...]]:
    """Return the numbers of each column, or the first field that is none; and the names with decimal commas.

    Missing fields (`MISSING`) are NaN. A comma is read as a decimal comma only if it can be nothing else.

    Raises:
        DataError: Points or commas may be separators of thousands as well as of decimals.
    """
    values: list[Float[np.ndarray, " time"] | str] = [_plain(column) for column in columns]
    commas = [number for number, value in enumerate(values) if isinstance(value, str) and _has_commas(columns[number])]
    if commas and all(_may_be_groups(columns[number], separator=",") for number in commas):
        number = commas[0]
        field = next(field for field in columns[number] if "," in field)
        raise DataError(f"column {names[number]} holds {field!r}: thousands or decimals? Write numbers with a point")
    for number in commas:
        values[number] = _plain([field.replace(",", ".") for field in columns[number]])
    if commas:
        for number, column in enumerate(columns):
            if number not in commas and _may_be_groups(column, separator="."):
                raise DataError(
                    f"column {names[number]} has points and column {names[commas[0]]} has commas: thousands or "
                    "decimals? Write all numbers with a point"
                )
    return values, tuple(names[number] for number in commas)


def _plain(column: list[str]) -> Float[np.ndarray, " time"] | str:
    """Return the numbers of a column, or its first field that is no number."""
    try:
        if not any("_" in field for field in column):  # NumPy reads 1_000
            return np.array(column, dtype=np.float64)
    except ValueError:
        pass  # some are missing, or no numbers
    values = np.full(len(column), np.nan)
    for position, field in enumerate(column):
        if field.lower() in MISSING:
            continue
        try:
            values[position] = float(field.replace("_", " "))
        except ValueError:
            return field
    return values


def _has_commas(column: list[str]) -> bool:
    fields = [field for field in column if field.lower() not in MISSING]
    pattern = re.compile(r"[+-]?\d*,?\d+([eE][+-]?\d+)?")
    return any("," in field for field in fields) and all(pattern.fullmatch(field) for field in fields)


def _may_be_groups(column: list[str], *, separator: str) -> bool:
    fields = [field for field in column if separator in field]
    return bool(fields) and all(GROUPS.fullmatch(field) for field in fields)
