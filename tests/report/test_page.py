"""The page is complete, escapes text and loads no other resource."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from emotune.report.figures import draw_incumbents, draw_learning_curves, draw_values
from emotune.report.page import write_report
from emotune.search.records import EpochDone, Extended, Opened, Record, Started
from tests.report.conftest import NASTY

SPACE = {
    "hyperparameters": [
        {"name": "optim.lr", "type": "uniform_float", "lower": 1e-9, "upper": 1.0, "log": True},
        {"name": "task.kind", "type": "categorical", "choices": [NASTY]},
        {"name": "model.layers", "type": "uniform_int", "lower": 1, "upper": 3},
    ]
}
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Reader(HTMLParser):
    """Collects tags, ids, addresses and text, and checks that every open tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "action"):
                self.addresses.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def page(records: list[Record], tmp_path: Path) -> str:
    write_report(records, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text()


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    return reader


def test_the_page_loads_no_resource_and_runs_no_script(page: str) -> None:
    reader = read(page)
    assert not {"script", "iframe", "img", "object", "embed"} & set(reader.tags)
    assert all(address.startswith(("#", "data:")) for address in reader.addresses)
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    assert len(reader.ids) == len(set(reader.ids))


def test_text_of_the_journal_is_escaped(page: str) -> None:
    reader = read(page)
    assert "<script>alert('x')</script>" in reader.text
    assert "the loss is nan <script>" in reader.text
    assert "Configuration 0: val/loss 0.01 after 2 epochs" in reader.text
    assert "test/f1" in reader.text
    assert "0.8" in reader.text
    assert reader.tags.count("svg") == 3


def test_the_figures_use_the_colours_of_the_page(records: list[Record]) -> None:
    for svg in (draw_learning_curves(records), draw_incumbents(records), draw_values(records)):
        assert svg is not None
        assert "currentColor" in svg
        assert "var(--accent)" in svg
        assert not set(re.findall(r"#[0-9a-f]{6}\b", svg)) - {"#000000", "#ffffff"}


def test_equal_journals_give_equal_pages(page: str, records: list[Record], tmp_path: Path) -> None:
    write_report(records, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == page


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_search_with_few_records_has_a_page(records: list[Record], tmp_path: Path, length: int) -> None:
    write_report(records[:length], tmp_path / "report.html")
    text = read((tmp_path / "report.html").read_text()).text
    assert "interrupted" in text
    assert ("No evaluation has a result yet" in text) == (length < 4)


def test_the_page_shows_extension_warm_start_and_rung_weights(records: list[Record], tmp_path: Path, page: str) -> None:
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
    write_report(extended, tmp_path / "extended.html")
    text = read((tmp_path / "extended.html").read_text()).text
    assert "Warm start: the best configurations of old & older. Extended to 7 brackets." in text
    assert "Weight of each rung" in text
    assert "Weight of each rung" not in read(page).text
    assert "Extended to" not in read(page).text
