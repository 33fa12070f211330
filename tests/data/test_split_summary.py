"""The division of a store in a line, with people on both sides and a hash."""

import numpy as np
import pytest

from emotune.data.folds import Fold, Folds, split
from emotune.data.split_summary import summarise_split
from emotune.data.store import SegmentStore


def test_parts_are_counted_and_no_person_is_on_both_sides(store: SegmentStore) -> None:
    fold = split(store.index, Folds(count=3, validation=0.25))
    summary = summarise_split(store, fold, by="subject")
    sizes = {part.name: (part.people, part.segments) for part in summary.parts}
    assert sizes == {"training": (3, 36), "validation": (1, 12), "test": (2, 24)}
    assert (summary.held_out_people, summary.shared_people, summary.warning) == (3, 0, None)
    assert summary.text == (
        f"split {summary.digest}: training 36 segments of 3 people, validation 12 segments of 1 people, "
        "test 24 segments of 2 people; no subject is in two parts"
    )


@pytest.mark.parametrize("by", ["trial", "moment"])
def test_people_with_segments_on_both_sides_are_counted_in_a_warning(store: SegmentStore, by: str) -> None:
    folds = Folds.model_validate({"by": by, "count": 3})
    summary = summarise_split(store, split(store.index, folds), by=folds.by)
    assert summary.shared_people > 0
    assert summary.warning is not None
    assert f"{summary.shared_people} of the {summary.held_out_people} held-out people" in summary.warning
    assert f"(folds.by: {by})" in summary.warning


def test_the_hash_is_that_of_the_segments_in_their_parts(store: SegmentStore) -> None:
    folds = Folds(count=3)
    fold = split(store.index, folds)
    digest = summarise_split(store, fold, by="subject").digest
    assert digest == summarise_split(store, split(store.index, folds), by="subject").digest
    moved = Fold(train=fold.train[:-1], val=np.sort(np.append(fold.val, fold.train[-1])), test=fold.test)
    others = [moved, split(store.index, Folds(count=3, seed=1)), Fold(train=fold.train, val=fold.test, test=fold.val)]
    assert len({digest, *(summarise_split(store, other, by="subject").digest for other in others)}) == 4


def test_a_store_without_held_out_segments_is_one_part(store: SegmentStore) -> None:
    fold = split(store.index, Folds.model_validate({"index": None, "validation": 0}))
    summary = summarise_split(store, fold, by="subject")
    assert summary.text == f"split {summary.digest}: training 72 segments of 6 people"
    assert (summary.held_out_people, summary.shared_people) == (0, 0)


def test_a_calibration_is_in_the_line_and_is_no_warning(store: SegmentStore) -> None:
    folds = Folds(count=3, calibration_minutes=0.05)
    summary = summarise_split(store, split(store.index, folds), by="subject", calibration_minutes=0.05)
    assert summary.shared_people == 2
    assert summary.text.endswith(
        "; the first 0.05 min of each test recording train, and no other segments of a test subject"
    )
    assert summary.warning is None
