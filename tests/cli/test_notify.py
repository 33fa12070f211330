"""``--notify``: a real command and a real server receive the events; their faults cost a line in the log."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from emotune.cli.actions import notify
from emotune.cli.actions.notify import check_target, notified, send
from emotune.cli.options import notify_option
from emotune.errors import BusyError, SearchFailedError, SettingsError
from emotune.search.records import Closed, Ended, Evaluation, Record, Started
from tests.runtime.test_coordinator import STUDY

EVENT = {"event": "best", "name": "n", "metric": "val/loss", "objective": 0.5, "reason": "", "evaluations": 1}


def records(objectives: list[float], *, state: str = "finished") -> Iterator[Record]:
    for number, objective in enumerate(objectives):
        evaluation = Evaluation(
            id=number, config_id=number, bracket=0, rung=0, from_epoch=0, to_epoch=1, values={"a": 1}, origin="random"
        )
        yield Started(time=0, evaluation=evaluation)
        yield Ended(time=0, evaluation_id=number, config_id=number, status="done", objective=objective, seconds=1)
    yield Closed.model_validate({"time": 0, "state": state, "reason": ""})


class Server(HTTPServer):
    """Keeps what it receives; answers with a status."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[tuple[str, Any]] = []
        self.status = 200
        self.delay = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/secret-token"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.headers["Content-Type"], json.loads(body)))
        time.sleep(self.server.delay)
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("Location", "file:///etc/passwd")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def command(tmp_path: Path) -> str:
    """A command that appends its event and two variables to a file."""
    script = tmp_path / "keep it.py"
    script.write_text(
        "import os, sys\n"
        f"with open({str(tmp_path / 'events')!r}, 'a') as file:\n"
        "    words = os.environ['EMOTUNE_EVENT'], os.environ['EMOTUNE_NAME'], sys.argv[1:]\n"
        "    print(sys.stdin.read(), *words, file=file)\n"
    )
    return f"{sys.executable} '{script}' '$HOME; rm -rf x'"


def test_each_new_best_result_and_the_end_are_sent(server: Server) -> None:
    with notified([server.url], study=STUDY, name="mine", known=2) as notifier:
        for number, record in enumerate(records([0.5, 0.4, 0.45, 0.3])):
            notifier(record, number)
    events = [event for _, event in server.received]
    assert [(event["event"], event["objective"]) for event in events] == [
        ("best", 0.4), ("best", 0.3), ("finished", 0.3)
    ]  # fmt: skip
    last = events[-1]
    assert (last["name"], last["config_id"], last["epochs"], last["values"]) == ("mine", 3, 1, {"a": 1})
    assert (last["evaluations"], last["metric"]) == (4, "val/loss")
    assert {content_type for content_type, _ in server.received} == {"application/json"}


def test_a_command_gets_the_event_without_a_shell(command: str, tmp_path: Path) -> None:
    send(EVENT, target=command)
    line = (tmp_path / "events").read_text().strip()
    assert line == f"{json.dumps(EVENT)} best n ['$HOME; rm -rf x']"


def test_a_failure_is_sent_without_passwords_and_a_refused_command_is_not(server: Server) -> None:
    error = SearchFailedError("the server http://me:secret@tracking is away")
    with pytest.raises(SearchFailedError), notified([server.url], study=STUDY, name="mine", known=0):
        raise error
    with pytest.raises(BusyError), notified([server.url], study=STUDY, name="mine", known=0):
        raise BusyError("another driver runs")
    (event,) = [event for _, event in server.received]
    assert (event["event"], event["reason"]) == ("failed", "the server http://tracking is away")


def test_an_end_that_was_recorded_is_sent_once(server: Server) -> None:
    closed = Closed(time=0, state="failed", reason="no disk")

    def run() -> None:
        with notified([server.url], study=STUDY, name="mine", known=0) as notifier:
            notifier(closed, 0)
            raise SearchFailedError("no disk")

    with pytest.raises(SearchFailedError):
        run()
    assert [(event["event"], event["reason"]) for _, event in server.received] == [("failed", "no disk")]


@pytest.mark.parametrize("status", [404, 302])
def test_an_error_of_the_server_is_a_line_without_the_path(
    server: Server, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.status = status
    send(EVENT, target=server.url)
    (line,) = caplog.messages
    assert line.startswith("--notify http://127.0.0.1: best was not sent: HTTP Error")
    assert "secret-token" not in line


def test_a_slow_or_failing_receiver_costs_a_line(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notify, "REQUEST_TIMEOUT_S", 0.05)
    monkeypatch.setattr(notify, "COMMAND_TIMEOUT_S", 0.1)
    server.delay = 0.2
    for target in (server.url, "sleep 5", "false", "http://127.0.0.1:9/x"):
        send(EVENT, target=target)
    assert len(caplog.messages) == 4
    assert "it took more than 0.1 s" in caplog.messages[1]
    assert "exit code 1" in caplog.messages[2]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("ftp://host/x", "expected a command, or a URL with http:// or https://"),
        ("file:///etc/passwd", "expected a command, or a URL"),
        ("http://", "expected a command, or a URL"),
        ("no-such-program now", "there is no program 'no-such-program'"),
        ("echo 'open", "a quotation mark is not closed"),
        ("", "there is no program ''"),
    ],
)
def test_other_targets_are_refused(target: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_target(target)


def test_the_environment_names_one_target_per_line() -> None:
    @click.command()
    @notify_option
    def show(notify: tuple[str, ...]) -> None:
        click.echo(json.dumps(notify))

    result = CliRunner().invoke(show, [], env={"EMOTUNE_NOTIFY": "echo a b\nhttps://host/x"})
    assert json.loads(result.output) == ["echo a b", "https://host/x"]
