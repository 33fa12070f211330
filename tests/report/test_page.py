"""The page is complete, escapes text, loads no other resource, and holds the numbers of the journal."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from emotune.durations import duration
from emotune.report.content import Source
from emotune.report.estimates import estimate_rows
from emotune.report.page import render_report, write_report
from emotune.search.records import Ended, EpochDone, Extended, Opened, Record, Removed, Started
from emotune.study.first_estimate import FirstEstimate, write_estimate
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import evaluation_results
from tests.golden.journals import FOLDER
from tests.report.conftest import NASTY
from tests.support.journals import synthetic_search, with_sizes

MAX_PAGE_BYTES = 3_000_000
SPACE = {
    "hyperparameters": [
        {"name": "optim.lr", "type": "uniform_float", "lower": 1e-9, "upper": 1.0, "log": True},
        {"name": "task.kind", "type": "categorical", "choices": [NASTY]},
        {"name": "model.layers", "type": "uniform_int", "lower": 1, "upper": 3},
    ]
}
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Reader(HTMLParser):
    """Collects tags, ids, addresses, texts and scripts, and checks that every open tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.charts: list[str] = []
        self.text = ""
        self.styles = ""
        self.scripts: dict[str, str] = {}
        self.script = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [given["id"]] if "id" in given else []
        self.charts += [given["data-chart"]] if "data-chart" in given else []
        self.addresses += [given[name] for name in ("src", "href", "xlink:href", "action") if name in given]
        self.script = given.get("id", given.get("class", "program")) if tag == "script" else ""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[self.script] = self.scripts.get(self.script, "") + data
        elif self.open and self.open[-1] == "style":
            self.styles += data
        else:
            self.text += data


def read(page: bytes) -> Reader:
    reader = Reader()
    reader.feed(page.decode())
    assert not reader.open
    return reader


def data_of(page: bytes) -> Any:
    return json.loads(read(page).scripts["data"])


@pytest.fixture
def page(records: list[Record]) -> bytes:
    return render_report([Source(records)])


def test_the_page_loads_no_resource(page: bytes) -> None:
    reader = read(page)
    assert not {"iframe", "img", "object", "embed"} & set(reader.tags)
    assert all(address.startswith(("#", "data:")) for address in reader.addresses)
    program = reader.scripts["program"] + reader.styles + reader.text
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttpRequest|import\(", program.replace("// ", ""))
    assert len(reader.ids) == len(set(reader.ids))
    assert "default-src 'none'" in page.decode()


def test_prices_are_the_hours_times_the_price() -> None:
    source = Source(synthetic_search(configurations=6), price_per_hour=3600.0)
    reader = read(render_report([source]))
    spent = data_of(render_report([source]))["searches"][0]["cost"]["spent_s"]
    assert f"{spent:,.2f}" in reader.text
    assert "Prices are CPU-hours times the given 3600 per CPU-hour" in reader.text
    assert "Prices are" not in read(render_report([Source(source.records)])).text


def test_the_estimate_of_the_first_epochs_is_beside_what_the_search_took(tmp_path: Path) -> None:
    records = synthetic_search(configurations=6, concurrency=2)
    folder = SearchFolder.at(tmp_path / "first")
    page = render_report([Source(records, folder=folder, price_per_hour=10.0)])
    assert "Estimate and actual" not in read(page).text
    folder.path.mkdir()
    write_estimate(FirstEstimate(evaluations=40, epochs=500, seconds=1800.0), folder=folder.storage)
    page = render_report([Source(records, folder=folder, price_per_hour=10.0)])
    search = data_of(page)["searches"][0]
    rows = {row["what"]: (row["estimated"], row["actual"]) for row in estimate_rows(search)}
    timeline = search["timeline"]
    workers = sum(timeline[name] for name in ("busy_s", "failed_s", "idle_s")) / 3600
    assert rows == {
        "evaluations": (40, len(evaluation_results(records))),
        "epochs": (500, sum(isinstance(record, EpochDone) for record in records)),
        "running time": ("30 min", duration(records[-1].time - records[0].time)),
        "CPU-hours of all workers, idle time included": ("1", f"{workers:.3g}"),
        "price of these hours": ("10.00", f"{10 * workers:,.2f}"),
    }
    assert "Estimate and actual" in read(page).text


def test_the_room_that_removed_checkpoints_saved_is_on_the_page() -> None:
    records = synthetic_search(configurations=6)
    assert "were removed" not in read(render_report([Source(records)])).text
    removed = [Removed(time=1.9e9, configurations=(number, 5), bytes=1_200_000) for number in (2, 3)]
    text = read(render_report([Source([*records[:-1], *removed, records[-1]])])).text
    assert "The checkpoints of 3 configurations out of the race were removed: 2.4 MB saved" in text


def test_text_of_the_journal_is_escaped(page: bytes) -> None:
    reader = read(page)
    assert reader.tags.count("script") == 4  # data, two bundles, program
    assert "<script>alert('x')</script>" in reader.text
    assert "the loss is nan <script>" in reader.text
    assert "Configuration 0: val/loss 0.01 after 2 epochs" in reader.text
    assert "test/f1" in reader.text
    assert "<" not in reader.scripts["data"]
    assert data_of(page)["searches"][0]["name"] == NASTY


def test_only_the_scripts_of_the_page_may_run(page: bytes) -> None:
    policy = re.search(r"script-src ([^;]*)", page.decode().replace("&#39;", "'"))
    assert policy is not None
    assert re.fullmatch(r"('sha256-[^']{44}' ?){3}", policy[1])


def test_equal_journals_give_equal_pages(page: bytes, records: list[Record], tmp_path: Path) -> None:
    write_report([Source(records)], tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == page


@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("alive", [False, True])
def test_a_search_with_few_records_has_a_page(records: list[Record], length: int, alive: bool) -> None:
    text = read(render_report([Source(records[:length], alive=alive)])).text
    assert ("running" if alive else "interrupted") in text
    assert ("No evaluation has a result yet" in text) == (length < 4)


def test_a_search_without_a_single_result_has_a_page() -> None:
    reader = read(render_report([Source(synthetic_search(configurations=4, failing=1.0))]))
    assert "No evaluation has a result yet" in reader.text
    assert "the worker died" in reader.text
    assert "parallel" not in reader.charts


@pytest.mark.parametrize("name", ["finished", "interrupted", "with-failures"])
def test_journals_of_older_versions_have_pages(name: str) -> None:
    folder = SearchFolder.at(FOLDER / name)
    records = read_journal(folder.journal)
    document = data_of(render_report([Source(records)]))["searches"][0]
    status = json.loads((FOLDER / name / "status.json").read_text())
    assert document["best"] == status["best"]


def test_the_data_of_the_page_equal_the_journal(thirty: list[Record]) -> None:
    records = thirty
    document = data_of(render_report([Source(records)]))["searches"][0]
    curves = document["curves"]["val/loss"]["curves"]
    shown = {
        (int(config), epoch): value
        for config, curve in curves.items()
        for epoch, value in zip(curve["epochs"], curve["values"], strict=True)
    }
    recorded = {
        (record.config_id, record.epoch): record.metrics["val/loss"]
        for record in records
        if isinstance(record, EpochDone)
    }
    assert shown == recorded
    results = [result for result in evaluation_results(records) if result.status == "done"]
    rungs = {
        (config, rung["epochs"]): objective
        for rung in document["rungs"]
        for config, objective in zip(rung["config"], rung["objective"], strict=True)
    }
    assert rungs == {(result.evaluation.config_id, result.evaluation.to_epoch): result.objective for result in results}
    values = dict(zip(document["configurations"]["config"], document["configurations"]["values"], strict=True))
    started = [record.evaluation for record in records if isinstance(record, Started)]
    assert values == {evaluation.config_id: evaluation.values for evaluation in started}
    spent = sum(record.seconds for record in records if isinstance(record, Ended))
    assert document["cost"]["spent_s"] == pytest.approx(spent)


@pytest.fixture(scope="module")
def thirty() -> list[Record]:
    return synthetic_search(configurations=30)


def test_a_page_with_a_thousand_configurations_is_small() -> None:
    page = render_report([Source(synthetic_search(configurations=1000))])
    assert len(page) < MAX_PAGE_BYTES


def test_curves_beyond_the_limit_are_left_out_and_counted(
    monkeypatch: pytest.MonkeyPatch, thirty: list[Record]
) -> None:
    monkeypatch.setattr("emotune.report.content.MAX_CURVE_POINTS", 60)
    page = render_report([Source(thirty)])
    curves = data_of(page)["searches"][0]["curves"]["val/loss"]
    left_out = curves["configurations"] - len(curves["curves"])
    assert left_out > 0
    assert f"The curves of the last {left_out} configurations" in read(page).text


def test_the_page_shows_extension_warm_start_and_rung_weights(records: list[Record], page: bytes) -> None:
    opened = records[0]
    assert isinstance(opened, Opened)
    study = opened.study | {"searcher": {"kind": "bohb"}, "space": SPACE}
    extended = [opened.model_copy(update={"study": study, "warm_start": ("old & older",)}), *records[1:]]
    for number in range(9):
        extended += [
            record.model_copy(update={"evaluation": record.evaluation.model_copy(update={"id": 100 + number})})
            if isinstance(record, Started)
            else record.model_copy(update={"evaluation_id": 100 + number})
            for record in records[1:4]
            if not isinstance(record, EpochDone)
        ]
    extended.append(Extended(time=100.0, brackets=7, evaluations=None))
    text = read(render_report([Source(extended)])).text
    assert "Warm start: the best configurations of old & older. Extended to 7 brackets." in text
    assert "Weight of each rung" in text
    assert "Weight of each rung" not in read(page).text
    assert "Extended to" not in read(page).text


def test_the_page_refreshes_itself_only_if_it_is_written_again(records: list[Record], page: bytes) -> None:
    refreshing = render_report([Source(records, alive=True)], refresh_s=7.0).decode()
    assert '<meta http-equiv="refresh" content="7">' in refreshing
    assert "refreshes itself every 7 s" in refreshing
    assert 'http-equiv="refresh"' not in page.decode()


def test_data_that_are_not_on_this_machine_are_named(records: list[Record]) -> None:
    opened = records[0]
    assert isinstance(opened, Opened)
    base = {"store": "/nowhere/store", "task": {"kind": "masked_values"}}
    moved = [opened.model_copy(update={"study": opened.study | {"base": base}}), *records[1:]]
    text = read(render_report([Source(moved)])).text
    assert "the store /nowhere/store is not on this machine" in text
    assert "the checkpoints are not on this machine" in text


def test_the_page_proposes_commands(page: bytes, records: list[Record]) -> None:
    assert "emotune best" in read(page).text
    text = read(render_report([Source(records, storage="s3://lab/results")])).text
    assert "--storage s3://lab/results" in text


def test_the_page_of_several_objectives_has_the_front() -> None:
    records = with_sizes(synthetic_search(kind="asha"), limit=35000)
    page = render_report([Source(records)])
    reader, search = read(page), data_of(page)["searches"][0]
    assert search["criteria"]["objectives"][1] == {"metric": "parameters", "mode": "min"}
    assert "parameters at most 35000" in reader.text
    assert "Pareto front" in reader.text
    columns = search["configurations"]
    front = [entry["config_id"] for entry in search["criteria"]["front"]]
    assert sorted(columns["config"][: len(front)]) == sorted(front), "the leaderboard begins with the front"
    assert len(columns["measured"]["parameters"]) == len(columns["config"])
    assert all("parameters" not in values for values in columns["values"])
    assert "Pareto front" not in read(render_report([Source(synthetic_search(kind="asha"))])).text
