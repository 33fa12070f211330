"""A page about several searches names what differs and what cannot be compared."""

from emotune.report.comparison import comparison_content, differing_settings
from emotune.report.content import Source, page_content
from emotune.search.records import Opened, Record
from tests.support.journals import synthetic_search


def with_study(records: list[Record], **changes: object) -> list[Record]:
    opened = records[0]
    assert isinstance(opened, Opened)
    return [opened.model_copy(update={"study": opened.study | changes}), *records[1:]]


def test_only_different_settings_are_listed() -> None:
    first = {"seed": 1, "base": {"a": 1, "b": True}, "space": {"hyperparameters": [{"name": "lr", "upper": 0.1}]}}
    second = {"seed": 1, "base": {"a": 2, "b": 1}, "space": {"hyperparameters": [{"name": "lr", "upper": 0.2}]}}
    rows = differing_settings([first, second], names=["x", "y"])
    assert rows == [
        {"setting": "base.a", "x": "1", "y": "2"},
        {"setting": "base.b", "x": "True", "y": "1"},
        {"setting": "space.hyperparameters.lr.upper", "x": "0.1", "y": "0.2"},
    ]


def test_a_setting_of_one_search_alone_is_missing_in_the_other() -> None:
    assert differing_settings([{"a": 1}, {}], names=["x", "y"]) == [{"setting": "a", "x": "1", "y": None}]


def test_the_best_of_each_search_are_side_by_side() -> None:
    searches = [synthetic_search(name, configurations=6, seed=seed) for seed, name in enumerate(["one", "two"])]
    content = comparison_content([Source(records) for records in searches])
    rows = {row[""]: row for row in content["best_rows"]}
    for search in content["searches"]:
        assert rows["val/loss"][search["name"]] == search["best"]["objective"]
        assert rows["optim.lr"][search["name"]] == search["best"]["values"]["optim.lr"]
    assert not content["several_objectives"]
    assert not content["several_data"]


def test_hours_and_prices_are_those_of_the_page_of_each_search_alone() -> None:
    records = synthetic_search("one", configurations=6)
    on_gpu = [
        record.model_copy(update={"metrics": {**record.metrics, "system/gpu_memory_gib": 1.0}})
        if record.kind == "epoch"
        else record
        for record in records
    ]
    source = Source(on_gpu, trials_per_gpu=4, price_per_hour=2.0)
    content = comparison_content([source, Source(synthetic_search("two", configurations=6))])
    cost = page_content(source)["cost"]
    rows = {row[""]: row for row in content["best_rows"]}
    assert cost["per_evaluation"] == 0.25
    assert rows["GPU-hours"]["one"] == cost["spent_s"] / 4 / 3600
    assert rows["price"]["one"] == f"{cost['spent_s'] / 4 / 3600 * 2:,.2f}"
    assert rows["price"]["two"] is None


def test_searches_on_other_data_or_objectives_are_not_comparable() -> None:
    first = synthetic_search("one", configurations=3)
    data = with_study(first, base={"fingerprint": "other"})
    objective = with_study(first, objective={"metric": "val/macro_f1", "mode": "max"})
    assert comparison_content([Source(first), Source(data)])["several_data"]
    assert comparison_content([Source(first), Source(objective)])["several_objectives"]


def test_searches_without_a_result_are_compared() -> None:
    content = comparison_content(
        [Source(synthetic_search("one", configurations=3)[:2]), Source(synthetic_search()[:1])]
    )
    assert [search["best"] for search in content["searches"]] == [None, None]
