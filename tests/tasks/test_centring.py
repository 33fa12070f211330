"""Means of people: numbers of people and leads, and what is printed about their segments."""

import numpy as np
import pandas as pd
import pytest

from emotune.tasks.centring import describe_means, mean_by_person, person_numbers


def index_of(segments: dict[tuple[str, str], int]) -> pd.DataFrame:
    """Return an index with a number of segments of each person and lead."""
    rows = [("c", subject, lead) for (subject, lead), count in segments.items() for _ in range(count)]
    return pd.DataFrame(rows, columns=["corpus", "subject", "channel"])


def test_people_of_two_corpora_and_leads_of_a_person_have_different_numbers() -> None:
    index = index_of({("a", "I"): 2, ("a", "II"): 2, ("b", "I"): 1})
    index = pd.concat([index, index.assign(corpus="d")], ignore_index=True)
    number = person_numbers(index)
    assert len(np.unique(number)) == 6
    assert (number[0], number[2]) == (number[1], number[3])


def test_the_mean_of_each_person_is_that_of_pandas() -> None:
    random = np.random.default_rng(0)
    vectors, people = random.normal(size=(40, 3)), np.repeat(np.arange(8), 5)
    expected = pd.DataFrame(vectors).groupby(people).mean().to_numpy()
    np.testing.assert_allclose(mean_by_person(vectors, people=people), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("segments", "line", "warning"),
    [
        ({("a", "all"): 12, ("b", "all"): 30}, "the mean of each person is over 12 to 30 segments, with", ""),
        ({("a", "I"): 12, ("a", "II"): 12}, "the mean of each person and lead is over 12 segments, with", ""),
        ({("a", "all"): 12, ("b", "all"): 1}, "over 1 to 12 segments", "warning: 1 of 2 means are over fewer than 10"),
    ],
)
def test_the_segments_of_the_means_are_printed_with_a_warning_if_they_are_few(
    segments: dict[tuple[str, str], int], line: str, warning: str
) -> None:
    index = index_of(segments)
    first, *others = describe_means(index, rows=np.arange(len(index)))
    assert line in first
    assert "".join(others).startswith(warning)
    assert bool(others) is bool(warning)
