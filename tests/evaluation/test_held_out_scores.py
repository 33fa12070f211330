"""Scores of held-out predictions against values computed by hand, and against scikit-learn where it is installed."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.evaluation.held_out_scores import (
    COLUMNS,
    calibration_error,
    compare_people,
    decisions,
    document_of,
    level_scores,
    roc_auc,
    roc_curve,
)
from emotune.evaluation.statistics import corrected_t_test, paired_t_test


def rows(*trials: tuple[str, str, int, list[float]]) -> pd.DataFrame:
    """Return a table from trials: person, session, label, and q of each segment."""
    content = [
        ("made", person, session, "II", 10.0 * number, 0, label, q, q)
        for person, session, label, values in trials
        for number, q in enumerate(values)
    ]
    return pd.DataFrame(content, columns=list(COLUMNS))


TABLE = rows(
    ("a", "v1", 1, [0.9, 0.4, 0.8]),  # vote and mean: high
    ("a", "v2", 0, [0.6, 0.7, 0.05]),  # vote: high; mean 0.45: low
    ("b", "v1", 1, [0.2, 0.9]),  # a tie: the mean, 0.55, decides
    ("b", "v2", 1, [0.1]),
)


def test_segments_are_scored_by_hand() -> None:
    scores = level_scores(TABLE, level="segments")
    assert scores.count == 9
    assert scores.confusion == {"true_high": 3, "false_high": 2, "true_low": 1, "false_low": 3}
    assert scores.pooled["accuracy"] == pytest.approx(4 / 9)
    assert scores.pooled["macro_f1"] == pytest.approx((6 / 11 + 2 / 7) / 2)
    assert scores.pooled["balanced_accuracy"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    # of 6 x 3 pairs of a high and a low segment, 0.9 0.8 0.9 win all three, and 0.4 0.2 0.1 one each
    assert scores.pooled["auc"] == pytest.approx(12 / 18)


def test_a_person_with_one_label_has_no_auc_and_the_mean_is_over_the_others() -> None:
    scores = level_scores(TABLE, level="segments")
    first, second = scores.people
    assert (first.person, first.count, first.high_share) == ("made/a", 6, 0.5)
    assert first.scores["accuracy"] == pytest.approx(3 / 6)
    assert first.scores["auc"] == pytest.approx(7 / 9)
    assert "auc" not in second.scores
    assert scores.over_people["accuracy"].mean == pytest.approx((3 / 6 + 1 / 3) / 2)
    assert scores.over_people["accuracy"].half_width == pytest.approx(12.7062 * (1 / 6) / 2, rel=1e-4)
    assert scores.over_people["auc"].mean == pytest.approx(7 / 9)
    assert scores.over_people["auc"].half_width is None


def test_trials_are_decided_by_vote_or_by_mean() -> None:
    vote, mean = decisions(TABLE, level="vote"), decisions(TABLE, level="mean")
    for part in (vote, mean):
        assert part.person.tolist() == ["made/a", "made/a", "made/b", "made/b"]
        assert part.label.tolist() == [True, False, True, True]
    assert vote.high.tolist() == [True, True, True, False]
    assert mean.high.tolist() == [True, False, True, False]
    assert vote.score.tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 2, 0])
    assert mean.score.tolist() == pytest.approx([0.7, 0.45, 0.55, 0.1])
    assert level_scores(TABLE, level="vote").pooled["accuracy"] == 0.5
    assert level_scores(TABLE, level="mean").pooled["accuracy"] == 0.75


def test_two_conditions_of_a_session_are_two_trials() -> None:
    table = rows(("a", "whole", 1, [0.9, 0.8]), ("a", "whole", 0, [0.1]))
    assert decisions(table, level="mean").label.tolist() == [False, True]


def test_the_calibration_error_is_that_of_the_bins() -> None:
    # bins of width 0.1: 0.15 and 0.19 (one of two high), 0.95 (high)
    probabilities, labels = np.array([0.15, 0.19, 0.95]), np.array([False, True, True])
    expected = (2 * abs(0.17 - 0.5) + abs(0.95 - 1)) / 3
    assert calibration_error(probabilities, labels=labels) == pytest.approx(expected)
    assert calibration_error(np.array([0.0, 1.0]), labels=np.array([False, True])) == 0
    assert level_scores(TABLE, level="vote").ece is None


def test_the_curve_has_its_corners_only() -> None:
    scores, labels = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([True, True, False, True, False])
    false, true = roc_curve(scores, labels=labels)
    assert false.tolist() == [0, 0, 0.5, 0.5, 1]
    assert true.tolist() == pytest.approx([0, 2 / 3, 2 / 3, 1, 1])


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=40))
def test_the_area_is_that_under_the_curve_and_scikit_learns(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([pair[0] / 8 for pair in pairs]), np.array([pair[1] for pair in pairs])
    area = roc_auc(scores, labels=labels)
    if labels.all() or not labels.any():
        assert area is None
        return
    false, true = roc_curve(scores, labels=labels)
    assert np.trapezoid(true, false) == pytest.approx(area)
    metrics = pytest.importorskip("sklearn.metrics")
    assert metrics.roc_auc_score(labels, scores) == pytest.approx(area)


def test_two_results_are_compared_over_the_people_of_both() -> None:
    def result(shift: float, people: str) -> pd.DataFrame:
        trials = [(person, "v", 1, [0.6 - 0.2 * number + shift, 0.9]) for number, person in enumerate("abcd")]
        return rows(*(trial for trial in trials if trial[0] in people))

    first, second = (level_scores(table, level="segments") for table in (result(0.0, "abcd"), result(0.15, "bcd")))
    comparison = compare_people(first, second, score="accuracy")
    assert comparison is not None
    assert (comparison.people, comparison.only_one) == (3, 1)
    # b rises from 1 of 2 to 2 of 2, c and d stay
    expected = paired_t_test([0.5, 0.5, 0.5], [1.0, 0.5, 0.5])
    assert comparison.test == expected
    assert compare_people(first, second, score="auc") is None


def test_the_corrected_test_is_nadeau_and_bengios() -> None:
    first, second = [0.70, 0.72, 0.71, 0.69, 0.73], [0.73, 0.73, 0.76, 0.72, 0.76]
    # differences .03 .01 .05 .03 .03: mean .03, variance .0002; error sqrt((1/5 + 1/4) .0002) = .0094868
    comparison = corrected_t_test(first, second, test_ratio=1 / 4)
    assert comparison.difference.mean == pytest.approx(0.03)
    assert comparison.t == pytest.approx(3.1623, abs=1e-4)
    assert comparison.p == pytest.approx(0.034, abs=5e-4)
    assert comparison.difference.half_width == pytest.approx(2.776445 * 0.0094868, abs=1e-6)
    plain = paired_t_test(first, second)
    assert plain.p is not None
    assert comparison.p is not None
    assert plain.p < comparison.p
    assert corrected_t_test([0.5], [0.6], test_ratio=1.0).p is None
    assert corrected_t_test([0.5, 0.5], [0.5, 0.5], test_ratio=1.0).p is None


def test_the_document_is_plain_json_for_one_label_too() -> None:
    document = document_of(TABLE[TABLE["subject"] == "b"])
    assert document["roc"] == {"false_positive_rate": [], "true_positive_rate": []}
    assert list(document_of(TABLE)["levels"]) == ["segments", "vote", "mean"]
