"""Durations as text."""

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400
"""Seconds of a minute, an hour and a day."""

MAX_DECIMAL_S = 9.95
"""Durations below this (s) have a decimal."""


def duration(seconds: float) -> str:
    """Return a duration in its two largest units of days, hours, minutes and seconds.

    Example:
        >>> duration(4.26), duration(125), duration(7500), duration(200000)
        ('4.3 s', '2 min 5 s', '2 h 5 min', '2 d 7 h')
    """
    if 0 < seconds < MAX_DECIMAL_S:
        return f"{seconds:.1f} s"
    whole = max(0, round(seconds))
    if whole < MINUTE_S:
        return f"{whole} s"
    if whole < HOUR_S:
        return _pair(whole, units=((MINUTE_S, "min"), (1, "s")))
    if whole < DAY_S:
        return _pair(whole, units=((HOUR_S, "h"), (MINUTE_S, "min")))
    return _pair(whole, units=((DAY_S, "d"), (HOUR_S, "h")))


def _pair(seconds: int, *, units: tuple[tuple[int, str], tuple[int, str]]) -> str:
    (large, name), (small, small_name) = units
    count = seconds // small * small
    rest = count % large // small
    return f"{count // large} {name}" + (f" {rest} {small_name}" if rest else "")
