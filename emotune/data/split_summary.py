"""How the segments of a store are divided: sizes of the parts, people on both sides, and a hash of the division."""

import hashlib

import numpy as np

from emotune.base import Settings
from emotune.data.folds import Fold, FoldUnit, unit_keys
from emotune.data.store import SegmentStore


class SplitPart(Settings):
    """The training, validation or test segments."""

    name: str
    people: int
    segments: int


class SplitSummary(Settings):
    """The division of a store into training, validation and test segments."""

    parts: tuple[SplitPart, ...]
    """The parts that have segments."""
    unit: FoldUnit
    """What is never divided between the parts."""
    held_out_people: int
    """People with validation or test segments."""
    shared_people: int
    """Those of them that have training segments too."""
    calibration_minutes: float = 0
    """Minutes at the start of each test recording that train."""
    digest: str
    """SHA-256, shortened, of the store's fingerprint and the row numbers of each part: equal for the same segments in
    the same parts."""

    @property
    def text(self) -> str:
        """Return the division in a line."""
        parts = ", ".join(f"{part.name} {part.segments:,} segments of {part.people} people" for part in self.parts)
        return f"split {self.digest}: {parts}{self._kept_together}"

    @property
    def _kept_together(self) -> str:
        if len(self.parts) == 1:
            return ""
        if self.calibration_minutes:
            return (
                f"; the first {self.calibration_minutes:g} min of each test recording train, and no other segments "
                f"of a test {self.unit}"
            )
        return f"; no {self.unit} is in two parts"

    @property
    def warning(self) -> str | None:
        """Return a line about people on both sides; None if there are none, or if they are calibrated to."""
        if not self.shared_people or self.calibration_minutes:
            return None
        return (
            f"warning: {self.shared_people} of the {self.held_out_people} held-out people have training segments too "
            f"(folds.by: {self.unit}); scores show how well a model works for known people, not for new ones. "
            "Give --set folds.by=subject to keep people apart"
        )


def summarise_split(store: SegmentStore, fold: Fold, *, by: FoldUnit, calibration_minutes: float = 0) -> SplitSummary:
    """Return the summary of a division of a store. The signals are not read.

    Args:
        store: The store.
        fold: The rows of the parts.
        by: The unit by which they were divided.
        calibration_minutes: Minutes at the start of each test recording that train.
    """
    rows = {"training": fold.train, "validation": fold.val, "test": fold.test}
    people = unit_keys(store.index, by="subject")
    held_out = set(people[np.concatenate([fold.val, fold.test])])
    digest = hashlib.sha256(store.fingerprint.encode())
    for name, numbers in rows.items():
        digest.update(f"{name} {len(numbers)}".encode())
        digest.update(numbers.astype("<i8").tobytes())
    parts = [
        SplitPart(name=name, people=len(np.unique(people[numbers])), segments=len(numbers))
        for name, numbers in rows.items()
        if len(numbers)
    ]
    return SplitSummary(
        parts=tuple(parts),
        unit=by,
        held_out_people=len(held_out),
        shared_people=len(held_out & set(people[fold.train])),
        calibration_minutes=calibration_minutes,
        digest=digest.hexdigest()[:12],
    )
