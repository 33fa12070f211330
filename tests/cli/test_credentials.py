"""A password is read from the environment only, and never printed."""

import sys
from pathlib import Path

import pytest

from emotune.cli import main

CANARY = "s3cr3t-canary"
URIS = (f"http://me:{CANARY}@host:5000", f"postgresql://me:{CANARY}@host/db", f"postgresql://host/db?password={CANARY}")


def error_line(arguments: list[str], *, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["emotune", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert CANARY not in printed.out + printed.err
    assert printed.err.strip().count("\n") == 0
    return printed.err


@pytest.mark.parametrize("uri", URIS)
def test_a_password_on_the_command_line_is_an_error(
    uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = error_line(["search", "smoke", "--tracking-uri", uri], monkeypatch=monkeypatch, capsys=capsys)
    assert "MLFLOW_TRACKING_PASSWORD" in line


@pytest.mark.parametrize("uri", URIS)
def test_a_password_in_the_environment_is_accepted(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    store = str(tmp_path / "nowhere")
    line = error_line(["search", "smoke", "--store", store], monkeypatch=monkeypatch, capsys=capsys)
    assert "is not a segment store" in line
