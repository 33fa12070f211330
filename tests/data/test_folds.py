import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from emotune.data.folds import Fold, Folds, split
from emotune.data.named_people import NamedPeople
from emotune.errors import SettingsError


def table(sizes: list[int]) -> pd.DataFrame:
    subjects = np.repeat([f"s{number}" for number in range(len(sizes))], sizes)
    shuffled = np.random.default_rng(len(sizes)).permutation(subjects)
    channels = np.resize(["ECG Left", "ECG Right"], len(subjects))
    second = np.arange(len(subjects)) // 2
    sessions = np.array([f"v{number}" for number in second % 3])
    return pd.DataFrame(
        {"corpus": "made up", "subject": shuffled, "session": sessions, "start": 10.0 * second, "channel": channels}
    )


@st.composite
def tables(draw: st.DrawFn) -> tuple[pd.DataFrame, Folds, np.ndarray | None]:
    index = table(draw(st.lists(st.integers(1, 12), min_size=4, max_size=15)))
    count = draw(st.integers(2, index["subject"].nunique()))
    folds = Folds(
        count=count,
        index=draw(st.integers(0, count - 1)),
        validation=draw(st.sampled_from([0.0, 0.2, 0.5, 0.9])),
        seed=draw(st.integers(0, 5)),
    )
    labels = np.random.default_rng(draw(st.integers(0, 5))).integers(0, 2, len(index)).astype(float)
    return index, folds, draw(st.sampled_from([None, labels]))


def sides(index: pd.DataFrame, fold: Fold) -> list[set[str]]:
    return [set(index["subject"].iloc[rows]) for rows in (fold.train, fold.val, fold.test)]


@given(tables())
def test_each_subject_is_on_one_side_and_each_row_is_used(case: tuple) -> None:
    index, folds, labels = case
    fold = split(index, folds, labels=labels)
    train, val, test = sides(index, fold)
    assert not train & val
    assert not train & test
    assert not val & test
    assert sorted([*fold.train, *fold.val, *fold.test]) == list(range(len(index)))
    assert train
    assert test
    assert bool(val) == (folds.validation > 0)


@given(tables())
def test_the_test_sets_hold_every_row_once_and_everybody_evenly(case: tuple) -> None:
    index, folds, labels = case
    tests = [split(index, folds.model_copy(update={"index": n}), labels=labels).test for n in range(folds.count)]
    assert sorted(np.concatenate(tests)) == list(range(len(index)))
    people = [index["subject"].iloc[rows].nunique() for rows in tests]
    assert max(people) - min(people) <= 1


@given(tables())
def test_equal_settings_give_equal_folds(case: tuple) -> None:
    index, folds, labels = case
    first, second = (split(index, folds, labels=labels) for _ in range(2))
    assert first.train.tolist() == second.train.tolist()
    assert first.val.tolist() == second.val.tolist()
    assert first.test.tolist() == second.test.tolist()


@given(tables(), st.integers(1, 60))
def test_a_share_of_the_training_segments_is_even_over_subjects(case: tuple, wanted: int) -> None:
    index, folds, labels = case
    whole = split(index, folds, labels=labels)
    part = split(index, folds.model_copy(update={"segments": wanted}), labels=labels)
    assert set(part.train) <= set(whole.train)
    assert len(part.train) == min(wanted, len(whole.train))
    assert part.val.tolist() == whole.val.tolist()
    assert part.test.tolist() == whole.test.tolist()
    taken = index["subject"].iloc[part.train].value_counts()
    for subject, available in index["subject"].iloc[whole.train].value_counts().items():
        assert taken.get(subject, 0) >= min(available, taken.max() - 1)


def test_labels_are_spread_over_the_folds() -> None:
    index = table([10] * 20)
    high = index["subject"].isin([f"s{number}" for number in range(10)]).to_numpy().astype(float)
    for number in range(5):
        fold = split(index, Folds(index=number), labels=high)
        assert high[fold.test].mean() == pytest.approx(0.5)
        assert 0.2 < high[fold.val].mean() < 0.8


def test_rows_without_a_label_are_left_out() -> None:
    index = table([4] * 8)
    labels = np.where(np.arange(32) % 3 == 0, np.nan, 1.0)
    fold = split(index, Folds(), labels=labels)
    used = np.concatenate([fold.train, fold.val, fold.test])
    assert sorted(used) == np.flatnonzero(~np.isnan(labels)).tolist()


def test_another_seed_gives_another_partition() -> None:
    index = table([3] * 15)
    assert len({tuple(split(index, Folds(seed=seed)).test) for seed in range(6)}) > 1


def test_two_corpora_may_use_the_same_name_for_different_people() -> None:
    index = pd.concat([table([3] * 3), table([3] * 3).assign(corpus="other")], ignore_index=True)
    assert len(split(index, Folds(count=6)).test) == 3


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (Folds(count=5), "5 folds by subject need at least 5 subjects, but the data have 4"),
        (Folds(count=3, index=3), "folds.index: 3 was given; 3 folds are numbered from 0 to 2"),
    ],
)
def test_the_impossible_is_refused_with_numbers(folds: Folds, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        split(table([2] * 4), folds)


def test_validation_segments_are_drawn_evenly_over_their_subjects() -> None:
    index = table([30] * 10)
    few = split(index, Folds(validation=0.4, validation_segments=7))
    everything = split(index, Folds(validation=0.4))
    assert set(few.val) < set(everything.val)
    assert sorted(index.iloc[few.val]["subject"].value_counts()) == [2, 2, 3]
    assert np.array_equal(few.train, everything.train)


def test_one_arm_can_be_chosen() -> None:
    index = table([8] * 6)
    fold = split(index, Folds(count=3, channels=("ECG Left",)))
    rows = sorted([*fold.train, *fold.val, *fold.test])
    assert rows == np.flatnonzero(index["channel"] == "ECG Left").tolist()
    with pytest.raises(SettingsError, match="no channel II; they have ECG Left, ECG Right"):
        split(index, Folds(channels=("II", "ECG Left")))


def two_arms(*, people: int = 4, videos: int = 5, segments: int = 6) -> pd.DataFrame:
    axes = [[f"s{n}" for n in range(people)], [f"v{n}" for n in range(videos)], 10.0 * np.arange(segments)]
    index = pd.MultiIndex.from_product([*axes, ["left", "right"]], names=["subject", "session", "start", "channel"])
    return index.to_frame(index=False).assign(corpus="amigos")


TOGETHER = {
    "subject": ["subject"],
    "trial": ["subject", "session"],
    "video": ["session"],
    "moment": ["subject", "session", "start"],
}


@given(st.sampled_from(sorted(TOGETHER)), st.integers(0, 9), st.integers(0, 3))
def test_what_belongs_together_is_on_one_side(by: str, seed: int, number: int) -> None:
    index = two_arms()
    labels = np.random.default_rng(seed).integers(0, 2, len(index)).astype(float)
    folds = Folds.model_validate({"by": by, "count": 4, "index": number, "seed": seed})
    fold = split(index, folds, labels=labels)
    side = np.zeros(len(index))
    for code, rows in enumerate((fold.train, fold.val, fold.test)):
        side[rows] = code
    assert sorted([*fold.train, *fold.val, *fold.test]) == list(range(len(index)))
    assert (index.assign(side=side).groupby(TOGETHER[by])["side"].nunique() == 1).all()
    assert len(fold.train) > 0 < len(fold.test)


def test_a_moment_is_in_the_same_fold_in_every_store() -> None:
    index = two_arms()
    part = index[(index["channel"] == "left") & (index["session"] != "v2")].reset_index(drop=True)
    for number in range(5):
        folds = Folds(by="moment", index=number, validation=0)
        whole, few = (
            set(map(tuple, table.iloc[split(table, folds).test][["subject", "session", "start"]].to_numpy()))
            for table in (index, part)
        )
        assert few == {moment for moment in whole if moment[1] != "v2"}


def test_the_two_encoders_of_the_paper_never_see_what_they_are_tested_on() -> None:
    index = pd.concat([two_arms(), two_arms().assign(corpus="dreamer")], ignore_index=True)
    labels = np.where(index["corpus"] == "amigos", 1.0, np.nan)
    seen = {}
    for half in ("first", "second"):
        without = {"corpus": "amigos", "half": half}
        folds = Folds.model_validate({"count": 10, "index": None, "validation": 0, "without": without})
        fold = split(index, folds)
        assert not len(fold.test)
        seen[half] = set(fold.train)
        assert set(np.flatnonzero(index["corpus"] == "dreamer")) < seen[half]
    for number in range(10):
        test = split(index, Folds(by="moment", count=10, index=number, validation=0), labels=labels).test
        mine, other = ("first", "second") if number < 5 else ("second", "first")
        assert not seen[mine] & set(test)
        assert seen[other] >= set(test)


def test_a_corpus_that_is_not_there_cannot_be_left_out() -> None:
    folds = Folds.model_validate({"without": {"corpus": "amigo", "half": "first"}})
    with pytest.raises(SettingsError, match="no corpus 'amigo'; they have amigos"):
        split(two_arms(), folds)


def test_a_lead_that_is_missing_here_and_there_changes_no_fold_by_subject() -> None:
    index = two_arms(people=12)
    labels = np.random.default_rng(0).integers(0, 2, len(index) // 2).repeat(2).astype(float)
    some = np.random.default_rng(1).random(len(index)) > 0.3
    some[::2] = True
    for number in range(4):
        folds = Folds(count=4, index=number)
        whole = split(index, folds, labels=labels)
        other = split(index, folds, labels=labels, among=some)
        assert set(other.test) == set(whole.test) & set(np.flatnonzero(some))


def named(test: list[str], *, train: list[str] | None = None, **more: object) -> Folds:
    people = {"test": {"subjects": test}, "train": None if train is None else {"subjects": train}}
    return Folds.model_validate(people | more)


@given(st.sampled_from(sorted(TOGETHER)), st.booleans(), st.sampled_from([0.0, 0.2, 0.5]), st.integers(0, 5))
def test_named_people_are_tested_and_no_other_side_has_them(
    by: str, listed: bool, validation: float, seed: int
) -> None:
    index = two_arms(people=6)
    labels = np.random.default_rng(seed).integers(0, 2, len(index)).astype(float)
    folds = named(["s1", "amigos/s4"], train=["s0", "s2"] if listed else None, by=by, validation=validation, seed=seed)
    fold = split(index, folds, labels=labels)
    train, val, test = sides(index, fold)
    assert test == {"s1", "s4"}
    assert train | val == ({"s0", "s2"} if listed else {"s0", "s2", "s3", "s5"})
    assert sorted(fold.test) == np.flatnonzero(index["subject"].isin(["s1", "s4"])).tolist()
    assert len(fold.train) + len(fold.val) == index["subject"].isin(sorted(train | val)).sum()
    assert bool(len(fold.val)) == (validation > 0)
    side = np.full(len(index), -1)
    for code, rows in enumerate((fold.train, fold.val)):
        side[rows] = code
    assert (index.assign(side=side)[side >= 0].groupby(TOGETHER[by])["side"].nunique() == 1).all()


def test_segments_of_named_people_are_chosen_by_lead_and_number() -> None:
    folds = named(["s1"], channels=["left"], segments=7, validation_segments=3)
    fold = split(two_arms(people=6), folds)
    assert (len(fold.train), len(fold.val), len(fold.test)) == (7, 3, 30)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (named(["amigos/s11"]), "folds.test: the data have no subject 'amigos/s11'. Did you mean 'amigos/s1'"),
        (named(["s1"], train=["nobody"]), "folds.train: the data have no subject 'nobody'; they have amigos/s0"),
        (named(["s1", "s2"], train=["s0", "amigos/s2"]), "folds.train and folds.test both name amigos/s2"),
        (named(["s0", "s1", "s2", "s3"]), "folds.test leaves 0 subjects to train and validate on, expected at least 2"),
        (named(["s0", "s1", "s2"]), "folds.test leaves 1 subject to .* name fewer people to test"),
        (named(["s0"], train=["s1"]), "folds.train leaves 1 subject to .* name more people"),
        (named(["s3"], channels=["left"]), "folds.test: no segment of amigos/s3 can be used"),
    ],
)
def test_wrong_names_and_empty_sides_are_refused(folds: Folds, message: str) -> None:
    index = two_arms(people=4)
    labels = np.where((index["subject"] == "s3") & (index["channel"] == "left"), np.nan, 1.0)
    with pytest.raises(SettingsError, match=message):
        split(index, folds, labels=labels if folds.channels else None)


def test_the_splits_of_the_manifest_are_the_sides() -> None:
    index = two_arms(people=6)
    splits = index["subject"].map({"s1": "test", "s4": "test", "s2": "spare"})
    people = Folds.model_validate({"test": {"split": "test"}, "validation": 0})
    train, _, test = sides(index, split(index.assign(split=splits), people))
    assert (train, test) == ({"s0", "s2", "s3", "s5"}, {"s1", "s4"})
    unlabelled = np.where(index["subject"] == "s4", np.nan, 1.0)
    fold = split(index.assign(split=splits), people, labels=unlabelled)
    assert sides(index, fold)[2] == {"s1"}, "rows without a label are in no set"
    mixed = splits.where((index["subject"] != "s4") | (index["session"] != "v0"))
    for table, message in (
        (index, "folds.test.split: 'test' was given, but the data have no splits; add a column split"),
        (index.assign(split="tst"), "the data have no split 'test'. Did you mean 'tst'"),
        (index.assign(split=mixed), "recordings of amigos/s4 are in split 'test' and outside of it"),
    ):
        with pytest.raises(SettingsError, match=message):
            split(table, people)


def test_a_name_in_two_corpora_needs_the_corpus() -> None:
    index = pd.concat([two_arms(), two_arms().assign(corpus="dreamer")], ignore_index=True)
    with pytest.raises(SettingsError, match="type one of amigos/s1, dreamer/s1"):
        split(index, named(["s1"]))
    test = split(index, named(["dreamer/s1"])).test
    assert set(index["corpus"].iloc[test]) == {"dreamer"}


def test_all_people_of_a_corpus_test_and_those_of_another_train() -> None:
    index = pd.concat([two_arms().assign(corpus=name) for name in ("amigos", "case", "dreamer")], ignore_index=True)
    folds = Folds.model_validate({"test": {"corpora": ["dreamer"]}, "train": {"corpora": ["amigos"]}})
    parts = split(index, folds)
    for rows, corpus in ((parts.train, "amigos"), (parts.val, "amigos"), (parts.test, "dreamer")):
        assert set(index["corpus"].iloc[rows]) == {corpus}
    everybody_else = split(index, Folds.model_validate({"test": {"corpora": ["dreamer"]}}))
    assert set(index["corpus"].iloc[everybody_else.train]) == {"amigos", "case"}
    with pytest.raises(SettingsError, match=r"folds\.test\.corpora: the data have no corpus 'dreamr'.*dreamer"):
        split(index, Folds.model_validate({"test": {"corpora": ["dreamr"]}}))


def test_a_corpus_is_on_one_side_of_every_fold_by_corpus() -> None:
    index = pd.concat([two_arms().assign(corpus=name) for name in ("amigos", "case", "dreamer")], ignore_index=True)
    tested = []
    for number in range(3):
        fold = split(index, Folds(by="corpus", count=3, index=number, validation=0.0))
        train, test = (set(index["corpus"].iloc[rows]) for rows in (fold.train, fold.test))
        assert not train & test
        tested += test
    assert sorted(tested) == ["amigos", "case", "dreamer"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"test": {"corpora": ["a"], "subjects": ["a"]}}, "were given, expected one of them"),
        ({"train": {"subjects": ["a"]}}, "train was given without test"),
        ({"test": {"subjects": ["a"]}, "index": 2}, "index: 2 was given with test"),
        ({"test": {"subjects": ["a"]}, "index": None}, "index: null was given with test"),
        ({"test": {"subjects": []}}, "were given, expected one of them"),
        ({"test": {"subjects": ["a"], "split": "test"}}, "were given, expected one of them"),
        ({"test": {"subjects": [1, 2]}}, "1 is a number, expected the name of a subject; put it in quotes"),
    ],
)
def test_settings_of_people_that_mean_nothing_are_refused(content: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Folds.model_validate(content)


@given(tables(), st.sampled_from([0.2, 0.4, 0.7]), st.booleans())
def test_a_calibration_trains_on_the_first_minutes_of_each_test_recording_and_moves_nothing_else(
    case: tuple, minutes: float, named: bool
) -> None:
    index, folds, labels = case
    if named:
        folds = Folds(test=NamedPeople(subjects=("s0",)), validation=folds.validation)
    before = split(index, folds, labels=labels)
    tested = index.iloc[before.test]
    first = tested.groupby(["subject", "session"])["start"].transform("min")
    moved = before.test[np.asarray(tested["start"] - first) < 60 * minutes]
    kept = np.setdiff1d(before.test, moved)
    calibrated = folds.model_copy(update={"calibration_minutes": minutes})
    if set(index["subject"].iloc[kept]) < set(tested["subject"]):
        with pytest.raises(SettingsError, match="a segment after them to test; give fewer minutes"):
            split(index, calibrated, labels=labels)
        return
    after = split(index, calibrated, labels=labels)
    assert after.test.tolist() == kept.tolist()
    assert after.val.tolist() == before.val.tolist()
    assert after.train.tolist() == sorted([*before.train, *moved])


@pytest.mark.parametrize("by", ["trial", "video", "moment"])
def test_a_calibration_to_people_who_are_trained_on_anyway_is_refused(by: str) -> None:
    with pytest.raises(ValidationError, match="give by: subject, or remove calibration_minutes"):
        Folds.model_validate({"by": by, "calibration_minutes": 1})
