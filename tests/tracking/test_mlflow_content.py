"""The content of MLflow is a pure function of the journal."""

import math

from hypothesis import given
from hypothesis import strategies as st

from emotune.search.records import Extended, Opened, Record
from emotune.study.results import evaluation_results, find_front
from emotune.tracking.description import search_id
from emotune.tracking.mlflow_content import MlflowContent, RunUpdates, run_name
from emotune.tracking.provenance import provenance
from tests.support.journals import synthetic_search, with_sizes
from tests.tracking.conftest import JournalWriter


def updates_of(records: list[Record]) -> RunUpdates:
    content = MlflowContent(kind="configuration", provenance={"python": "3"})
    updates: RunUpdates = {}
    for record in records:
        content.add(record, updates)
    return updates


def test_each_configuration_has_one_run_with_its_epochs_in_steps(records: list[Record]) -> None:
    updates = updates_of(records)
    assert set(updates) == {"search", "0", "1", "2"}
    losses = [(step, value) for key, value, _, step in updates["0"].metrics if key == "val/loss"]
    assert losses == [(1, 0.9), (2, 0.7), (3, 0.8)]
    assert [(step, value) for key, value, _, step in updates["0"].metrics if key == "objective"] == [
        (1, 0.9),
        (3, 0.8),
    ]
    assert updates["0"].params == {"optim.lr": "0.0003", "model.layers": "2"}
    assert updates["0"].tags["emotune.origin"] == "random"
    assert updates["0"].tags["emotune.rung"] == "1"
    assert updates["0"].status == "FINISHED"


def test_a_value_that_is_not_finite_is_a_tag_not_a_metric(records: list[Record]) -> None:
    updates = updates_of(records)
    assert updates["1"].tags["emotune.status"] == "diverged"
    assert updates["2"].tags["emotune.status"] == "failed"
    assert updates["2"].tags["emotune.error"] == "the disk is full"
    assert updates["1"].status == updates["2"].status == "FAILED"
    assert all(math.isfinite(value) for update in updates.values() for _, value, _, _ in update.metrics)
    assert not any(key == "val/loss" for key, *_ in updates["1"].metrics)


def test_the_incumbent_is_the_best_of_those_trained_longest_over_all_epochs(records: list[Record]) -> None:
    points = updates_of(records)["search"].metrics
    assert [(step, value) for key, value, _, step in points if key == "incumbent/val/loss"] == [
        (1, 0.9),
        (5, 0.8),
    ]


def test_an_interruption_ends_the_runs_and_the_next_record_resumes_them(records: list[Record]) -> None:
    cut = next(number for number, record in enumerate(records) if record.kind == "closed") + 1
    assert {key: update.status for key, update in updates_of(records[:cut]).items()} == {
        "search": "KILLED", "0": "KILLED", "1": "FAILED", "2": "FAILED",
    }  # fmt: skip
    resumed = updates_of(records[: cut + 1])
    assert (resumed["search"].status, resumed["0"].status) == ("RUNNING", "RUNNING")


def test_a_pretraining_has_no_summary_run(records: list[Record]) -> None:
    content, updates = MlflowContent(kind="pretrain", provenance={"python": "3"}), RunUpdates()
    for record in records[:2]:
        content.add(record, updates)
    assert set(updates) == {"0"}
    assert updates["0"].name == "demo"
    assert updates["0"].tags["emotune.kind"] == "pretrain"
    assert updates["0"].tags["emotune.python"] == "3"
    assert updates["0"].documents


def test_an_extension_resumes_the_summary_run(records: list[Record]) -> None:
    extended = [*records, Extended(time=records[-1].time + 1, brackets=4, evaluations=None)]
    updates = updates_of(extended)
    assert updates["search"].status == "RUNNING"
    assert updates["search"].tags["emotune.extended"] == "4 brackets"
    assert {key: update.status for key, update in updates.items() if key != "search"} == {
        key: update.status for key, update in updates_of(records).items() if key != "search"
    }


def test_rung_weights_are_logged_when_the_search_is_finished() -> None:
    journal = JournalWriter()
    opened = journal.records[0]
    assert isinstance(opened, Opened)
    searcher = {"kind": "bohb", "model": "rungs"}
    journal.records[0] = opened.model_copy(
        update={"study": opened.study | {"searcher": searcher}, "warm_start": ("old", "older")}
    )
    for number in range(12):
        journal.start(number, config=number, epochs=(0, 1))
        journal.end(number, config=number, objective=number / 10)
    unfinished = updates_of(journal.records)["search"]
    assert not any(key.startswith("rung_weight") for key, *_ in unfinished.metrics)
    assert unfinished.tags["emotune.warm_start"] == "old, older"
    journal.close("finished")
    points = [(key, value, step) for key, value, _, step in updates_of(journal.records)["search"].metrics]
    assert [point for point in points if point[0].startswith("rung_weight")] == [("rung_weight/1", 1.0, 12)]


def test_another_search_of_the_same_name_has_another_identity(records: list[Record]) -> None:
    first = records[0]
    assert isinstance(first, Opened)
    assert search_id(first) != search_id(first.model_copy(update={"time": first.time + 1}))


def test_run_names_are_short_and_sort_by_number() -> None:
    assert run_name(7, {"optim.lr": 3e-4, "model.layers": 2}) == "c0007-lr3e-4-layers2"
    assert run_name(12, {"a.p": 0.25, "b": True, "c.lr": 1.5e-3}) == "c0012-p0.25-btrue-lr1.5e-3"


@given(st.dictionaries(st.text(max_size=20), st.integers() | st.floats() | st.booleans() | st.text(), max_size=9))
def test_run_names_have_at_most_60_characters(values: dict[str, int | float | bool | str]) -> None:
    assert len(run_name(3, values)) <= 60


def test_provenance_is_text_without_paths() -> None:
    facts = provenance()
    assert {"python", "platform", "node", "version.numpy"} <= set(facts)
    assert not any("/" in value for key, value in facts.items() if key != "platform")


def test_the_runs_of_a_search_with_several_objectives_say_whether_they_are_on_the_front() -> None:
    journal = with_sizes(synthetic_search(kind="asha"))
    tags = {key: update.tags.get("emotune.pareto") for key, update in updates_of(journal).items()}
    front = {str(entry.config_id) for entry in find_front(evaluation_results(journal))}
    assert {key for key, tag in tags.items() if tag == "true"} == front
    assert {tag for key, tag in tags.items() if key not in front} == {"false", None}
    assert not any("emotune.pareto" in update.tags for update in updates_of(synthetic_search(kind="asha")).values())
