"""``emotune ui`` refuses in a line what it cannot serve, and prints links to servers."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from emotune.cli import emotune
from emotune.errors import SettingsError
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.tracking.delivery import CONTENT_VERSION, DeliveryState, write_delivery_state
from tests.runtime.test_coordinator import drive

SERVER = "http://mlflow.lab:5000"


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A storage with the search ``demo``, which was sent to a server."""
    folder = SearchFolder.of("demo", storage=LocalStorage(tmp_path))
    drive(folder.journal)
    state = DeliveryState(uri=SERVER, search_id="a", experiment_id="7", delivered=1, content=CONTENT_VERSION)
    write_delivery_state(state, folder=folder.storage)
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(emotune, ["ui", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_link_of_a_search_on_a_server_is_printed(storage: Path) -> None:
    link = (
        f"{SERVER}/#/experiments/7/runs?compareRunsMode=CHART&viewStateShareKey=emotune&workflowType=machine_learning\n"
    )
    assert run("demo", "--storage", str(storage)) == link
    assert run("--storage", str(storage), "--tracking-uri", SERVER) == link


def test_status_prints_the_link(storage: Path) -> None:
    result = CliRunner().invoke(emotune, ["status", "demo", "--storage", str(storage)], catch_exceptions=False)
    assert f"MLflow: {SERVER}/#/experiments/7/runs?" in result.stdout


def test_a_database_is_named_with_the_command_that_serves_it(storage: Path) -> None:
    state = DeliveryState(uri=f"sqlite:///{storage}/mlflow.db", search_id="a", experiment_id="7", delivered=1)
    write_delivery_state(state, folder=LocalStorage(storage) / "demo")
    result = CliRunner().invoke(emotune, ["status", "demo", "--storage", str(storage)], catch_exceptions=False)
    command = f"`emotune ui demo --storage {storage}`"
    assert f"MLflow: {command} opens http://127.0.0.1:5000/#/experiments/7/runs?" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--tracking-uri", "sqlite:///other.db"], "emotune sync demo --tracking-uri sqlite:///other.db"),
        (["dem"], "Did you mean 'demo'"),
        ([], "the first search creates it"),
    ],
)
def test_what_mlflow_does_not_have_is_refused_in_a_line(storage: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        run(*arguments, "--storage", str(storage))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_name_that_the_registry_refuses_is_refused_before_the_search(storage: Path) -> None:
    with pytest.raises(SettingsError, match="--register 'a/b' was given"):
        CliRunner().invoke(emotune, ["search", "smoke", "--register", "a/b"], catch_exceptions=False)
