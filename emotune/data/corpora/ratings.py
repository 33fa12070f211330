"""Ratings as files have them: some are missing, some outside their scale."""

import math
from collections.abc import Mapping

from emotune.data.recording import ExcludedData

Scale = tuple[float, float]
"""The lowest and the highest possible rating."""


def valid_ratings(
    given: Mapping[str, float], *, scales: Mapping[str, Scale], subject: str, source: str
) -> tuple[dict[str, float], list[ExcludedData]]:
    """Take the ratings that are there and within their scale; note the others.

    A recording without ratings is of use, as most training needs none.

    Args:
        given: The ratings by name; what is missing is not there, or not a finite number.
        scales: The ratings that are expected, and their scales.
        subject: Whose they are.
        source: The recording they are about.
    """
    ratings: dict[str, float] = {}
    left_out: list[ExcludedData] = []
    for name, (low, high) in scales.items():
        value = float(given.get(name, math.nan))
        if low <= value <= high:
            ratings[name] = value
            continue
        reason = f"outside its scale, {low:g} to {high:g}" if math.isfinite(value) else "missing"
        left_out.append(
            ExcludedData(
                subject=subject,
                source=f"{source}, {name}{f' {value:g}' if math.isfinite(value) else ''}",
                reason=f"a rating is {reason}; the recording is kept",
            )
        )
    return ratings, left_out
