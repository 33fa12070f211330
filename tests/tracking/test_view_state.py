"""The view of an experiment, computed from the journal alone."""

import re

import pytest

from benchmarks.example_journals import (
    cross_validation_journal,
    search_journal,
    search_study,
    single_run_journal,
)
from emotune.search.records import Opened, Record
from emotune.tracking.mlflow_content import BEST_TAG, MlflowContent, RunUpdates
from emotune.tracking.space_shape import SpaceShape
from emotune.tracking.view import KIND_TAG, VIEW_TAG, decode_state, encode_state, view_path, view_state


def content_of(records: list[Record]) -> tuple[MlflowContent, RunUpdates]:
    opened = records[0]
    assert isinstance(opened, Opened)
    content, updates = MlflowContent(kind=opened.purpose, provenance={"git_commit": "0" * 40}), RunUpdates()
    for record in records:
        content.add(record, updates)
    return content, updates


@pytest.fixture(scope="module")
def search() -> list[Record]:
    return search_journal(search_study(evaluations=8, max_epochs=3), name="six")


def test_the_state_is_read_back_from_its_compressed_form(search: list[Record]) -> None:
    content, _ = content_of(search)
    tags = content.experiment_tags()
    assert tags[KIND_TAG] == "custom_model_development"
    assert len(tags[VIEW_TAG]) < 5000
    assert decode_state(encode_state({"a": ["ä", 1]})) == {"a": ["ä", 1]}


def test_the_view_shows_the_runs_of_this_search_and_not_of_an_older_one_of_the_same_name(search: list[Record]) -> None:
    opened = search[0]
    assert isinstance(opened, Opened)
    _, updates = content_of(search)
    shown = view_state(opened, metrics=())["searchFilter"]
    tags = updates["0"].tags
    assert (
        shown == f"tags.`emotune.kind` = 'configuration' AND tags.`emotune.search_id` = '{tags['emotune.search_id']}'"
    )
    fresh = opened.model_copy(update={"time": opened.time + 1})
    assert view_state(fresh, metrics=())["searchFilter"] != shown


@pytest.mark.parametrize(("mode", "ascending"), [("min", True), ("max", False)])
def test_the_table_is_sorted_in_the_direction_of_the_objective(
    search: list[Record], mode: str, ascending: bool
) -> None:
    opened = search[0]
    assert isinstance(opened, Opened)
    study = opened.study | {"objective": {"metric": "val/macro_f1", "mode": mode}}
    state = view_state(opened.model_copy(update={"study": study}), metrics=())
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`objective`", ascending)


@pytest.mark.parametrize("known", [0, 1, 5, 20, 1000])
def test_no_section_of_a_view_is_empty_at_any_time(known: int) -> None:
    journals = [
        search_journal(search_study(evaluations=12, conditional=True), name="search"),
        cross_validation_journal(name="folds", folds=2),
        single_run_journal(name="long", epochs=10),
        single_run_journal(name="tuned", epochs=10, purpose="finetune"),
    ]
    for records in journals:
        content, _ = content_of(records[: known + 1])
        state = decode_state(content.experiment_tags()[VIEW_TAG])
        placed = {chart["metricSectionId"] for chart in state["compareRunCharts"] if not chart["deleted"]}
        assert placed == {section["uuid"] for section in state["compareRunSections"]}
        uuids = [chart["uuid"] for chart in state["compareRunCharts"]]
        assert len(set(uuids)) == len(uuids)


def test_mlflow_adds_no_chart_for_any_metric_of_a_configuration(search: list[Record]) -> None:
    content, updates = content_of(search)
    state = decode_state(content.experiment_tags()[VIEW_TAG])
    covered = {chart.get("metricKey") for chart in state["compareRunCharts"]}
    logged = {key for number, update in updates.items() if number != "search" for key, *_ in update.metrics}
    assert logged <= covered


def test_all_configurations_have_the_objective_of_each_rung_they_passed(search: list[Record]) -> None:
    _, updates = content_of(search)
    for number, update in updates.items():
        if number != "search":
            values = {key: value for key, value, _, _ in update.metrics}
            epochs = [epoch for epoch in (1, 3) if epoch <= values["epochs"]]
            curve = {step: value for key, value, _, step in update.metrics if key == "val/loss"}
            assert [values[f"objective/epoch_{epoch}"] for epoch in epochs] == [curve[epoch] for epoch in epochs]


def test_one_run_is_marked_as_the_best(search: list[Record]) -> None:
    _, updates = content_of(search)
    objectives = {}
    for number, update in updates.items():
        if number != "search":
            values = {key: value for key, value, _, _ in update.metrics}
            objectives[number] = (-values["epochs"], values["objective"])
    best = min(objectives, key=objectives.__getitem__)
    assert [number for number, update in updates.items() if update.tags.get(BEST_TAG) == "yes"] == [best]


def test_runs_have_description_data_source_and_commit(search: list[Record]) -> None:
    _, updates = content_of(search)
    run = updates["0"]
    note = run.tags["mlflow.note.content"]
    assert "**Configuration 0** of the search `six`" in note
    assert "`emotune report six`" in note
    assert run.tags["mlflow.source.name"] == "emotune search"
    assert run.tags["mlflow.source.git.commit"] == "0" * 40
    assert [(use.name, use.context, use.digest) for use in run.datasets] == [
        ("dreamer-train", "train", "5f1d7c0a9be24367"),
        ("dreamer-validation", "validation", "5f1d7c0a9be24367"),
    ]


def test_the_folds_of_a_cross_validation_are_datasets_of_their_own() -> None:
    _, updates = content_of(cross_validation_journal(name="folds", folds=2))
    names = {use.name for number, update in updates.items() if number != "search" for use in update.datasets}
    assert names == {f"dreamer-fold{fold}-{context}" for fold in (0, 1) for context in ("train", "test")}


def test_settings_are_grouped_by_the_conditions_that_activate_them() -> None:
    space = {
        "hyperparameters": [
            {"name": "a", "type": "categorical", "choices": ["x", "y"]},
            {"name": "b", "type": "uniform_float", "lower": 1e-3, "upper": 1, "log": True},
            {"name": "c", "type": "uniform_int", "lower": 1, "upper": 3},
            {"name": "d", "type": "uniform_int", "lower": 1, "upper": 3},
            {"name": "e", "type": "constant", "value": 1},
        ],
        "conditions": [
            {"type": "EQ", "child": "b", "parent": "a", "value": "x"},
            {
                "type": "AND",
                "child": "c",
                "conditions": [
                    {"type": "EQ", "child": "c", "parent": "a", "value": "x"},
                    {"type": "GT", "child": "c", "parent": "b", "value": 0.1},
                ],
            },
        ],
    }
    shape = SpaceShape.of(space)
    assert shape.settings == ("a", "d", "b", "c")
    assert shape.logarithmic == {"b"}
    assert [(group.title, group.settings) for group in shape.groups()] == [
        ("", ("a", "d")),
        (", a = x", ("d", "b")),
        (", a = x and b > 0.1", ("d", "b", "c")),
    ]


def test_the_link_names_view_mode_and_kind_of_pages() -> None:
    path = view_path("12")
    assert re.match(r"/#/experiments/12/runs\?", path)
    assert {"compareRunsMode=CHART", "viewStateShareKey=emotune", "workflowType=machine_learning"} == set(
        path.partition("?")[2].split("&")
    )
