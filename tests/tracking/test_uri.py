"""Promises of URIs: a password in any form is recognised and never printed, and any folder can hold the database."""

from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient
from sqlalchemy import make_url

from emotune.tracking.store import artifact_location, one_line
from emotune.tracking.uri import encoded_uri, has_password, public_uri, sqlite_path, sqlite_uri

PASSWORDS = st.text("abcXYZ019/@%:?#&=+!$'", min_size=1).map(lambda text: f"canary{text}canary")
SERVERS = st.sampled_from(["http://me:{}@host:5000", "postgresql://me:{}@host/db", "mysql+pymysql://:{}@host:3306/db"])


@given(password=PASSWORDS, server=SERVERS)
def test_a_password_is_recognised_and_taken_out_whatever_its_characters(password: str, server: str) -> None:
    uri = server.format(password)
    assert has_password(uri)
    assert public_uri(uri) == server.replace("me:{}@", "").replace(":{}@", "")
    assert "canary" not in one_line(OSError(f"cannot connect to {uri} (tried 3 times)"))


@given(password=PASSWORDS.filter(lambda text: "%" not in text), server=SERVERS)
def test_an_encoded_uri_has_the_password_that_was_given(password: str, server: str) -> None:
    encoded = encoded_uri(server.format(password))
    assert make_url(encoded).password == password
    assert make_url(encoded).host == "host"
    assert encoded_uri(encoded) == encoded


@pytest.mark.parametrize(("given", "meant"), [("50%", "50%"), ("a%2Fb", "a/b"), ("%zz/", "%zz/")])
def test_a_percent_sign_in_a_password(given: str, meant: str) -> None:
    encoded = encoded_uri(f"http://me:{given}@host")
    assert unquote(encoded.removeprefix("http://me:").removesuffix("@host")) == meant


@pytest.mark.parametrize(
    "uri",
    ["http://host:5000", "http://host:5000/#/experiments/1", "sqlite:////home/me@lab/a:b/mlflow.db", "file:///x@y:z"],
)
def test_a_uri_without_a_password_stays_as_it_is(uri: str) -> None:
    assert not has_password(uri)
    assert public_uri(uri) == encoded_uri(uri) == uri


NAMES = ["results", "a b", "a#b", "a?b=c", "100%", "a%20b", "a%3Fb", "ü", "a@b:c"]


@pytest.mark.parametrize("name", NAMES)
def test_a_database_can_be_in_any_folder(name: str, tmp_path: Path) -> None:
    path = tmp_path / name / "mlflow.db"
    assert make_url(sqlite_uri(path)).database == str(path)
    assert sqlite_path(sqlite_uri(path)) == path
    location = artifact_location(sqlite_uri(path), name="emotune/x")
    assert location == (tmp_path / name / "mlartifacts" / "emotune" / "x").as_uri()


def test_mlflow_opens_the_database_of_an_odd_folder(tmp_path: Path) -> None:
    path = tmp_path / "a#b?c%20d" / "mlflow.db"
    path.parent.mkdir()
    MlflowClient(tracking_uri=sqlite_uri(path)).search_experiments(max_results=1)
    assert path.stat().st_size > 0


def test_the_home_folder_of_a_database_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert encoded_uri("sqlite:///~/mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
