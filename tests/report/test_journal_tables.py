"""The tables agree with the journal."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.report.journal_tables import (
    held_out_scores,
    incumbents,
    leaderboard,
    learning_curves,
    random_search,
    rank_agreement,
    trivial_baselines,
)
from emotune.search.records import Ended, EpochDone, Evaluation, Opened, Record, Started
from emotune.study.results import evaluation_results, find_best
from tests.support.journals import synthetic_search


def test_the_leaderboard_lists_the_best_first_and_failures_last(records: list[Record]) -> None:
    table = leaderboard(records)
    assert list(table["config"]) == [0, 2, 1, 3, 5, 4]
    assert list(table["epochs"]) == [2, 2, 2, 2, 1, 0]
    assert list(table["seconds"]) == [6.0, 6.0, 6.0, 6.0, 3.0, 3.0]
    assert set(table["origin"]) == {"random"}
    assert table.loc[0, "optim.lr"] == 0.1
    assert table.loc[5, "status"] == "failed"


def searches(mode: str) -> st.SearchStrategy[list[Record]]:
    results = st.lists(
        st.tuples(st.integers(0, 6), st.integers(1, 3), st.none() | st.floats(-9, 9)),
        unique_by=lambda result: result[:2],
    )
    return results.map(lambda drawn: _journal(drawn, mode=mode))


def _journal(results: list[tuple[int, int, float | None]], *, mode: str) -> list[Record]:
    study = {"objective": {"metric": "val/loss", "mode": mode}}
    records: list[Record] = [Opened(time=0.0, name="x", study=study, digest="d", seed=0, concurrency=1, software={})]
    for number, (config, epochs, objective) in enumerate(sorted(results, key=lambda result: result[1])):
        evaluation = Evaluation(
            id=number, config_id=config, bracket=0, rung=epochs - 1, from_epoch=epochs - 1, to_epoch=epochs,
            values={"lr": config}, origin="random",
        )  # fmt: skip
        records.append(Started(time=0.0, evaluation=evaluation))
        status = "failed" if objective is None else "done"
        records.append(
            Ended(
                time=0.0,
                evaluation_id=number,
                config_id=config,
                status=status,
                objective=objective,
                seconds=1.0,
            )
        )
    return records


@pytest.mark.parametrize("mode", ["min", "max"])
@given(data=st.data())
def test_leaderboard_and_incumbent_agree_with_the_best(mode: str, data: st.DataObject) -> None:
    records = data.draw(searches(mode))
    best = find_best(evaluation_results(records), mode=mode)
    table, curve = leaderboard(records), incumbents(records)
    assert len(table) == len({record.evaluation.config_id for record in records if isinstance(record, Started)})
    if best is None:
        assert curve.empty
        return
    assert (table.loc[0, "epochs"], table.loc[0, "objective"]) == (best.epochs, best.objective)
    assert (curve["epochs"].iloc[-1], curve["objective"].iloc[-1]) == (best.epochs, best.objective)
    assert curve["trained"].is_monotonic_increasing


def test_curves_contain_each_finite_value_once(records: list[Record]) -> None:
    curves = learning_curves(records)
    reported = sum(
        value is not None for record in records if isinstance(record, EpochDone) for value in record.metrics.values()
    )
    assert len(curves) == reported
    assert not curves.duplicated(["config", "epoch", "metric"]).any()


def test_rank_agreement_is_the_correlation_of_spearman(records: list[Record]) -> None:
    table = rank_agreement(records)
    assert table.loc[0, ["fewer", "more", "configurations"]].tolist() == [1, 2, 4]
    # ranks 1 2 3 4 and 1 3 2 4: 1 - 6 * 2 / (4 * 15)
    assert math.isclose(table["spearman"].iloc[0], 0.8)


def test_rank_agreement_of_two_configurations_is_missing(records: list[Record]) -> None:
    table = rank_agreement([record for record in records if getattr(record, "config_id", 0) in (0, 1)])
    assert table["configurations"].tolist() == [2]
    assert pd.isna(table["spearman"]).all()


def test_held_out_scores_are_the_last_ones(records: list[Record]) -> None:
    scores = held_out_scores(records).set_index("config")["value"]
    assert scores.loc[0] == 0.52
    assert scores.loc[5] == 0.51


def test_the_random_search_is_the_expected_best_of_as_many_draws() -> None:
    records = synthetic_search(configurations=60)
    table = random_search(records)
    random = {record.evaluation.config_id for record in records if isinstance(record, Started)}
    values = sorted(
        result.objective
        for result in evaluation_results(records)
        if result.status == "done" and result.objective is not None and result.evaluation.to_epoch == 27
        and result.evaluation.config_id in random
        and any(other.evaluation.config_id == result.evaluation.config_id and other.evaluation.origin == "random"
                for other in evaluation_results(records))
    )  # fmt: skip
    assert math.isclose(table["objective"].iloc[0], sum(values) / len(values))
    best_of_two = sum(min(first, second) for first in values for second in values) / len(values) ** 2
    assert math.isclose(table["objective"].iloc[1], best_of_two)
    assert table["trained"].tolist()[:3] == [27, 54, 81]
    assert table["objective"].is_monotonic_decreasing


def test_a_random_search_needs_no_curve_of_random_search() -> None:
    assert random_search(synthetic_search(configurations=12, kind="random")).empty


def test_trivial_baselines_are_those_of_the_journal() -> None:
    baselines = trivial_baselines(synthetic_search(configurations=3))
    assert baselines == {"predicting zero": 1.03, "linear interpolation": 0.71}
