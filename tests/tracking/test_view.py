"""The link that commands print opens MLflow on the comparison: read from the pages by a real browser."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from mlflow.tracking import MlflowClient

from benchmarks.browser import ChartPage, browser, open_charts, open_table, skip_reason
from benchmarks.example_journals import (
    cross_validation_journal,
    search_journal,
    search_study,
    single_run_journal,
)
from benchmarks.screenshots import deliver, start_server
from emotune.tracking.view import VIEW_TAG

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.skipif(bool(skip_reason()), reason=skip_reason())

JOURNALS = {
    "six": lambda: search_journal(search_study(evaluations=8, max_epochs=3), name="six"),
    "conditional": lambda: search_journal(
        search_study(evaluations=10, conditional=True, max_epochs=3), name="conditional"
    ),
    "folds": lambda: cross_validation_journal(name="folds", folds=3),
    "long": lambda: single_run_journal(name="long", epochs=30),
}


class Pages:
    """A storage with four searches and runs, ``emotune ui`` on its database, and a browser."""

    def __init__(self, storage: Path, *, page: "Page") -> None:
        self.storage = storage
        self.page = page
        self.process, self.links = start_server(storage)
        self.port = int(re.findall(r":(\d+)/", self.links["six"])[0])

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=f"http://127.0.0.1:{self.port}")

    def charts(self, name: str) -> ChartPage:
        return open_charts(self.page, self.links[name])


@pytest.fixture(scope="module")
def pages(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    storage = tmp_path_factory.mktemp("view") / "results"
    storage.mkdir()
    shutil.copy(template, storage / "mlflow.db")
    for name, journal in JOURNALS.items():
        deliver(journal(), storage=storage, name=name)
    with browser(height=4000) as context:
        started = Pages(storage, page=context.new_page())
        yield started
        if started.process.poll() is None:
            started.process.send_signal(signal.SIGINT)
            started.process.wait(30)


def check_search_charts(page: ChartPage) -> None:
    """Check the charts of the search ``six``."""
    assert page.sections == {
        "Settings and val/loss": ["Parallel Coordinates"],
        "val/loss at epoch 1 by setting": [
            "model.heads vs. objective/epoch_1",
            "model.layers vs. objective/epoch_1",
            "log10/optim.lr vs. objective/epoch_1",
        ],
        "val/loss at epoch 3 by setting": [
            "model.heads vs. objective/epoch_3",
            "model.layers vs. objective/epoch_3",
            "log10/optim.lr vs. objective/epoch_3",
        ],
        "Learning curves": ["val/loss", "train/loss"],
        "Rung against rung": ["objective/epoch_1 vs. objective/epoch_3"],
    }
    assert page.axes == [["model.heads", "model.layers", "log10/optim.lr", "epochs", "objective"]]


def check_no_empty_section(page: ChartPage) -> None:
    assert page.sections
    assert page.counts == {title: len(charts) for title, charts in page.sections.items()}
    assert all(page.counts.values())


def test_a_link_is_printed_for_each_search(pages: Pages) -> None:
    assert set(pages.links) == set(JOURNALS)
    assert all(link.startswith(f"http://127.0.0.1:{pages.port}/#/experiments/") for link in pages.links.values())


def test_the_charts_of_a_search_compare_its_configurations(pages: Pages) -> None:
    page = pages.charts("six")
    check_search_charts(page)
    check_no_empty_section(page)
    assert page.points > 6 * 3, "a point per configuration and setting"
    assert "/runs" in pages.page.url
    assert "incumbent" not in page.text
    assert "rung_weight" not in page.text
    assert "Parallel Coordinates" in page.text


def test_the_table_of_a_search_is_sorted_by_the_objective(pages: Pages) -> None:
    table = open_table(pages.page, pages.links["six"])
    assert {"objective", "epochs", "model.heads", "model.layers", "optim.lr", "emotune.status"} <= set(table.rows[0])
    objectives = [float(row["objective"].rstrip("…")) for row in table.rows]
    assert len(objectives) == 6, "without the run that summarises the search"
    assert objectives == sorted(objectives)
    assert [row["emotune.best"] for row in table.rows] == ["yes", *["-"] * 5]


def test_settings_with_a_condition_have_their_own_parallel_coordinates(pages: Pages) -> None:
    page = pages.charts("conditional")
    check_no_empty_section(page)
    assert "Settings and val/loss, optim.schedule = step" in page.sections
    always = ["model.heads", "model.layers", "optim.schedule", "log10/optim.lr", "epochs", "objective"]
    conditional = [*always[:2], "optim.step_epochs", "optim.step_factor", *always[3:]]
    assert page.axes == [always, conditional]


def test_a_cross_validation_shows_the_scores_of_its_folds(pages: Pages) -> None:
    page = pages.charts("folds")
    check_no_empty_section(page)
    scores = ["test/accuracy", "test/balanced_accuracy", "test/ece", "test/macro_f1"]
    assert page.sections == {"Test segments of each fold": scores, "Learning curves": ["train/loss"]}
    table = open_table(pages.page, pages.links["folds"])
    assert {"folds.index", "task.shuffled", *scores} <= set(table.rows[0])
    assert [row["folds.index"] for row in table.rows] == ["0", "1", "2"] * 2


def test_a_long_run_shows_its_learning_curves_and_learning_rate(pages: Pages) -> None:
    page = pages.charts("long")
    check_no_empty_section(page)
    assert page.sections == {
        "Loss": ["train/loss vs val/loss"],
        "Learning rate and speed": ["train/lr", "train/segments_per_second"],
    }


def test_without_the_tag_of_the_view_the_charts_are_others(pages: Pages) -> None:
    client = pages.client
    experiment = client.get_experiment_by_name("emotune/six")
    assert experiment is not None
    client.delete_experiment_tag(experiment.experiment_id, VIEW_TAG)
    try:
        with pytest.raises(AssertionError):
            check_search_charts(pages.charts("six"))
    finally:
        client.set_experiment_tag(experiment.experiment_id, VIEW_TAG, experiment.tags[VIEW_TAG])


def test_a_second_server_on_the_same_port_is_refused_in_a_line(pages: Pages) -> None:
    command = ["ui", "six", "--storage", str(pages.storage), "--port", str(pages.port)]
    done = subprocess.run([sys.executable, "-m", "emotune", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"--port {pages.port} cannot be used" in done.stderr


def test_ctrl_c_ends_the_server_and_all_its_processes(pages: Pages) -> None:
    family = psutil.Process(pages.process.pid).children(recursive=True)
    assert family
    pages.process.send_signal(signal.SIGINT)
    assert pages.process.wait(30) == 0
    assert [process for process in family if process.is_running()] == []
