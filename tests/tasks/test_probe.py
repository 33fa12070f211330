"""Promises of probes: what they find, what they cannot find, and whose segments and labels they use."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from emotune.data.folds import Fold
from emotune.errors import DataError
from emotune.tasks.centring import centre_by_person
from emotune.tasks.probe import Probe, ProbeData
from emotune.tasks.ridge import PENALTIES, fit_ridge, standardise

PEOPLE, SEGMENTS, WIDTH = 24, 20, 12
FITTED = 16
"""People who fit the probe; the others are scored."""


def people() -> np.ndarray:
    return np.repeat(np.arange(PEOPLE), SEGMENTS)


def probe_data(labels: np.ndarray, *, centred: bool = False) -> ProbeData:
    rows = np.arange(len(labels))
    fitted = people() < FITTED
    return ProbeData(rows[fitted], rows[~fitted], labels, people(), centred=centred)


def planted(random: np.random.Generator, labels: np.ndarray, *, between: float) -> np.ndarray:
    """Return noise with the label in one feature, which also differs between people."""
    embeddings = random.normal(size=(len(labels), WIDTH))
    embeddings[:, 3] += 3 * labels + between * random.normal(size=PEOPLE)[people()]
    return embeddings


def test_a_planted_feature_is_found_in_people_who_did_not_fit() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, size=PEOPLE * SEGMENTS).astype(float)
    scores = probe_data(labels).score(planted(random, labels, between=0.0))
    assert set(scores) == {"accuracy", "macro_f1", "balanced_accuracy"}
    assert scores["macro_f1"] > 0.85


def test_a_feature_hidden_by_differences_between_people_is_found_when_embeddings_are_centred() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, size=PEOPLE * SEGMENTS).astype(float)
    embeddings = planted(random, labels, between=30.0)
    assert probe_data(labels).score(embeddings)["macro_f1"] < 0.7
    assert probe_data(labels, centred=True).score(embeddings)["macro_f1"] > 0.85


@pytest.mark.parametrize("centred", [False, True])
def test_labels_that_name_the_person_score_at_chance(centred: bool) -> None:
    """Embeddings identify each person, and each person has one label: nothing is to be learnt for other people."""
    scores = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        labels = random.permutation(np.arange(PEOPLE) % 2)[people()].astype(float)
        embeddings = 10 * random.normal(size=(PEOPLE, WIDTH))[people()] + random.normal(size=(len(labels), WIDTH))
        scores.append(probe_data(labels, centred=centred).score(embeddings)["accuracy"])
    assert abs(np.mean(scores) - 0.5) < 0.06


def test_scores_do_not_depend_on_the_labels_of_validation_people_until_they_are_compared() -> None:
    random = np.random.default_rng(2)
    labels = random.integers(0, 2, size=PEOPLE * SEGMENTS).astype(float)
    embeddings = planted(random, labels, between=0.0)
    swapped = np.where(people() < FITTED, labels, 1 - labels)
    accuracy = probe_data(labels).score(embeddings)["accuracy"]
    assert probe_data(swapped).score(embeddings)["accuracy"] == pytest.approx(1 - accuracy)


def test_embeddings_that_are_not_finite_have_no_score() -> None:
    labels = (np.arange(PEOPLE * SEGMENTS) % 2).astype(float)
    embeddings = np.full((len(labels), WIDTH), np.inf)
    assert all(np.isnan(value) for value in probe_data(labels).score(embeddings).values())


def test_the_ridge_is_that_of_scikit_learn_with_balanced_weights() -> None:
    random = np.random.default_rng(3)
    labels = (random.uniform(size=200) < 0.2).astype(float) + (random.uniform(size=200) < 0.1)
    features = random.normal(size=(200, WIDTH)) + labels[:, None]
    ridge = fit_ridge(features, labels=labels, people=np.repeat(np.arange(10), 20))
    weights = (200 / (3 * np.bincount(labels.astype(int))))[labels.astype(int)]
    reference = Ridge(alpha=ridge.penalty * 200).fit(features, np.eye(3)[labels.astype(int)], sample_weight=weights)
    np.testing.assert_allclose(ridge.slopes.T, reference.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ridge.intercepts, reference.intercept_, rtol=1e-6)


def test_noise_gets_a_larger_penalty_than_a_signal() -> None:
    random = np.random.default_rng(4)
    labels = random.integers(0, 2, size=PEOPLE * SEGMENTS).astype(float)
    noise = random.normal(size=(len(labels), WIDTH))
    penalties = [
        fit_ridge(standardise(features, features)[0], labels=labels, people=people()).penalty
        for features in (noise, planted(random, labels, between=0.0))
    ]
    assert penalties[0] > penalties[1]
    assert set(penalties) < set(PENALTIES)


def test_centred_embeddings_have_the_mean_zero_for_each_person() -> None:
    embeddings = np.random.default_rng(5).normal(size=(PEOPLE * SEGMENTS, 3))
    centred = centre_by_person(embeddings, people=people())
    for person in range(PEOPLE):
        np.testing.assert_allclose(centred[people() == person].mean(axis=0), 0, atol=1e-12)


def index_of(conditions: dict[str, list[str]]) -> pd.DataFrame:
    rows = [
        {"corpus": "c", "subject": subject, "session": "1", "condition": condition, "rating_valence": np.nan}
        for subject, values in conditions.items()
        for condition in values
    ]
    return pd.DataFrame(rows)


BOTH = ["rest", "arithmetic"]
SETTINGS = Probe(target="condition", high="arithmetic")


def test_people_without_labels_are_not_used() -> None:
    index = index_of({"a": BOTH, "b": BOTH, "c": BOTH, "d": BOTH, "e": ["", ""], "f": ["", ""]})
    fold = Fold(train=np.array([0, 1, 2, 3, 8, 9]), val=np.array([4, 5, 6, 7, 10, 11]), test=np.array([], dtype=int))
    data = SETTINGS.select(index, fold=fold, by="subject")
    assert data.train.tolist() == [0, 1, 2, 3]
    assert data.val.tolist() == [4, 5, 6, 7]
    assert data.text == "task.probe: fitted on 4 segments of 2 people, scored on 4 segments of 2 people with labels"
    few = SETTINGS.model_copy(update={"segments": 3}).select(index, fold=fold, by="subject")
    assert (len(few.train), len(few.val)) == (3, 3)


@pytest.mark.parametrize(
    ("conditions", "val", "complaint"),
    [
        ({"a": BOTH, "b": BOTH, "c": BOTH}, [4, 5], "2 validation segments of 1 people have a label, of 2 classes;"),
        (
            {"a": ["rest"] * 2, "b": ["rest"] * 2, "c": BOTH, "d": BOTH},
            [4, 5, 6, 7],
            "4 training segments of 2 people have a label, of 1 class;",
        ),
        ({"a": BOTH, "b": BOTH, "c": BOTH}, [3, 4, 5], "1 people have training and validation segments with folds.by"),
    ],
)
def test_a_probe_without_enough_people_or_classes_is_refused(
    conditions: dict[str, list[str]], val: list[int], complaint: str
) -> None:
    fold = Fold(train=np.arange(4) if val[0] != 3 else np.arange(3), val=np.array(val), test=np.array([], dtype=int))
    with pytest.raises(DataError, match=complaint) as caught:
        SETTINGS.select(index_of(conditions), fold=fold, by="moment")
    assert "\n" not in str(caught.value)


def test_the_default_threshold_uses_no_rating_of_people_who_do_not_train() -> None:
    index = index_of({name: ["", ""] for name in "abcd"})
    index["session"] = ["1", "2"] * 4
    index["rating_valence"] = [1.0, 3.0, 1.0, 3.0, 1.0, 9.0, 1.0, 9.0]
    fold = Fold(train=np.arange(4), val=np.arange(4, 8), test=np.array([], dtype=int))
    before = Probe(target="valence").select(index, fold=fold, by="subject")
    index["rating_valence"] = [1.0, 3.0, 1.0, 3.0, 99.0, 9.0, 1.0, 9.0]
    after = Probe(target="valence").select(index, fold=fold, by="subject")
    assert before.labels.tolist() == [0, 1] * 4
    assert after.labels.tolist() == [0, 1, 0, 1, 1, 1, 0, 1]


def test_a_refusal_names_the_settings_of_the_probe() -> None:
    index = index_of({"a": BOTH, "b": BOTH})
    fold = Fold(train=np.arange(2), val=np.arange(2, 4), test=np.array([], dtype=int))
    with pytest.raises(DataError, match=r"task\.probe\.high: 'stress' was given"):
        Probe(target="condition", high="stress").select(index, fold=fold, by="subject")
    with pytest.raises(DataError, match=r"set task\.probe\.target: condition and task\.probe\.high to one of them"):
        Probe(target="valence").select(index, fold=fold, by="subject")
