"""Names in files and folders come from other people: what a terminal would obey is never printed."""

import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from emotune.cli import emotune, run_command
from emotune.cli.actions.consoles import SafeConsole
from emotune.cli.actions.tables import facts_table, plain_table
from emotune.cli.output import print_error, print_message, printable
from tests.data.examples.signals import heart, write_csv, write_edf, write_manifest

EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b1m\r\b\x7f\u202e"
FORBIDDEN = set("\x1b\x07\x9b\r\b\x7f\u202e\0")


def test_control_characters_are_replaced_and_letters_stay() -> None:
    assert printable("Größe µV, 心電図.edf\n\tx") == "Größe µV, 心電図.edf\n\tx"
    assert not FORBIDDEN & set(printable(EVIL))


def test_messages_tables_and_log_lines_are_clean(capsys: pytest.CaptureFixture[str]) -> None:
    print_message(EVIL)
    print_error(EVIL)
    console = SafeConsole(highlight=False, markup=False)
    table = plain_table("name", EVIL)
    table.add_row(EVIL, EVIL)
    console.print(table, facts_table({EVIL: EVIL}), EVIL)
    captured = capsys.readouterr()
    assert "owned" in captured.out
    assert not FORBIDDEN & set(captured.out + captured.err)


def test_no_command_makes_a_console_that_prints_control_characters() -> None:
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("emotune.cli")]
    consoles = [value for module in modules for value in vars(module).values() if isinstance(value, Console)]
    assert all(isinstance(console, SafeConsole) for console in consoles)
    source = Path(__file__).parents[2] / "emotune"
    plain = [
        path.name for path in source.rglob("*.py") if " Console(" in path.read_text() and path.name != "consoles.py"
    ]
    assert plain == []


@pytest.mark.parametrize("kind", ["file", "subject", "channel", "condition", "unreadable"])
def test_names_of_recordings_reach_neither_stdout_nor_stderr_as_they_are(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    evil = EVIL.replace("\r", "").replace("\x7f", "")
    name = f"{evil}.edf" if kind in {"file", "unreadable"} else "a.edf"
    subject, condition = (evil if kind == word else "s1" for word in ("subject", "condition"))
    label = b"ECG \x1b[31m\x07" if kind == "channel" else b"ECG"
    write_edf(folder / name, [heart(12, fs=256)], labels=[label], fs=[256])
    if kind == "unreadable":
        (folder / name).write_bytes(b"torn \x1b[2J" * 50)
    write_edf(folder / "good.edf", [heart(12, fs=256)], labels=[b"ECG"], fs=[256])
    write_edf(folder / "other.edf", [heart(12, fs=256)], labels=[b"\x1b[5mblink"], fs=[256])
    lines = [f"{name},{subject},{condition}", "good.edf,s2,", f"other.edf,{subject},"]
    write_manifest(folder, "file,subject,condition", *lines)
    store = str(tmp_path / "store")
    runs = [
        ["data", "prepare", "folder", str(folder), "--store", store, "--workers", "1"],
        ["data", "describe", store],
        ["data", "describe", store, "--json"],
    ]
    for arguments in runs:
        result = CliRunner().invoke(emotune, arguments)
        assert result.exception is None, result.exception
        assert not FORBIDDEN & set(result.stdout + result.stderr)


def test_errors_with_names_of_files_are_clean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "c\x1b[31m\x07"
    folder.mkdir()
    (folder / "S001R01\x1b.edf").write_bytes(b"")
    write_csv(folder / "x.csv", {"ECG": np.zeros(5)})
    os.mkfifo(folder / "S001R01.edf")
    for corpus in ("folder", "eegmmidb", "dreamer"):
        arguments = ["emotune", "data", "prepare", corpus, str(folder), "--store", str(tmp_path / "store")]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as caught:
            run_command(emotune)
        assert caught.value.code == 2
        logging.getLogger("emotune").warning("read %s", folder)
        captured = capsys.readouterr()
        assert captured.err.startswith("emotune: ")
        assert not FORBIDDEN & set(captured.out + captured.err)
