"""The numbers about a store are those of its index and of what was left out."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.data.description import balance_labels, describe
from emotune.data.recording import Exclusion
from emotune.data.store import SegmentStore
from emotune.tasks.classify import Classify


def index_of(*recordings: tuple[str, str, float, int], scale: tuple[float, float] = (1.0, 9.0)) -> pd.DataFrame:
    """Rows of recordings given as corpus, subject, arousal and number of segments."""
    rows = []
    for number, (corpus, subject, rating, count) in enumerate(recordings):
        row = {"corpus": corpus, "subject": subject, "session": f"v{number}", "channel": "all", "condition": ""}
        row |= {"rating_valence": np.nan, "rating_arousal": rating}
        row |= {"lowest_arousal": scale[0], "highest_arousal": scale[1]}
        rows += [row] * count
    return pd.DataFrame(rows)


def test_a_description_can_be_written_as_json(store: SegmentStore) -> None:
    document = json.loads(json.dumps(dataclasses.asdict(describe(store))))
    assert (document["segments"], document["subjects"], document["rate"], document["channels"]) == (72, 6, 128, ["ecg"])
    assert (document["corpus"], document["recordings"], document["hours"]) == ("synthetic", 24, 0.2)
    assert sum(document["conditions"].values()) == 72
    assert document["ratings"] == {"arousal": 72, "valence": 72}
    assert document["leads"] == {"ECG": 72}
    assert document["fingerprint"] == store.fingerprint
    (share,) = document["corpora"]
    assert (share["corpus"], share["subjects"], share["recordings"], share["segments"]) == ("synthetic", 6, 24, 72)
    assert share["recorded_hours"] == pytest.approx(24 * 35 / 3600, abs=1e-4)
    assert share["settings"]["subjects"] == 6


def test_the_balance_of_a_rating() -> None:
    # The mean is over recordings (5), the shares over segments; long recordings do not move the mean.
    index = index_of(("a", "s1", 2.0, 10), ("a", "s1", 5.0, 4), ("a", "s2", 8.0, 6))
    (balance,) = balance_labels(index)
    assert (balance.corpus, balance.rating, balance.scale) == ("a", "arousal", (1.0, 9.0))
    assert (balance.segments, balance.subjects, balance.recordings) == (20, 2, 3)
    assert (balance.mean, balance.above_mean, balance.above_middle, balance.at_middle) == (5.0, 0.3, 0.3, 0.2)


def test_labels_are_counted_per_corpus_with_its_scale_and_mean() -> None:
    ours = index_of(("a", "s1", 6.0, 1), ("a", "s1", 7.0, 1))
    theirs = index_of(("b", "s1", 0.0, 3), ("b", "s1", -2.0, 1), scale=(-3.0, 3.0))
    first, second = balance_labels(pd.concat([ours, theirs], ignore_index=True))
    assert (first.mean, first.above_mean, first.above_middle) == (6.5, 0.5, 1.0)
    assert (second.mean, second.above_mean, second.above_middle, second.at_middle) == (-1.0, 0.75, 0.0, 0.75)


@given(st.lists(st.tuples(st.floats(1, 9), st.integers(1, 5)), min_size=2, max_size=12))
def test_high_ratings_are_those_that_are_learnt_as_high(recordings: list[tuple[float, int]]) -> None:
    index = index_of(*(("a", "s1", rating, count) for rating, count in recordings))
    (balance,) = balance_labels(index)
    if 0 < balance.above_mean < 1:
        assert balance.above_mean == pytest.approx(Classify().labels(index).mean(), abs=1e-4)


def test_corpora_are_described_apart_and_exclusions_counted_by_reason(store: SegmentStore) -> None:
    index = store.index.copy()
    index.loc[index.index >= 60, "corpus"] = "other"
    index.loc[index.index >= 60, "subject"] = index["subject"].iloc[0]
    (source,) = store.about.sources
    left_out = (
        Exclusion(what="a", reason="too short"),
        Exclusion(what="b", reason="dead"),
        Exclusion("c", "too short"),
    )
    sources = (source, source.model_copy(update={"corpus": "other", "left_out": left_out}))
    about = store.about.model_copy(update={"sources": sources})
    description = describe(dataclasses.replace(store, index=index, about=about))
    assert [(share.corpus, share.subjects, share.segments, share.left_out) for share in description.corpora] == [
        ("synthetic", 5, 60, 0),
        ("other", 1, 12, 3),
    ]
    assert (description.corpus, description.subjects, description.segments) == ("synthetic, other", 6, 72)
    assert description.left_out == {"too short": 2, "dead": 1}
    assert description.skipped == ("a: too short", "b: dead", "c: too short")
