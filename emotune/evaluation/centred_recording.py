"""The segments of a recording whose mean a classifier subtracts (``task.centre: person``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emotune.errors import DataError
from emotune.tasks.centring import FEW_SEGMENTS, MIN_SEGMENTS, describe_counts


@dataclass(frozen=True)
class CentredRecording:
    """A recording whose own mean was subtracted from the vectors of its segments."""

    models: tuple[str, ...]
    """Models that subtract the mean."""
    segments: Mapping[str, int]
    """Number of segments of each ECG lead, or of the EEG; the mean is that of the lead."""

    @property
    def text(self) -> str:
        """What was subtracted, in a line."""
        counts = describe_counts(np.array(list(self.segments.values())))
        whole = "each lead in this file" if len(self.segments) > 1 else "this file"
        return f"minus the mean over the {counts} of {whole}; all classes must occur among them"

    @property
    def warning(self) -> str | None:
        """A line about a mean over few segments; None if there are at least `FEW_SEGMENTS`."""
        fewest = min(self.segments.values())
        if fewest >= FEW_SEGMENTS:
            return None
        return (
            f"warning: the mean that {' and '.join(self.models)} subtracts is that of {fewest} segments, expected at "
            f"least {FEW_SEGMENTS}; give a longer recording, in which all classes occur"
        )

    def document(self) -> dict[str, object]:
        """Return the models and the numbers of segments as plain JSON."""
        return {"models": list(self.models), "segments": dict(self.segments)}


def centred_recording(
    path: Path, *, models: Sequence[str], segments: Mapping[str, int], seconds: float
) -> CentredRecording | None:
    """Return the segments whose mean is subtracted; None without a model that subtracts it.

    Args:
        path: The recording.
        models: Models that subtract the mean of a person.
        segments: Number of segments of each ECG lead, or of the EEG.
        seconds: Length of a segment.

    Raises:
        DataError: A lead has fewer than `MIN_SEGMENTS` segments.
    """
    if not models:
        return None
    if min(segments.values()) < MIN_SEGMENTS:
        raise DataError(
            f"{path} has 1 segment of {seconds:g} s, but {models[0]} subtracts the mean over the segments of a person "
            f"(task.centre: person); expected at least {MIN_SEGMENTS}, better {FEW_SEGMENTS}: give a longer recording, "
            "in which all classes occur"
        )
    return CentredRecording(tuple(models), dict(segments))
