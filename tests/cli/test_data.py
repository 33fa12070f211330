"""``emotune data``: tables within 120 columns, and complete JSON."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from emotune.cli import emotune
from emotune.data.corpora.table import CORPORA
from emotune.errors import SettingsError


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(emotune, ["data", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("stores") / "made up")
    run(
        "prepare",
        "synthetic",
        "--store",
        path,
        "--seconds",
        "2.5",
        "--set",
        "subjects=2",
        "--set",
        "seconds_per_state=6",
    )
    return path


def test_the_list_of_corpora_fits_120_columns_and_names_them_all() -> None:
    lines = run("list").output.splitlines()
    assert max(map(len, lines)) <= 120
    page = "\n".join(lines)
    assert all(word in page for reader in CORPORA.values() for word in reader.where.split() if "://" in word)
    assert {line.split()[0] for line in lines if line[0] != " "} == {"corpus", *CORPORA}
    rows = json.loads(run("list", "--json").output)
    assert [row["name"] for row in rows] == list(CORPORA)
    assert {"modalities", "hours", "licence", "where", "description"} < set(rows[0])


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_is_printed_with_its_settings(name: str) -> None:
    lines = run("list", name).output.splitlines()
    assert max(map(len, lines)) <= 120
    words = " ".join(" ".join(lines).split())
    document = json.loads(run("list", name, "--json").output)
    assert document["facts"].splitlines()[0] in words
    defaults = CORPORA[name].settings().model_dump(mode="json")
    assert {setting["name"]: setting["default"] for setting in document["settings"]} == defaults
    assert all(setting["name"] in words and setting["description"] for setting in document["settings"])


def test_an_unknown_corpus_is_an_error() -> None:
    with pytest.raises(SettingsError, match="there is no corpus 'amigo'; there are:"):
        run("list", "amigo")


def test_a_store_is_described_as_tables_and_as_json(made: str) -> None:
    page = run("describe", made).output
    document = json.loads(run("describe", made, "--json").output)
    assert max(map(len, page.splitlines())) <= 120
    for words in ("16 of 2.5 s ECG", document["fingerprint"], "synthetic", "1 to 9", "high arousal, low valence"):
        assert words in page
    assert {"segments", "subjects", "hours", "rate", "channels", "labels", "settings", "fingerprint"} < set(document)
    assert [(label["rating"], label["segments"]) for label in document["labels"]] == [("arousal", 16), ("valence", 16)]


def test_a_store_is_drawn(made: str, tmp_path: Path) -> None:
    run("describe", made, "--plot", str(tmp_path / "page.png"))
    assert (tmp_path / "page.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(SettingsError, match="does not exist; create it first"):
        run("describe", made, "--plot", str(tmp_path / "nowhere" / "page.png"))
