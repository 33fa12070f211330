"""The evidence is scored on people who were left out, and its averages stay inside a recording."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.evidence_scores import Variant, averaged, interval, person_scores

PEOPLE, SEGMENTS = 10, 12


def index() -> pd.DataFrame:
    """Return an index with two recordings of each person, the second of which is high."""
    rows = [
        {
            "corpus": "c",
            "subject": f"p{person}",
            "session": condition,
            "condition": condition,
            "start": 5.0 * number,
        }
        for person in range(PEOPLE)
        for condition in ("rest", "arithmetic")
        for number in range(SEGMENTS)
    ]
    return pd.DataFrame(rows)


def macro_f1(values: np.ndarray, *, centred: bool) -> float:
    variant = Variant("", [values], context=False, centred=centred)
    return float(person_scores(variant, index=index()).mean())


def test_a_feature_that_differs_between_people_is_found_when_it_is_centred() -> None:
    random = np.random.default_rng(0)
    table = index()
    person = table["subject"].str[1:].astype(int).to_numpy()
    values = 60 + 12 * random.normal(size=PEOPLE)[person] + 6.0 * (table["condition"] == "arithmetic")
    values = np.asarray(values + random.normal(size=len(table)))[:, None]
    assert macro_f1(values, centred=False) < 0.75
    assert macro_f1(values, centred=True) > 0.95


def test_features_that_name_the_person_are_at_chance() -> None:
    person = index()["subject"].str[1:].astype(int).to_numpy()
    values = np.eye(PEOPLE)[person] + 0.01 * np.random.default_rng(1).normal(size=(len(person), PEOPLE))
    assert max(macro_f1(values, centred=centred) for centred in (False, True)) < 0.6


def test_an_average_is_over_30_s_of_the_recording() -> None:
    table = index()
    values = np.arange(len(table), dtype=float)[:, None]
    values[3] = np.nan
    result = averaged(values, index=table)[:, 0]
    assert result[0] == pytest.approx(np.mean([0, 1, 2]))
    assert result[5] == pytest.approx(np.mean([2, 4, 5, 6, 7]))
    assert result[11] == pytest.approx(np.mean([8, 9, 10, 11]))
    assert result[12] == pytest.approx(np.mean([12, 13, 14]))


def test_an_interval_is_over_people_and_seeds() -> None:
    random = np.random.default_rng(2)
    people, seeds = random.normal(size=(1, 20)), random.normal(size=(5, 1))
    mean, low, high = interval(people + seeds)
    assert low < mean < high
    assert high - low > max(interval(people)[2] - interval(people)[1], 0.5)
