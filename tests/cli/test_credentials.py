"""A password is taken from the environment only, and never printed."""

import sys
from pathlib import Path

import pytest

from emotune.cli import main

CANARY = "s3cr3t-canary"
URIS = (f"http://me:{CANARY}@host:5000", f"postgresql://me:{CANARY}@host/db", f"postgresql://host/db?password={CANARY}")


def complaint(arguments: list[str], *, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["emotune", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert CANARY not in told.out + told.err
    assert told.err.strip().count("\n") == 0
    return told.err


@pytest.mark.parametrize("uri", URIS)
def test_a_password_on_the_command_line_is_refused(
    uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = complaint(["search", "smoke", "--tracking-uri", uri], monkeypatch=monkeypatch, capsys=capsys)
    assert "MLFLOW_TRACKING_PASSWORD" in told


@pytest.mark.parametrize("uri", URIS)
def test_a_password_in_the_environment_is_taken(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    store = str(tmp_path / "nowhere")
    told = complaint(["search", "smoke", "--store", store], monkeypatch=monkeypatch, capsys=capsys)
    assert "is not a segment store" in told
