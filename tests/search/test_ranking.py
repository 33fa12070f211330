"""Promises about the incumbent: one rule, one tie-break, and the same answer in every view of a search."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.cli.actions.display import SearchDisplay
from emotune.report.journal_tables import incumbents, leaderboard
from emotune.search.history import key_of
from emotune.search.ranking import Result, best, rank
from emotune.search.records import Ended, Evaluation, Opened, Record, Started
from emotune.study.results import evaluation_results, find_best, status_document
from emotune.study.study import Study
from emotune.study.warm_start import with_earlier
from emotune.tracking.mlflow_content import SUMMARY, MlflowContent, RunUpdates

SPACE = {"hyperparameters": [{"name": "optim.lr", "type": "uniform_float", "lower": 1e-6, "upper": 1.0}]}
objectives = st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0, math.inf, math.nan]), st.floats(-9, 9))


def evaluation(number: int, *, config_id: int, to_epoch: int) -> Evaluation:
    values: dict[str, Any] = {"optim.lr": (config_id + 1) / 100}
    span = {"bracket": 0, "rung": 0, "from_epoch": 0, "to_epoch": to_epoch}
    return Evaluation(id=number, config_id=config_id, values=values, origin="random", **span)


@st.composite
def results(draw: st.DrawFn) -> list[tuple[Evaluation, float | None]]:
    rows = draw(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([1, 3, 9]), objectives), max_size=12))
    return [
        (evaluation(number, config_id=config_id, to_epoch=to_epoch), objective)
        for number, (config_id, to_epoch, objective) in enumerate(rows)
    ]


@given(results(), st.sampled_from(["min", "max"]), st.randoms(use_true_random=False))
def test_the_best_result_is_the_smallest_rank_in_any_order(rows: list[Any], mode: str, chance: Any) -> None:
    incumbent = best(rows, mode=mode)
    finite = [Result(*row) for row in rows if row[1] is not None and math.isfinite(row[1])]
    if incumbent is None:
        assert finite == []
        return
    assert incumbent in finite
    assert incumbent.evaluation.to_epoch == max(row[0].to_epoch for row in finite)
    rivals = [row for row in finite if row[0].to_epoch == incumbent.evaluation.to_epoch]
    assert incumbent.objective == (min if mode == "min" else max)(row[1] for row in rivals)
    assert incumbent.evaluation.id == min(row[0].id for row in rivals if row[1] == incumbent.objective)
    chance.shuffle(rows)
    assert best(rows, mode=mode) == incumbent
    assert all(rank(incumbent, mode=mode) <= rank(row, mode=mode) for row in finite)


def search_with_ties(mode: str) -> tuple[Study, list[Record]]:
    """Return a search whose three best results are equal; the evaluation decided first ends last."""
    study = Study.model_validate(
        {
            "base": {"epochs": 3, "optim": {"warmup_epochs": 0}},
            "budget": {"min": 1, "max": 3},
            "space": SPACE,
            "objective": {"mode": mode},
        }
    )
    about = {"name": "ties", "study": study.as_document(), "digest": "abc", "seed": 0, "concurrency": 3}
    records: list[Record] = [Opened(time=0.0, software={}, **about)]
    first_rung = [(0, 1, None), (1, 1, 0.2), (2, 1, 0.3), (3, 1, 0.1), (4, 1, 0.1)]
    decided = [*first_rung, (3, 3, 0.5), (1, 3, 0.5), (2, 3, 0.5)]
    for number, (config_id, to_epoch, _) in enumerate(decided):
        started = evaluation(number, config_id=config_id, to_epoch=to_epoch)
        records.append(Started(time=1.0 + number, evaluation=started))
    for number, (config_id, _, objective) in reversed(list(enumerate(decided))):
        status = "failed" if objective is None else "done"
        end = {"status": status, "objective": objective, "seconds": 1.0}
        records.append(Ended(time=9.0, evaluation_id=number, config_id=config_id, **end))
    return study, records


@pytest.mark.parametrize("mode", ["min", "max"])
def test_every_view_of_a_search_with_ties_names_the_same_configuration(mode: str) -> None:
    study, records = search_with_ties(mode)
    display, content = SearchDisplay(study, name="ties"), MlflowContent(kind="configuration", provenance={})
    changes: RunUpdates = {}
    for record in records:
        display.update(record)
        content.add(record, changes)
    incumbent = find_best(evaluation_results(records), mode=mode)
    assert incumbent is not None
    assert (incumbent.config_id, incumbent.epochs, incumbent.objective) == (3, 3, 0.5)
    assert status_document(records, alive=False)["best"]["config_id"] == 3
    assert leaderboard(records).loc[0, "config"] == 3
    assert leaderboard(records)["config"].tolist() == [3, 1, 2, 4, 0]
    assert incumbents(records).iloc[-1][["epochs", "objective"]].tolist() == [3, 0.5]
    assert "configuration 3, epoch 3" in display.describe_best()
    assert content.best is not None
    assert content.best.evaluation.config_id == 3
    assert dict((name, value) for name, value, *_ in changes[SUMMARY].metrics)["incumbent/epochs"] == 3
    first, *_ = with_earlier(study, sources={"ties": records}).earlier
    assert key_of(first) == key_of(incumbent.values)
