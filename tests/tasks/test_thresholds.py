"""Labels from ratings: which threshold each segment has, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.errors import DataError
from emotune.tasks import Classify
from emotune.tasks.thresholds import Threshold, high_shares, thresholds

RATINGS = {
    ("amigos", "a"): [7.0, 5.0, 6.0, 8.0],
    ("amigos", "b"): [4.0, 2.0, 3.0, 9.0],
    ("dreamer", "a"): [1.0, 5.0, 2.0, 4.0],
}


def table(ratings: dict[tuple[str, str], list[float]]) -> pd.DataFrame:
    """Return an index with a recording per rating; the recording number v has v + 1 segments."""
    rows = [
        {
            "corpus": corpus,
            "subject": subject,
            "session": f"v{video}",
            "condition": "",
            "rating_arousal": rating,
            "lowest_arousal": 1.0,
            "highest_arousal": 9.0 if corpus == "amigos" else 5.0,
        }
        for (corpus, subject), values in ratings.items()
        for video, rating in enumerate(values)
        for _ in range(video + 1)
    ]
    return pd.DataFrame(rows)


INDEX = table(RATINGS)


def limits(of: str, **more: np.ndarray) -> dict[tuple[str, str], set[float]]:
    values = thresholds(INDEX, rating="arousal", threshold=Threshold.model_validate({"of": of}), **more)
    groups = INDEX.assign(limit=values).groupby(["corpus", "subject"])["limit"]
    return {key: set(np.round(part, 6)) for key, part in groups}  # pyright: ignore[reportReturnType]


def test_the_default_threshold_is_the_mean_of_each_corpus_over_its_recordings() -> None:
    assert Classify().threshold == Threshold(of="corpus")
    assert limits("corpus") == {("amigos", "a"): {5.5}, ("amigos", "b"): {5.5}, ("dreamer", "a"): {3.0}}


def test_one_mean_over_a_pool_makes_the_label_the_corpus_and_the_default_does_not() -> None:
    pooled, default = (high_shares(INDEX, task.labels(INDEX)) for task in (Classify(threshold="mean"), Classify()))
    assert pooled["amigos"][0] - pooled["dreamer"][0] > 0.3
    assert abs(default["amigos"][0] - default["dreamer"][0]) < 0.3
    assert default["dreamer"][1] == 10


def test_thresholds_per_subject_and_at_the_middle_of_the_scale() -> None:
    assert limits("subject") == {("amigos", "a"): {6.5}, ("amigos", "b"): {4.5}, ("dreamer", "a"): {3.0}}
    assert limits("scale_midpoint") == {("amigos", "a"): {5.0}, ("amigos", "b"): {5.0}, ("dreamer", "a"): {3.0}}


def test_the_threshold_of_a_training_fold_reads_no_rating_of_other_segments() -> None:
    train = np.flatnonzero((INDEX["subject"] == "a") & (INDEX["session"] != "v0"))
    expected = {("amigos", "a"): {6.333333}, ("amigos", "b"): {6.333333}, ("dreamer", "a"): {3.666667}}
    assert limits("training_fold", train=train) == expected
    changed = INDEX.assign(rating_arousal=np.where(INDEX.index.isin(train), INDEX["rating_arousal"], 9.0))
    kind = Threshold(of="training_fold")
    assert np.array_equal(
        thresholds(changed, rating="arousal", threshold=kind, train=train),
        thresholds(INDEX, rating="arousal", threshold=kind, train=train),
    )
    with pytest.raises(DataError, match=r"the fold has no rated training segment of dreamer"):
        thresholds(INDEX, rating="arousal", threshold=kind, train=np.flatnonzero(INDEX["corpus"] == "amigos"))


@given(factor=st.floats(0.1, 10), shift=st.floats(-50, 50))
def test_labels_do_not_depend_on_the_scale_of_a_corpus(factor: float, shift: float) -> None:
    scaled = INDEX["rating_arousal"] * factor + shift
    other = INDEX.assign(rating_arousal=np.where(INDEX["corpus"] == "dreamer", scaled, INDEX["rating_arousal"]))
    assert np.array_equal(Classify().labels(other), Classify().labels(INDEX))


def test_a_store_without_the_ratings_is_refused_with_the_settings_that_use_what_it_has() -> None:
    index = INDEX.assign(rating_arousal=np.nan, rating_valence=5.0)
    index["condition"] = np.where(index["session"] == "v0", "rest", "arithmetic")
    with pytest.raises(DataError) as refused:
        Classify().labels(index)
    assert str(refused.value) == (
        "the store has no ratings of arousal; it has ratings of valence: set task.target to one of them; it has the "
        "conditions 'arithmetic', 'rest': set task.target: condition and task.high to one of them"
    )
    with pytest.raises(DataError, match=r"no ratings of arousal; task\.target needs a rated corpus"):
        Classify().labels(INDEX[["corpus", "subject", "session"]])
    with pytest.raises(DataError, match=r"no scale of arousal"):
        Classify(threshold=Threshold(of="scale_midpoint")).labels(INDEX.drop(columns=["lowest_arousal"]))


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        (["rest", "arithmetic"], ("rest", "arithmetic")),
        (["rest", "arithmetic", "video"], ("not arithmetic", "arithmetic")),
    ],
)
def test_classes_of_conditions_have_the_names_of_the_conditions(conditions: list[str], names: tuple[str, str]) -> None:
    assert Classify(target="condition", high="arithmetic").class_names(conditions) == names
    assert Classify().class_names(conditions) == ("low", "high")
